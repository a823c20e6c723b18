#include "options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char USAGE[] =
    "usage: load --port=P --links=FILE [--connections=N] [--per-connection=N] [--seconds=S | --count=N]\n"
    "            [--rate=R | --burst-ms=MS | --held] [--any] [--from=ADDRESS --addresses=N]\n"
    "            [--order=FILE] [--truth=FILE]\n"
    "            [--tls=12|13 [--resumed]]\n"
    "Prints `ready`, then one line of JSON. SIGTERM ends the load early and still prints.\n";

enum { PORT, LINKS, CONNECTIONS, PER_CONNECTION, SECONDS, COUNT, RATE, BURST, HELD, ANY, FROM, ADDRESSES, TLS, RESUMED, ORDER,
       TRUTH };

static const struct option KNOWN[] = {
    {"port", 1, 0, PORT},       {"links", 1, 0, LINKS}, {"connections", 1, 0, CONNECTIONS},
    {"seconds", 1, 0, SECONDS}, {"count", 1, 0, COUNT}, {"per-connection", 1, 0, PER_CONNECTION},
    {"rate", 1, 0, RATE},       {"held", 0, 0, HELD},   {"burst-ms", 1, 0, BURST},
    {"any", 0, 0, ANY},         {"from", 1, 0, FROM},   {"addresses", 1, 0, ADDRESSES},
    {"tls", 1, 0, TLS},         {"resumed", 0, 0, RESUMED}, {"order", 1, 0, ORDER},
    {"truth", 1, 0, TRUTH},     {0, 0, 0, 0},
};

static void refuse(const char *what) {
    fprintf(stderr, "load: %s\n%s", what, USAGE);
    exit(2);
}

static uint32_t address(const char *text) {
    struct in_addr parsed;
    if (inet_pton(AF_INET, text, &parsed) != 1)
        refuse("--from is no IPv4 address");
    return ntohl(parsed.s_addr);
}

static void set(struct options *to, int option, const char *value) {
    switch (option) {
    case PORT: to->port = atoi(value); break;
    case LINKS: to->links = value; break;
    case CONNECTIONS: to->connections = atoi(value); break;
    case PER_CONNECTION: to->per_connection = atoi(value); break;
    case SECONDS: to->seconds = atof(value); break;
    case COUNT: to->count = atol(value); break;
    case RATE: to->rate = atof(value); break;
    case BURST: to->burst_ms = atoi(value); break;
    case HELD: to->is_held = 1; break;
    case ANY: to->is_any = 1; break;
    case FROM: to->from = address(value); break;
    case ADDRESSES: to->addresses = atoi(value); break;
    case TLS: to->tls = atoi(value); break;
    case RESUMED: to->is_resumed = 1; break;
    case ORDER: to->order = value; break;
    case TRUTH: to->truth = value; break;
    default: refuse("unknown option");
    }
}

struct options options_read(int argc, char **argv) {
    struct options read = {.connections = 64, .from = 0x7f000001, .addresses = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", KNOWN, NULL)) != -1)
        set(&read, option, optarg);
    if (optind != argc || read.port < 1 || read.port > 65535 || read.links == NULL)
        refuse("--port and --links are needed, nothing else stands alone");
    if (read.connections < 1 || read.connections > CONNECTIONS_MAX)
        refuse("--connections is out of range");
    if (read.per_connection < 0 || read.seconds < 0 || read.count < 0 || read.rate < 0 || read.addresses < 1)
        refuse("a number is negative");
    if ((read.rate > 0) + (read.burst_ms > 0) + read.is_held > 1)
        refuse("--rate, --burst-ms and --held exclude each other");
    if (read.tls != 0 && read.tls != 12 && read.tls != 13)
        refuse("--tls is 12 or 13");
    return read;
}
