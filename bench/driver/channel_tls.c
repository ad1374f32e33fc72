/* TLS 1.3 by OpenSSL. The certificate is not verified: only the server's work is measured. */
#include "run.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD = 16384 }; /* the most bytes of payload in one record */

static SSL_CTX *context;
static SSL_SESSION *latest; /* of all connections; the next connection offers it */

static int keep_session(SSL *tls, SSL_SESSION *session)
{
    (void)tls;
    SSL_SESSION_free(latest);
    latest = session;
    return 1; /* this program frees it */
}

void channel_prepare(const struct options *options)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL sends without MSG_NOSIGNAL */
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) {
        fputs("driver: OpenSSL has no TLS 1.3\n", stderr);
        exit(2);
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (options->resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
    }
}

/* The first calls that send and receive make the handshake. */
bool channel_open(struct connection *connection)
{
    SSL *tls = connection->tls = SSL_new(context);
    if (!tls || !SSL_set_fd(tls, connection->fd))
        return false;
    SSL_set_connect_state(tls);
    if (!latest)
        return true;
    /* A copy: some ends of a connection mark its session as not resumable. */
    SSL_SESSION *copy = SSL_SESSION_dup(latest);
    bool is_set = copy && SSL_set_session(tls, copy);
    SSL_SESSION_free(copy);
    return is_set;
}

/* The meaning of a failed call of OpenSSL: 0 at the end of the stream, or -1 with errno. */
static ssize_t outcome(SSL *tls, int result)
{
    switch (SSL_get_error(tls, result)) {
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; break;
    case SSL_ERROR_SYSCALL: errno = errno ? errno : EPROTO; break;
    default: errno = EPROTO;
    }
    return -1;
}

/* Copies up to one record of the vectors' bytes, from byte `from` on. */
static size_t copy(const struct iovec *vectors, size_t count, size_t from, uint8_t record[RECORD])
{
    size_t filled = 0;
    for (size_t at = 0; at < count && filled < RECORD; at++) {
        if (from >= vectors[at].iov_len) {
            from -= vectors[at].iov_len;
            continue;
        }
        size_t length = vectors[at].iov_len - from;
        length = length < RECORD - filled ? length : RECORD - filled;
        memcpy(record + filled, (const uint8_t *)vectors[at].iov_base + from, length);
        filled += length;
        from = 0;
    }
    return filled;
}

/* OpenSSL keeps a record that the kernel does not take. The next call offers the same bytes again, or more. */
ssize_t channel_send(struct connection *connection, struct iovec *vectors, size_t count)
{
    uint8_t record[RECORD];
    size_t sent = 0;
    for (size_t length; (length = copy(vectors, count, sent, record));) {
        ERR_clear_error();
        int taken = SSL_write(connection->tls, record, (int)length);
        if (taken <= 0)
            return sent ? (ssize_t)sent : outcome(connection->tls, taken);
        sent += (size_t)taken;
    }
    return (ssize_t)sent;
}

/* SSL_read() takes one record at most. The next call reports an error that follows data. */
ssize_t channel_receive(struct connection *connection, void *bytes, size_t size)
{
    size_t received = 0;
    while (received < size) {
        ERR_clear_error();
        int count = SSL_read(connection->tls, (uint8_t *)bytes + received, (int)(size - received));
        if (count <= 0)
            return received ? (ssize_t)received : outcome(connection->tls, count);
        received += (size_t)count;
    }
    return (ssize_t)received;
}

bool channel_resumed(const struct connection *connection)
{
    return SSL_session_reused(connection->tls);
}

void channel_close(struct connection *connection)
{
    if (!connection->tls)
        return;
    if (SSL_is_init_finished(connection->tls))
        SSL_shutdown(connection->tls); /* sends the close_notify, and does not wait for the server's */
    SSL_free(connection->tls);
    connection->tls = NULL;
    ERR_clear_error();
}
