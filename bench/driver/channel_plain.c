/* Sending and receiving without TLS. */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

void channel_prepare(const struct options *options)
{
    if (!options->resume)
        return;
    fputs("driver: --resume: this driver does not speak TLS; driver_tls does\n", stderr);
    exit(2);
}

bool channel_open(struct connection *connection)
{
    (void)connection;
    return true;
}

ssize_t channel_send(struct connection *connection, struct iovec *vectors, size_t count)
{
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
    return sendmsg(connection->fd, &message, MSG_NOSIGNAL);
}

ssize_t channel_receive(struct connection *connection, void *bytes, size_t size)
{
    return recv(connection->fd, bytes, size, 0);
}

bool channel_resumed(const struct connection *connection)
{
    (void)connection;
    return false;
}

void channel_close(struct connection *connection)
{
    (void)connection;
}
