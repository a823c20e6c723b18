/* An answer as it comes from a server: whether it is whole, and what it says. */
#ifndef ANSWER_H
#define ANSWER_H

struct answer {
    int size;   /* 0: not whole yet; -1: this cannot be read */
    int status;
    int is_last; /* the server closes the connection after it */
    const char *location; /* in the bytes that were read; NULL: none */
    int location_size;
};

/* Reads one answer to a GET. Bodies have a Content-Length; other framing cannot be read. */
struct answer answer_read(const char *bytes, int size);

#endif
