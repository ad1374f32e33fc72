/* One connection: connect, send the messages that are due, compare the echo. */
#include "run.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECES = 64, SEND_AT_MOST = 256 * 1024 };

void connection_close(struct run *run, struct connection *connection)
{
    if (connection->phase == PHASE_CLOSED)
        return;
    if (connection->phase != PHASE_RUNNING)
        run->unproven--;
    run->counts.bytes_lost += connection->sent - connection->received;
    connection->phase = PHASE_CLOSED;
    channel_close(connection);
    close(connection->fd);
}

void connection_fail(struct run *run, struct connection *connection, enum failure failure, const char *why)
{
    run->failures[failure]++;
    if (!run->first_failure[0])
        snprintf(run->first_failure, sizeof run->first_failure, "connection %u, message %lu, byte %lu of its stream: %s",
                 connection->serial, connection->received / run->stream.size, connection->received, why);
    connection_close(run, connection);
}

/* Binds to one of the local addresses without choosing a port yet (ip(7), IP_BIND_ADDRESS_NO_PORT): connect() then takes
 * any port that is free towards this server. */
static int bind_source(const struct run *run, const struct connection *connection)
{
    int on = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    if (run->options.sources == 1)
        return 0;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + connection->serial % run->options.sources);
    setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(connection->fd, (struct sockaddr *)&source, sizeof source);
}

/* TCP_NODELAY, and the plainest congestion control: a default such as BBR paces the output, which costs a timer per
 * message and would show as the server's latency. Where "reno" is not allowed the default stays. */
static void set_options(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", sizeof "reno");
}

static int begin_connect(struct run *run, struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP, .data.ptr = connection};
    /* Edge-triggered events save a poll per message. A flooder is level-triggered and does one read and one write per
     * turn, or it would hold the loop while the other connections wait. */
    if (connection->role != ROLE_FLOOD)
        event.events |= EPOLLET;
    set_options(connection->fd);
    if (bind_source(run, connection) != 0)
        return -1;
    if (connect(connection->fd, (const struct sockaddr *)&run->options.target, sizeof run->options.target) != 0 &&
        errno != EINPROGRESS)
        return -1;
    return epoll_ctl(run->epoll, EPOLL_CTL_ADD, connection->fd, &event);
}

void connection_open(struct run *run, struct connection *connection)
{
    connection->serial = run->next_serial++;
    connection->sent = connection->received = connection->echoed = 0;
    connection->due = 1;
    connection->blocked = false;
    connection->opened_ns = now_ns();
    connection->phase = PHASE_CONNECTING;
    run->unproven++;
    run->counts.opened++;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || begin_connect(run, connection) != 0)
        connection_fail(run, connection, FAILED_CONNECT, strerror(errno));
}

static void finish_connect(struct run *run, struct connection *connection)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        connection_fail(run, connection, FAILED_CONNECT, strerror(error));
        return;
    }
    if (connection->in_burst || !run->options.burst)
        histogram_record(&run->connect, now_ns() - connection->opened_ns);
    if (!channel_open(connection)) {
        connection_fail(run, connection, FAILED_CONNECT, "OpenSSL has no memory");
        return;
    }
    connection->phase = PHASE_PROVING;
    connection_pump(run, connection);
}

/* Describes the bytes from connection->sent up to `end` as far as the arrays and SEND_AT_MOST allow. */
static size_t gather(const struct run *run, const struct connection *connection, uint64_t end, struct iovec *vectors,
                     uint8_t headers[][STREAM_HEADER], size_t *offered)
{
    uint64_t position = connection->sent;
    size_t count = 0;
    while (count < PIECES && position < end && position - connection->sent < SEND_AT_MOST) {
        struct piece piece = stream_piece(&run->stream, connection->serial, position, headers[count]);
        vectors[count++] = (struct iovec){(void *)piece.bytes, piece.length};
        position += piece.length;
    }
    *offered = (size_t)(position - connection->sent);
    return count;
}

/* Sends the bytes that are due, as far as the kernel takes them. */
void connection_pump(struct run *run, struct connection *connection)
{
    struct iovec vectors[PIECES];
    uint8_t headers[PIECES][STREAM_HEADER];
    uint64_t end = connection->due * run->stream.size;
    while (connection->sent < end && !connection->blocked) {
        size_t offered;
        size_t count = gather(run, connection, end, vectors, headers, &offered);
        ssize_t taken = channel_send(connection, vectors, count);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken < 0 && errno != EAGAIN) {
            connection_fail(run, connection, FAILED_RESET, strerror(errno));
            return;
        }
        connection->blocked = taken < (ssize_t)offered;
        connection->sent += taken > 0 ? (uint64_t)taken : 0;
        run->counts.bytes_sent += taken > 0 ? (uint64_t)taken : 0;
        if (connection->role == ROLE_FLOOD)
            return;
    }
}

