/* Echo server on a level-triggered epoll loop, with little cost beside the kernel's.
 *
 * One buffer serves all connections as long as the kernel takes each write whole. The server keeps the rest of a
 * partial write, and does not read from that peer until it is sent. So it holds at most one buffer per stalled peer. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 64 * 1024, EVENTS = 256, BACKLOG = 65535 };

struct peer {
    int fd;
    char *kept; /* the rest of a partial write, or NULL */
    size_t kept_from, kept_to;
};

static int epoll_fd;
static char buffer[BUFFER];

static void die(const char *subject)
{
    perror(subject);
    exit(1);
}

static void watch(struct peer *peer, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(epoll_fd, operation, peer->fd, &event) != 0)
        die("epoll_ctl");
}

static void end_peer(struct peer *peer)
{
    close(peer->fd);
    free(peer->kept);
    free(peer);
}

static void accept_peers(int listener)
{
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *peer = calloc(1, sizeof *peer);
        if (!peer)
            die("calloc");
        peer->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(peer, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void keep(struct peer *peer, const char *bytes, size_t count)
{
    peer->kept = malloc(BUFFER);
    if (!peer->kept)
        die("malloc");
    memcpy(peer->kept, bytes, count);
    peer->kept_from = 0;
    peer->kept_to = count;
    watch(peer, EPOLL_CTL_MOD, EPOLLOUT);
}

static void echo(struct peer *peer)
{
    ssize_t count = recv(peer->fd, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        end_peer(peer);
        return;
    }
    ssize_t taken = send(peer->fd, buffer, (size_t)count, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN && errno != EINTR)
        end_peer(peer);
    else if (taken < count)
        keep(peer, buffer + (taken > 0 ? taken : 0), (size_t)(count - (taken > 0 ? taken : 0)));
}

static void flush(struct peer *peer)
{
    ssize_t taken = send(peer->fd, peer->kept + peer->kept_from, peer->kept_to - peer->kept_from, MSG_NOSIGNAL);
    if (taken < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end_peer(peer);
        return;
    }
    peer->kept_from += (size_t)taken;
    if (peer->kept_from < peer->kept_to)
        return;
    free(peer->kept);
    peer->kept = NULL;
    watch(peer, EPOLL_CTL_MOD, EPOLLIN);
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

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    raise_file_limit();
    struct peer listener = {.fd = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0))};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int at = 0; at < count; at++) {
            struct peer *peer = events[at].data.ptr;
            if (peer == &listener)
                accept_peers(listener.fd);
            else if (peer->kept)
                flush(peer);
            else
                echo(peer);
        }
    }
}
