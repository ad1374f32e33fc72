/* The cheapest HTTP/1.1 echo server: it returns a request's body as the response's body, and keeps the connection open.
 *
 * It is the counterpart of servers/c_epoll.c for load generators that speak HTTP, so that neither side waits for its
 * server. It reads only the requests of such a generator: with Content-Length, head and body within 16 KiB. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 16 * 1024, EVENTS = 256, BACKLOG = 65535 };

struct peer {
    int fd;
    size_t filled;
    char request[BUFFER + 1];
};

static int epoll_fd;

static void die(const char *subject)
{
    perror(subject);
    exit(1);
}

static void watch(struct peer *peer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, peer->fd, &event) != 0)
        die("epoll_ctl");
}

static void end_peer(struct peer *peer)
{
    close(peer->fd);
    free(peer);
}

static void accept_peers(int listener)
{
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *peer = malloc(sizeof *peer);
        if (!peer)
            die("malloc");
        peer->fd = fd;
        peer->filled = 0;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(peer);
    }
}

/* Sends head and body with one call. A response of at most 16 KiB fits into an empty send buffer. This server does not
 * support a peer that sends a request before it has read the response. */
static int respond(const struct peer *peer, const char *body, size_t length)
{
    char response[BUFFER + 128];
    int head = snprintf(response, 128, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                                       "Content-Length: %zu\r\n\r\n", length);
    memcpy(response + head, body, length);
    size_t total = (size_t)head + length;
    return send(peer->fd, response, total, MSG_NOSIGNAL) == (ssize_t)total ? 0 : -1;
}

static size_t content_length(const char *head)
{
    const char *field = strcasestr(head, "\r\ncontent-length:");
    return field ? strtoul(field + strlen("\r\ncontent-length:"), NULL, 10) : 0;
}

/* Answers every whole request in the buffer and keeps the rest. Returns -1 when the connection must be closed. */
static int answer(struct peer *peer)
{
    char *from = peer->request, *head_end;
    peer->request[peer->filled] = 0;
    while ((head_end = strstr(from, "\r\n\r\n"))) {
        char *body = head_end + 4, kept = *body;
        *body = 0; /* so that the search for the field ends with the head */
        size_t length = content_length(from);
        *body = kept;
        if (body + length > peer->request + peer->filled)
            break;
        if (respond(peer, body, length) != 0)
            return -1;
        from = body + length;
    }
    peer->filled -= (size_t)(from - peer->request);
    memmove(peer->request, from, peer->filled);
    return peer->filled < BUFFER ? 0 : -1;
}

static void serve(struct peer *peer)
{
    ssize_t count = recv(peer->fd, peer->request + peer->filled, BUFFER - peer->filled, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        end_peer(peer);
        return;
    }
    peer->filled += (size_t)count;
    if (answer(peer) != 0)
        end_peer(peer);
}

static int listen_on(uint16_t port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct peer listener = {.fd = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0))};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(&listener);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int at = 0; at < count; at++) {
            if (events[at].data.ptr == &listener)
                accept_peers(listener.fd);
            else
                serve(events[at].data.ptr);
        }
    }
}