/* Raises the number of messages that a connection may send, at the start of the warm-up or after an echo. */
static void allow_more(struct run *run, struct connection *connection, uint64_t now)
{
    if (run_stopping(run) || run->stage < STAGE_WARMUP)
        return;
    if (connection->role == ROLE_FLOOD) {
        connection->due = UINT64_MAX / run->stream.size;
        return;
    }
    if (connection->role != ROLE_CLOSED)
        return;
    for (; connection->due < connection->echoed + run->options.depth; connection->due++)
        connection->started_ns[connection->due % run->options.depth] = now;
}

void connection_start(struct run *run, struct connection *connection, uint64_t now)
{
    if (connection->phase != PHASE_RUNNING)
        return;
    allow_more(run, connection, now);
    connection_pump(run, connection);
}

/* The first message is back: the server holds this connection. */
static void proven(struct run *run, struct connection *connection, uint64_t now)
{
    connection->phase = PHASE_RUNNING;
    run->unproven--;
    run->counts.proven++;
    run->counts.resumed += channel_resumed(connection);
    run->progress_ns = now;
    if (connection->in_burst || !run->options.burst)
        histogram_record(&run->first_echo, now - connection->opened_ns);
    if (connection->role != ROLE_ONCE_CLOSE)
        return;
    histogram_record(&run->latency, now - connection->opened_ns);
    run->counts.messages++;
    connection_close(run, connection);
    if (!run_stopping(run))
        connection_open(run, connection);
}

/* Spends CPU time, as a slower driver would: if the throughput stays, the driver does not limit it. */
static void be_slower(const struct run *run, uint64_t messages)
{
    uint64_t until = now_ns() + messages * run->options.handicap_ns;
    while (now_ns() < until)
        ;
}

static void record_echoes(struct run *run, struct connection *connection, uint64_t now)
{
    uint64_t echoed = connection->received / run->stream.size;
    if (connection->role == ROLE_FLOOD) {
        connection->echoed = echoed;
        return;
    }
    if (run->options.handicap_ns && echoed > connection->echoed)
        be_slower(run, echoed - connection->echoed);
    for (; connection->echoed < echoed; connection->echoed++) {
        uint64_t message = connection->echoed;
        if (message == 0) /* the proof, counted apart */
            continue;
        run->counts.messages++;
        if (connection->role == ROLE_PACED)
            histogram_record(&run->latency, now - plan_instant(run, connection, message));
        else
            histogram_record(&run->latency, now - connection->started_ns[message % run->options.depth]);
    }
}

/* Compares `count` received bytes; false when they have ended the connection. */
static bool accept_bytes(struct run *run, struct connection *connection, size_t count, uint64_t now)
{
    if (connection->received + count > connection->sent) {
        connection_fail(run, connection, FAILED_CORRUPT, "more bytes came back than were sent");
        return false;
    }
    size_t right = stream_check(&run->stream, connection->serial, connection->received, run->scratch, count);
    connection->received += right;
    run->counts.bytes_received += right;
    if (connection->role == ROLE_FLOOD)
        run->counts.flood_bytes += right;
    if (right < count) {
        connection_fail(run, connection, FAILED_CORRUPT, "this byte differs from the one that was sent");
        return false;
    }
    record_echoes(run, connection, now);
    if (connection->phase == PHASE_PROVING && connection->echoed)
        proven(run, connection, now);
    return connection->phase == PHASE_RUNNING || connection->phase == PHASE_PROVING;
}

/* Reads until the kernel has no more (or once, for a flooder). Returns false when the connection is over. */
static bool receive(struct run *run, struct connection *connection, bool ending)
{
    uint32_t serial = connection->serial;
    for (;;) {
        ssize_t count = channel_receive(connection, run->scratch, SCRATCH);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return true;
        if (count <= 0) {
            connection_fail(run, connection, count ? FAILED_RESET : FAILED_EOF,
                            count ? strerror(errno) : "the server ended the connection");
            return false;
        }
        uint64_t now = now_ns();
        if (!accept_bytes(run, connection, (size_t)count, now) || connection->serial != serial)
            return false;
        allow_more(run, connection, now);
        /* A short read has emptied the queue; after a FIN only end of file may follow, and no edge announces it. */
        if (connection->role == ROLE_FLOOD || (count < SCRATCH && !ending))
            return true;
    }
}

void connection_event(struct run *run, struct connection *connection, uint32_t events)
{
    if (connection->phase == PHASE_CLOSED)
        return;
    if (connection->phase == PHASE_CONNECTING) {
        finish_connect(run, connection);
        if (connection->phase == PHASE_CLOSED)
            return;
    }
    if (events & EPOLLOUT)
        connection->blocked = false;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) &&
        !receive(run, connection, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    connection_pump(run, connection);
}
