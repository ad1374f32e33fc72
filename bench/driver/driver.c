/* A load driver for TCP echo servers. options.c lists its modes and options, stream.h describes its messages. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "run.h"

enum { EVENTS = 256, SPARE_FILES = 16, UNPROVEN = 100 /* below gevent's backlog of 128 */ };

static void die(const char *subject)
{
    fprintf(stderr, "driver: %s: %s\n", subject, strerror(errno));
    exit(2);
}

/* Raises the limit of open files to the hard limit; ends with an error if that is too low. */
static void need_files(unsigned connections)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("setrlimit");
    if (limit.rlim_max < connections + SPARE_FILES) {
        fprintf(stderr, "driver: %u connections need more open files than this process may have (%lu): raise `ulimit -Hn`\n",
                connections, limit.rlim_max);
        exit(2);
    }
}

static void stay_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("--cpu");
}

static enum role role_of(const struct options *options, unsigned slot)
{
    if (slot < options->connections)
        return options->role;
    return slot < options->connections + options->flooders ? ROLE_FLOOD : ROLE_ONCE_HOLD;
}

static struct run *prepare(const struct options *options)
{
    unsigned slots = options->connections + options->flooders + options->burst;
    struct run *run = calloc(1, sizeof *run);
    struct connection *connections = calloc(slots, sizeof *connections);
    uint64_t *started = options->role == ROLE_CLOSED
                            ? calloc((size_t)options->connections * options->depth, sizeof *started) : NULL;
    if (!run || !connections || (options->role == ROLE_CLOSED && !started))
        die("memory");
    run->options = *options;
    run->connections = connections;
    run->slots = slots;
    run->to_open = options->connections + options->flooders;
    run->unproven_limit = options->role == ROLE_ONCE_CLOSE ? slots : UNPROVEN;
    run->progress_ns = now_ns();
    for (unsigned slot = 0; slot < slots; slot++) {
        connections[slot].slot = slot;
        connections[slot].role = role_of(options, slot);
        connections[slot].in_burst = slot >= run->to_open;
        if (slot < options->connections && started)
            connections[slot].started_ns = started + (size_t)slot * options->depth;
    }
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run->epoll < 0 || stream_make(&run->stream, options->size) != 0)
        die("epoll or memory");
    return run;
}

/* The driver watches standard input only while it holds idle connections: the end of input ends the run. */
static void watch_input(struct run *run)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLHUP, .data.ptr = NULL};
    if (run->options.role == ROLE_ONCE_HOLD && epoll_ctl(run->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
        die("--mode idle waits for standard input, which must be a pipe or a terminal");
}

static void input_ready(struct run *run)
{
    char bytes[256];
    if (read(STDIN_FILENO, bytes, sizeof bytes) > 0)
        return;
    epoll_ctl(run->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    run->stage = STAGE_WINDOW; /* of no length: the next stage_advance() ends it */
    run->stage_ends_ns = 0;
}

static void wait_and_handle(struct run *run)
{
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(), until = stage_next_instant(run, now);
    uint64_t left = until > now ? until - now : 0;
    struct timespec wait = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    int count = epoll_pwait2(run->epoll, events, EVENTS, &wait, NULL);
    if (count < 0 && errno != EINTR)
        die("epoll_pwait2");
    for (int at = 0; at < count; at++) {
        if (events[at].data.ptr)
            connection_event(run, events[at].data.ptr, events[at].events);
        else
            input_ready(run);
    }
}

int main(int argc, char **argv)
{
    struct options options = options_parse(argc, argv);
    if (options.cpu >= 0)
        stay_on(options.cpu);
    need_files(options.connections + options.flooders + options.burst);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* ns; the default of 50 µs would be late for the plan */
    struct run *run = prepare(&options);
    channel_prepare(&options);
    watch_input(run);
    while (run->stage != STAGE_DONE) {
        uint64_t now = now_ns();
        stage_advance(run, now);
        stage_open_more(run);
        plan_hand_out(run, now);
        if (run->stage != STAGE_DONE)
            wait_and_handle(run);
    }
    report_print(run);
    return run->first_failure[0] ? 1 : 0;
}
