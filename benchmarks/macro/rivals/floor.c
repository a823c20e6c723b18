/* The floor under every redirect server: one epoll loop that answers each read with the same bytes.
 *
 *     accept ─▶ epoll ─▶ read ─▶ write the answer ─▶ (close, if each connection has one request)
 *
 * Nothing is parsed, looked up or logged; what is left is the kernel's part. One read is taken for one request, which
 * holds for wrk: it sends a small request in one piece and waits for the answer. Not a server for anything else.
 *
 * usage: floor PORT keep-alive|close          built with -DLOCATION="…"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 512, REQUEST_BYTES_MAX = 8192, BACKLOG = 4096 };

#define HEAD                                                                                                           \
    "HTTP/1.1 302 Found\r\nLocation: " LOCATION "\r\nCache-Control: private, max-age=0\r\n"                            \
    "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n"

static const char KEPT[] = HEAD "\r\n";
static const char CLOSED[] = HEAD "Connection: close\r\n\r\n";

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0)
        fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* inherited by what is accepted */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, BACKLOG) < 0)
        fail("listen");
    return listener;
}

static void watch(int poll, int socket) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = socket};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event) < 0)
        fail("epoll_ctl");
}

static void accept_all(int poll, int listener) {
    int client;
    while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
        watch(poll, client);
    if (errno != EAGAIN && errno != ECONNABORTED)
        fail("accept4");
}

static void answer(int client, int is_kept) {
    static char request[REQUEST_BYTES_MAX];
    const char *bytes = is_kept ? KEPT : CLOSED;
    size_t size = is_kept ? sizeof KEPT - 1 : sizeof CLOSED - 1;
    ssize_t got = recv(client, request, sizeof request, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got > 0 && send(client, bytes, size, MSG_NOSIGNAL) == (ssize_t)size && is_kept)
        return;
    close(client);
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS_MAX];
    if (argc != 3) {
        fprintf(stderr, "usage: floor PORT keep-alive|close\n");
        return 2;
    }
    int is_kept = strcmp(argv[2], "keep-alive") == 0;
    int listener = listen_on(atoi(argv[1])), poll = epoll_create1(0);
    watch(poll, listener);
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_all(poll, listener);
            else
                answer(events[i].data.fd, is_kept);
        }
    }
}
