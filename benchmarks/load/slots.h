/* Slots: each carries one request after the other, over connections that it opens when it needs one.
 *
 *              slots_ask                     connected             whole answer
 *     IDLE ──────────────▶ CONNECTING ─────────────▶ ASKING ─────────────▶ IDLE, open or closed
 *       └──────────────────────────── is open ─────────▲ │
 *       ▲                                                │ error: counted, the connection is closed
 *       └────────────────────────────────────────────────┘
 *
 * An idle slot waits in a queue; the one that idled longest is asked first, so that all connections are used.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include <stdint.h>

#include "histogram.h"
#include "links.h"
#include "options.h"
#include "truth.h"
#include "wire.h"
#include "wrongs.h"

enum { ANSWER_BYTES_MAX = 4096, STATUS_END = 600 };
enum state { IDLE, CONNECTING, ASKING };
/* CONNECT: no connection, or no handshake. BROKEN: it ended under a request. DROPPED: it ended while idle. */
enum error { CONNECT, BROKEN, UNREADABLE, WRONG_STATUS, WRONG_LOCATION, DROPPED, ERRORS };

struct slot {
    struct wire wire;
    enum state state;
    int number;
    int answered;        /* on this connection */
    long link;           /* that is asked for; -1: none */
    int32_t floor;       /* of its versions, when it was asked for */
    int64_t intended_ns; /* when the request should have been sent: its latency counts from there */
    int got;             /* bytes of `bytes` */
    char bytes[ANSWER_BYTES_MAX];
};

struct counts {
    long asked, finished; /* requests begun; those answered or failed */
    long statuses[STATUS_END];
    long errors[ERRORS];
    long bytes, opened, resumed;
    struct histogram latencies_ns; /* of right answers */
    char protocol[64];
};

struct slots {
    const struct options *options;
    const struct links *links;
    const struct truth *truth;
    SSL_CTX *context;
    int poll;
    struct slot *all;
    int *queue;      /* numbers of idle slots, a ring */
    int queue_start, idle;
    struct counts counts;
    struct wrongs wrongs;
};

struct slots slots_make(const struct options *options, const struct links *links, const struct truth *truth);

/* Ask for a link on the slot that has idled longest; there must be one. */
void slots_ask(struct slots *slots, long link, int64_t intended_ns);

/* Only open the connection of the slot that has idled longest. */
void slots_open(struct slots *slots);

/* Wait for at most `wait_ns` and handle what has happened. */
void slots_turn(struct slots *slots, int64_t wait_ns);

int64_t clock_ns(void);

#endif
