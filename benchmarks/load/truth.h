/* What the links are at present, when somebody changes them while they are asked for.
 *
 * A file of two int32 for each link, in the order of the links: `floor`, the newest version that everybody must know, and
 * `ceiling`, the newest one that anybody may know. Who changes a link raises `ceiling` before, and `floor` after.
 * Version v of a link leads to its target with the decimal v behind; odd versions of every fourth link (numbers 3, 7, …)
 * are its absence. */
#ifndef TRUTH_H
#define TRUTH_H

#include <stdatomic.h>
#include <stdint.h>

#include "answer.h"
#include "links.h"

struct span {
    _Atomic int32_t floor, ceiling;
};

struct truth {
    struct span *spans; /* of the file, shared with who changes it; NULL: links do not change */
};

/* Exits with a message if the file is not there or has not one span for each of `count` links. */
struct truth truth_open(const char *path, long count);

/* Whether a status is a right answer to a request for link `number` that was sent when its floor was `floor`. */
int truth_allows_status(const struct truth *truth, long number, int32_t floor, int status);

/* The same for the Location of a redirect. */
int truth_allows_location(const struct truth *truth, const struct link *link, long number, int32_t floor,
                          const struct answer *answer);

#endif
