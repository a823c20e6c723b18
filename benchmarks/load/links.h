/* The links that are asked for, and the requests made of them. */
#ifndef LINKS_H
#define LINKS_H

#include <stdint.h>

struct link {
    const char *code, *target;      /* in the file's bytes, which are never freed */
    unsigned short code_size, target_size; /* target_size 0: no such link, 404 is right */
};

struct links {
    struct link *all;
    long count;
    const int32_t *order; /* numbers of links as they are asked for; NULL: as they stand */
    long turns;           /* how many requests there are in a round */
    char head[160]; /* what follows the code in each request */
    int head_size;
};

enum { CODE_BYTES_MAX = 200, REQUEST_BYTES_MAX = CODE_BYTES_MAX + 200 };

/* Exits with a message if the file cannot be read or has another form. */
struct links links_read(const char *path, const char *order, int port, int is_closing);

/* The number of the link that is asked for in turn `turn`, which is less than `turns`. */
long links_at(const struct links *links, long turn);

/* Writes the request for a link into `to`, which has REQUEST_BYTES_MAX bytes; its size. */
int links_request(const struct links *links, const struct link *link, char *to);

#endif
