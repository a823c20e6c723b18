#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int is_connected(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

static struct sockaddr_in address_of(uint32_t host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(host);
    return address;
}

static int open_socket(uint32_t from, int port) {
    struct sockaddr_in ours = address_of(from, 0), theirs = address_of(INADDR_LOOPBACK, port);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* The port is chosen at connect(2): then one may be shared by connections to different servers. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&ours, sizeof ours) < 0 ||
        (connect(fd, (struct sockaddr *)&theirs, sizeof theirs) < 0 && errno != EINPROGRESS)) {
        close(fd);
        return -1;
    }
    return fd;
}

#if HAS_TLS

/* TLS 1.3 sends tickets after the handshake: the newest one is kept with the slot that it came to. */
static int on_session(SSL *tls, SSL_SESSION *session) {
    struct wire *wire = SSL_get_app_data(tls);
    if (wire->session != NULL)
        SSL_SESSION_free(wire->session);
    wire->session = session;
    return 1;
}

SSL_CTX *wire_context(const struct options *options) {
    if (options->tls == 0)
        return NULL;
    int version = options->tls == 13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || !SSL_CTX_set_min_proto_version(context, version) ||
        !SSL_CTX_set_max_proto_version(context, version)) {
        fprintf(stderr, "load: OpenSSL refused its settings\n");
        exit(1);
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL); /* the chain is not what is measured */
    SSL_CTX_set_quiet_shutdown(context, 1);             /* a session stays good without a farewell */
    if (options->is_resumed) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, on_session);
    }
    return context;
}

static int want(struct wire *wire, int result) {
    int error = SSL_get_error(wire->tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? WIRE_AGAIN : WIRE_BROKEN;
}

static int begin_tls(struct wire *wire, SSL_CTX *context) {
    wire->tls = SSL_new(context);
    if (wire->tls == NULL || !SSL_set_fd(wire->tls, wire->fd))
        return WIRE_BROKEN;
    SSL_set_app_data(wire->tls, wire);
    SSL_set_tlsext_host_name(wire->tls, "localhost");
    if (wire->session != NULL)
        SSL_set_session(wire->tls, wire->session);
    SSL_set_connect_state(wire->tls);
    return 0;
}

static int shake_hands(struct wire *wire) {
    int result = SSL_do_handshake(wire->tls);
    return result == 1 ? 1 : want(wire, result);
}

static ssize_t send_tls(struct wire *wire, const char *bytes, size_t size) {
    int result = SSL_write(wire->tls, bytes, (int)size);
    return result > 0 ? result : want(wire, result);
}

static ssize_t receive_tls(struct wire *wire, char *bytes, size_t size) {
    int result = SSL_read(wire->tls, bytes, (int)size);
    if (result > 0)
        return result;
    return SSL_get_error(wire->tls, result) == SSL_ERROR_ZERO_RETURN ? 0 : want(wire, result);
}

static void end_tls(struct wire *wire) {
    SSL_shutdown(wire->tls);
    SSL_free(wire->tls);
    wire->tls = NULL;
}

int wire_is_resumed(const struct wire *wire) {
    return wire->tls != NULL && SSL_session_reused(wire->tls);
}

void wire_describe(const struct wire *wire, char *to, size_t size) {
    if (wire->tls == NULL)
        *to = 0;
    else
        snprintf(to, size, "%s %s", SSL_get_version(wire->tls), SSL_get_cipher_name(wire->tls));
}

#else

SSL_CTX *wire_context(const struct options *options) {
    if (options->tls != 0) {
        fprintf(stderr, "load: built without TLS: apt-get install libssl-dev\n");
        exit(2);
    }
    return NULL;
}

static int begin_tls(struct wire *wire, SSL_CTX *context) { return wire && context ? WIRE_BROKEN : 0; }
static int shake_hands(struct wire *wire) { return wire ? WIRE_BROKEN : 0; }
static ssize_t send_tls(struct wire *wire, const char *bytes, size_t size) { return wire && bytes && size ? WIRE_BROKEN : 0; }
static ssize_t receive_tls(struct wire *wire, char *bytes, size_t size) { return wire && bytes && size ? WIRE_BROKEN : 0; }
static void end_tls(struct wire *wire) { wire->tls = NULL; }
int wire_is_resumed(const struct wire *wire) { return wire->tls != NULL; }
void wire_describe(const struct wire *wire, char *to, size_t size) {
    if (wire != NULL && size > 0)
        *to = 0;
}

#endif

int wire_open(struct wire *wire, SSL_CTX *context, uint32_t from, int port) {
    wire->tls = NULL;
    wire->fd = open_socket(from, port);
    if (wire->fd < 0)
        return WIRE_BROKEN;
    return context == NULL ? 0 : begin_tls(wire, context);
}

int wire_connect(struct wire *wire) {
    if (wire->tls != NULL)
        return shake_hands(wire); /* its first write fails if there is no connection */
    return is_connected(wire->fd) ? 1 : WIRE_BROKEN;
}

ssize_t wire_send(struct wire *wire, const char *bytes, size_t size) {
    if (wire->tls != NULL)
        return send_tls(wire, bytes, size);
    ssize_t sent = send(wire->fd, bytes, size, MSG_NOSIGNAL);
    return sent >= 0 ? sent : errno == EAGAIN ? WIRE_AGAIN : WIRE_BROKEN;
}

ssize_t wire_receive(struct wire *wire, char *bytes, size_t size) {
    if (wire->tls != NULL)
        return receive_tls(wire, bytes, size);
    ssize_t got = recv(wire->fd, bytes, size, 0);
    return got >= 0 ? got : errno == EAGAIN ? WIRE_AGAIN : WIRE_BROKEN;
}

void wire_close(struct wire *wire) {
    if (wire->tls != NULL)
        end_tls(wire);
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
}
