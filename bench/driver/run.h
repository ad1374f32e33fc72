/* One run of the driver: its connections, its counts, its stage. */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "clocks.h"
#include "histogram.h"
#include "options.h"
#include "stream.h"

enum { SCRATCH = 128 * 1024 }; /* bytes taken by one recv() */

enum phase {
    PHASE_CLOSED,
    PHASE_CONNECTING, /* connect() is under way */
    PHASE_PROVING,    /* the first message is under way: only its echo proves that the server accepted the connection */
    PHASE_RUNNING,
};

struct connection {
    int fd;
    enum phase phase;
    enum role role;
    uint32_t serial; /* names the stream of bytes sent; never used twice in a run */
    uint32_t slot;   /* place in run.connections */
    bool in_burst;
    bool blocked;            /* the kernel took less than was offered: wait for EPOLLOUT */
    uint64_t sent, received; /* bytes */
    uint64_t due;            /* messages that may be sent by now */
    uint64_t echoed;         /* messages back in full */
    uint64_t opened_ns;
    uint64_t *started_ns; /* when each of the last `depth` messages was sent; NULL unless closed */
    void *tls;            /* OpenSSL's connection; NULL before the connect() is done, and without TLS */
};

enum failure { FAILED_CONNECT, FAILED_RESET, FAILED_EOF, FAILED_UNANSWERED, FAILED_CORRUPT, FAILURES };

/* The counts that only grow; the figures of a window are the difference of two copies. */
struct counts {
    uint64_t opened, proven, messages, bytes_sent, bytes_received, flood_bytes;
    uint64_t bytes_lost; /* sent on connections that failed, and not echoed */
    uint64_t resumed;    /* resumed TLS sessions, of proven connections */
};

struct mark {
    uint64_t at_ns;
    struct counts counts;
    struct cpu_reading driver, server;
    bool server_known;
};

enum stage { STAGE_OPENING, STAGE_WARMUP, STAGE_WINDOW, STAGE_DRAINING, STAGE_HOLDING, STAGE_DONE };

struct run {
    struct options options;
    struct stream stream;
    int epoll;
    enum stage stage;
    uint64_t stage_ends_ns, progress_ns;
    struct connection *connections;
    unsigned slots;       /* connections, flooders and burst */
    unsigned opened_upto; /* slots below this one have been opened once */
    unsigned to_open;     /* slots that may be opened by now */
    unsigned unproven, unproven_limit;
    uint32_t next_serial;
    uint64_t planned, plan_began_ns; /* paced messages handed out so far; the beginning of the plan */
    struct counts counts;
    struct mark begin, end;
    struct histogram latency, connect, first_echo, late;
    uint64_t failures[FAILURES];
    char first_failure[256];
    uint8_t scratch[SCRATCH];
};

static inline bool run_stopping(const struct run *run)
{
    return run->stage >= STAGE_DRAINING && run->stage != STAGE_HOLDING;
}

/* connection.c */
void connection_open(struct run *run, struct connection *connection);
void connection_event(struct run *run, struct connection *connection, uint32_t events);
void connection_pump(struct run *run, struct connection *connection);
void connection_start(struct run *run, struct connection *connection, uint64_t now);
void connection_fail(struct run *run, struct connection *connection, enum failure failure, const char *why);
void connection_close(struct run *run, struct connection *connection);

/* channel_plain.c or channel_tls.c: build/driver has the first, build/driver_tls the second. channel_send() and
 * channel_receive() are as sendmsg() and recv() with errno: EAGAIN, also while a handshake waits for the peer; EPROTO, a
 * TLS error. channel_receive() returns less than `size` only when the kernel has no more. */
void channel_prepare(const struct options *options);
bool channel_open(struct connection *connection);
ssize_t channel_send(struct connection *connection, struct iovec *vectors, size_t count);
ssize_t channel_receive(struct connection *connection, void *bytes, size_t size);
bool channel_resumed(const struct connection *connection);
void channel_close(struct connection *connection);

/* plan.c */
uint64_t plan_instant(const struct run *run, const struct connection *connection, uint64_t message);
uint64_t plan_next(const struct run *run);
void plan_hand_out(struct run *run, uint64_t now);

/* stages.c */
void stage_open_more(struct run *run);
void stage_advance(struct run *run, uint64_t now);
uint64_t stage_next_instant(const struct run *run, uint64_t now);

/* report.c */
void report_ready(const struct run *run);
void report_print(const struct run *run);

#endif
