/* Latencies in buckets whose width grows with them: 1/64 of the value, as HdrHistogram does it. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_FINE_BITS = 6, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_FINE_BITS) << HISTOGRAM_FINE_BITS };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t most;
};

void histogram_add(struct histogram *to, uint64_t value);

/* The least value that `share` (0..1) of all values do not exceed, at most 1/64 above the true one; 0 if there are none. */
uint64_t histogram_at(const struct histogram *of, double share);

#endif
