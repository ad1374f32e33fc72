/* The stages of a run: open, warm up, measure, drain. */
#include "run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_PER_TURN = 16 }; /* connects between two waits for events of the other connections */

static uint64_t seconds(double value)
{
    return (uint64_t)(value * 1e9);
}

void stage_open_more(struct run *run)
{
    for (unsigned turn = 0; turn < OPEN_PER_TURN; turn++) {
        if (run->opened_upto == run->to_open || run->unproven >= run->unproven_limit)
            return;
        connection_open(run, &run->connections[run->opened_upto++]);
    }
}

static struct mark mark_now(const struct run *run)
{
    struct mark mark = {.at_ns = now_ns(), .counts = run->counts};
    cpu_read(getpid(), &mark.driver);
    mark.server_known = run->options.server_pid && cpu_read(run->options.server_pid, &mark.server);
    return mark;
}

static void begin_warmup(struct run *run, uint64_t now)
{
    run->stage = STAGE_WARMUP;
    run->stage_ends_ns = now + seconds(run->options.warmup);
    run->plan_began_ns = now;
    for (unsigned slot = 0; slot < run->to_open; slot++)
        connection_start(run, &run->connections[slot], now);
}

static void begin_window(struct run *run)
{
    run->stage = STAGE_WINDOW;
    memset(&run->latency, 0, sizeof run->latency);
    memset(&run->late, 0, sizeof run->late);
    run->begin = mark_now(run);
    run->stage_ends_ns = run->begin.at_ns + seconds(run->options.duration);
    if (run->options.role == ROLE_ONCE_CLOSE || run->options.burst) {
        memset(&run->connect, 0, sizeof run->connect);
        memset(&run->first_echo, 0, sizeof run->first_echo);
    }
    if (run->options.burst) {
        run->to_open = run->slots;
        run->unproven_limit = run->slots;
        run->progress_ns = run->begin.at_ns;
    }
}

static void begin_drain(struct run *run)
{
    run->end = mark_now(run);
    run->stage = STAGE_DRAINING;
    run->progress_ns = run->end.at_ns;
    run->stage_ends_ns = run->end.at_ns + seconds(run->options.timeout);
    for (unsigned slot = 0; slot < run->slots; slot++) {
        struct connection *connection = &run->connections[slot];
        if (connection->role == ROLE_FLOOD && connection->phase == PHASE_RUNNING)
            connection->due = (connection->sent + run->stream.size - 1) / run->stream.size;
    }
}

static bool all_quiet(const struct run *run)
{
    if (run->unproven)
        return false;
    for (unsigned slot = 0; slot < run->slots; slot++) {
        const struct connection *connection = &run->connections[slot];
        if (connection->phase == PHASE_RUNNING && connection->received < connection->due * run->stream.size)
            return false;
    }
    return true;
}

/* Closes all connections; a message without an echo is a failure now. */
static void finish(struct run *run)
{
    for (unsigned slot = 0; slot < run->slots; slot++) {
        struct connection *connection = &run->connections[slot];
        bool owed = connection->phase == PHASE_CONNECTING || connection->received < connection->due * run->stream.size;
        if (connection->phase != PHASE_CLOSED && owed)
            connection_fail(run, connection, FAILED_UNANSWERED, "no answer before the time limit");
        connection_close(run, connection);
    }
    run->stage = STAGE_DONE;
}

static bool stalled(const struct run *run, uint64_t now)
{
    return now > run->progress_ns + seconds(run->options.timeout);
}

static void advance_opening(struct run *run, uint64_t now)
{
    if (run->options.role == ROLE_ONCE_CLOSE && run->opened_upto == run->to_open) {
        begin_warmup(run, now);
    } else if (run->opened_upto == run->to_open && !run->unproven) {
        if (run->options.role != ROLE_ONCE_HOLD) {
            begin_warmup(run, now);
            return;
        }
        run->begin = mark_now(run);
        run->stage = STAGE_HOLDING;
        report_ready(run);
    } else if (stalled(run, now)) {
        run->begin = run->end = mark_now(run);
        finish(run);
    }
}

static bool window_over(const struct run *run, uint64_t now)
{
    if (!run->options.burst)
        return now >= run->stage_ends_ns;
    return (run->opened_upto == run->to_open && !run->unproven) || stalled(run, now);
}

void stage_advance(struct run *run, uint64_t now)
{
    uint64_t failed = run->failures[FAILED_CORRUPT];
    if (failed && run->stage < STAGE_DRAINING) { /* the figures of a server that returns wrong bytes do not count */
        run->end = mark_now(run);
        run->begin = run->begin.at_ns ? run->begin : run->end;
        finish(run);
    }
    switch (run->stage) {
    case STAGE_OPENING: advance_opening(run, now); break;
    case STAGE_WARMUP:
        if (now >= run->stage_ends_ns)
            begin_window(run);
        break;
    case STAGE_WINDOW:
        if (window_over(run, now))
            begin_drain(run);
        break;
    case STAGE_DRAINING:
        if (all_quiet(run) || now >= run->stage_ends_ns)
            finish(run);
        break;
    default: break;
    }
}

/* The instant at which the loop must go on even if no connection has an event. */
uint64_t stage_next_instant(const struct run *run, uint64_t now)
{
    uint64_t wake = now + (run->stage == STAGE_DRAINING ? 1000000 : 100000000), plan = plan_next(run);
    if (run->opened_upto < run->to_open && run->unproven < run->unproven_limit)
        return now;
    if ((run->stage == STAGE_WARMUP || run->stage == STAGE_WINDOW) && run->stage_ends_ns < wake && !run->options.burst)
        wake = run->stage_ends_ns;
    return plan < wake ? plan : wake;
}
