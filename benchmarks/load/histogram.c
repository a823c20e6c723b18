#include "histogram.h"

/* Values below 128 have a bucket each; above, the leading 7 bits choose one. */
static unsigned bucket_of(uint64_t value) {
    if (value >> (HISTOGRAM_FINE_BITS + 1) == 0)
        return (unsigned)value;
    unsigned shift = 63 - __builtin_clzll(value) - HISTOGRAM_FINE_BITS;
    return (shift << HISTOGRAM_FINE_BITS) + (unsigned)(value >> shift);
}

static uint64_t end_of(unsigned bucket) {
    if (bucket >> (HISTOGRAM_FINE_BITS + 1) == 0)
        return bucket;
    unsigned shift = (bucket >> HISTOGRAM_FINE_BITS) - 1;
    uint64_t leading = bucket - (shift << HISTOGRAM_FINE_BITS);
    return ((leading + 1) << shift) - 1;
}

void histogram_add(struct histogram *to, uint64_t value) {
    to->counts[bucket_of(value)]++;
    to->total++;
    if (value > to->most)
        to->most = value;
}

uint64_t histogram_at(const struct histogram *of, double share) {
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += of->counts[bucket];
        if (seen > 0 && (double)seen >= share * (double)of->total)
            return end_of(bucket) < of->most ? end_of(bucket) : of->most;
    }
    return of->most;
}
