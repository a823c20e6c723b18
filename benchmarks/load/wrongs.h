/* The first wrong answers, so that they can be looked into. */
#ifndef WRONGS_H
#define WRONGS_H

#include <stdint.h>

#include "answer.h"
#include "links.h"

enum { WRONGS_MAX = 20, WRONG_TEXT_BYTES = 120 };

struct wrong {
    double wall_s; /* when it came, in seconds since the epoch */
    int status;
    int32_t floor; /* of the link's versions, when it was asked for */
    char code[WRONG_TEXT_BYTES], location[WRONG_TEXT_BYTES];
};

struct wrongs {
    int count;
    struct wrong all[WRONGS_MAX];
};

void wrongs_add(struct wrongs *wrongs, const struct link *link, int32_t floor, const struct answer *answer);

/* As a list of JSON. Text is cut, and bytes that JSON would have escaped are shown as '?'. */
void wrongs_print(const struct wrongs *wrongs);

#endif
