/* What the command line asks for. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdint.h>

enum { CONNECTIONS_MAX = 50000 };

struct options {
    const char *links;  /* file of "CODE TARGET" lines; TARGET "-" means that 404 is the right answer */
    const char *order;  /* file of int32, the links in the order in which they are asked for; NULL: as they stand */
    const char *truth;  /* see truth.h; NULL: links do not change */
    int port;
    int connections;
    int per_connection; /* requests before a connection is closed by us; 0: it is kept. 1 sends Connection: close */
    double seconds;     /* length of the load; 0: no end but `count` or SIGTERM */
    long count;         /* requests in all; 0: no such end */
    double rate;        /* requests a second, open loop; 0: closed loop, as fast as it goes */
    int burst_ms;       /* every so often all connections ask for the same next link at once; 0: off */
    int is_held;        /* each connection asks once, idles until SIGTERM, and asks once more */
    int is_any;         /* any answer will do, and failures are counted but do not matter: an attacker's load */
    uint32_t from;      /* first client address, host order */
    int addresses;      /* how many addresses from there on are used in turn */
    int tls;            /* 0, or 12 or 13: the one protocol version that is spoken */
    int is_resumed;     /* TLS: offer the session of the slot's last connection */
};

/* Exits with a message for what cannot be done. */
struct options options_read(int argc, char **argv);

#endif
