/* Bytes over one connection: plain, or TLS where OpenSSL's headers are there (apt-get install libssl-dev). */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <sys/types.h>

#include "options.h"

#if __has_include(<openssl/ssl.h>)
#define HAS_TLS 1
#include <openssl/ssl.h>
#else
#define HAS_TLS 0
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
#endif

enum { WIRE_AGAIN = -1, WIRE_BROKEN = -2 };

struct wire {
    int fd;               /* -1: closed */
    SSL *tls;             /* NULL: plain */
    SSL_SESSION *session; /* of the last connection, offered to the next one if sessions are to be resumed */
};

/* The context of all TLS connections, NULL for plain ones. Exits with a message if TLS cannot be had. */
SSL_CTX *wire_context(const struct options *options);

/* Begins to connect from the client address `from` (host order); 0, or WIRE_BROKEN. */
int wire_open(struct wire *wire, SSL_CTX *context, uint32_t from, int port);

/* Goes on with connecting: 1 when requests can be sent, else WIRE_AGAIN or WIRE_BROKEN. */
int wire_connect(struct wire *wire);
int wire_is_resumed(const struct wire *wire);

/* How many bytes went; 0 from wire_receive is the end; else WIRE_AGAIN or WIRE_BROKEN. */
ssize_t wire_send(struct wire *wire, const char *bytes, size_t size);
ssize_t wire_receive(struct wire *wire, char *bytes, size_t size);
void wire_close(struct wire *wire);

/* Protocol version and cipher, such as "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" for plain. Writes at most `size` bytes. */
void wire_describe(const struct wire *wire, char *to, size_t size);

#endif
