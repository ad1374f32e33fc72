#ifndef OPTIONS_H
#define OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The behaviour of a connection after the echo of its first message. */
enum role {
    ROLE_CLOSED,     /* keeps `depth` messages in flight */
    ROLE_PACED,      /* sends at the planned instants, whether or not earlier messages have come back */
    ROLE_FLOOD,      /* sends whenever the kernel takes bytes */
    ROLE_ONCE_CLOSE, /* closes and opens again */
    ROLE_ONCE_HOLD,  /* stays open and silent */
};

struct options {
    const char *mode;
    enum role role;
    struct sockaddr_in target;
    unsigned connections; /* of `role` */
    unsigned flooders;    /* besides them, from the end of the warm-up */
    unsigned burst;       /* besides them, opened all at once at the start of the window */
    size_t size;          /* bytes of one message */
    unsigned depth;
    double rate; /* planned messages a second over all paced connections */
    double duration, warmup, timeout; /* seconds */
    unsigned sources;                 /* local addresses 127.0.0.1, 127.0.0.2, … */
    int cpu;                          /* -1: any */
    pid_t server_pid;                 /* 0: no server is measured */
    uint64_t handicap_ns;             /* of useless work per message */
    bool resume;                      /* offer the latest TLS session */
};

/* Exits with status 2 and a line on stderr when the options are wrong. */
struct options options_parse(int argc, char **argv);

#endif
