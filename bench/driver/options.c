#include "options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: driver --port PORT [options]\n"
    "Sends unique messages to an echo server, compares every byte of the echo, prints one JSON object.\n"
    "\n"
    "  --mode MODE       closed     one message in flight per connection (default)\n"
    "                    pipelined  --depth messages in flight per connection\n"
    "                    paced      --rate messages a second, latency counted from the planned instant\n"
    "                    churn      connect, echo one message, close, and repeat\n"
    "                    burst      --burst connects at once beside paced connections\n"
    "                    idle       connect, echo one message, hold until standard input ends\n"
    "  --host ADDRESS    IPv4 address of the server (127.0.0.1)\n"
    "  --connections N   (100)\n"
    "  --size BYTES      of one message, 1 to 16777216 (1024)\n"
    "  --depth N         messages in flight per connection when pipelined (16)\n"
    "  --rate N          planned messages a second over all connections (1000)\n"
    "  --flooders N      connections that send without waiting, beside the others (0)\n"
    "  --burst N         connects of the burst (10000)\n"
    "  --duration S      seconds measured (2)\n"
    "  --warmup S        seconds before (0.3)\n"
    "  --timeout S       seconds without progress before a connection counts as failed (10)\n"
    "  --handicap US     microseconds of useless work per message, as of a slower driver (0)\n"
    "  --sources N       local addresses 127.0.0.1 ... to connect from, 1 to 200 (as many as the ports need)\n"
    "  --resume          offer the latest TLS session (driver_tls only)\n"
    "  --cpu N           run on this CPU only\n"
    "  --server-pid PID  measure this process's CPU over the same window\n"
    "Exit status: 0 every byte came back; 1 a connection failed, see \"failures\"; 2 wrong use.\n";

enum { PORTS_PER_SOURCE = 5000 }; /* of 28,000: the choice of a free port is slow when few are free */

static void fail(const char *problem, const char *value)
{
    fprintf(stderr, "driver: %s: %s (--help lists the options)\n", problem, value);
    exit(2);
}

static void fail_number(const char *name, const char *text, double least, double most)
{
    fprintf(stderr, "driver: --%s %s: give a number from %g to %.10g\n", name, text, least, most);
    exit(2);
}

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        fail_number(name, text, least, most);
    return value;
}

static void set_mode(struct options *options, const char *mode)
{
    static const struct {
        const char *name;
        enum role role;
    } modes[] = {
        {"closed", ROLE_CLOSED},    {"pipelined", ROLE_CLOSED}, {"paced", ROLE_PACED},
        {"churn", ROLE_ONCE_CLOSE}, {"burst", ROLE_PACED},      {"idle", ROLE_ONCE_HOLD},
    };
    for (size_t at = 0; at < sizeof modes / sizeof *modes; at++) {
        if (strcmp(mode, modes[at].name) == 0) {
            options->mode = modes[at].name;
            options->role = modes[at].role;
            return;
        }
    }
    fail("no such mode", mode);
}

static void set(struct options *options, int option, const char *text)
{
    switch (option) {
    case 'm': set_mode(options, text); break;
    case 'h':
        if (inet_pton(AF_INET, text, &options->target.sin_addr) != 1)
            fail("not an IPv4 address", text);
        break;
    case 'p': options->target.sin_port = htons((uint16_t)number("port", text, 1, 65535)); break;
    case 'c': options->connections = (unsigned)number("connections", text, 1, 1000000); break;
    case 's': options->size = (size_t)number("size", text, 1, 1 << 24); break;
    case 'd': options->depth = (unsigned)number("depth", text, 1, 4096); break;
    case 'r': options->rate = number("rate", text, 0.001, 1e7); break;
    case 'f': options->flooders = (unsigned)number("flooders", text, 0, 10000); break;
    case 'b': options->burst = (unsigned)number("burst", text, 1, 1000000); break;
    case 't': options->duration = number("duration", text, 0.001, 1e6); break;
    case 'w': options->warmup = number("warmup", text, 0, 1e6); break;
    case 'o': options->timeout = number("timeout", text, 0.001, 1e6); break;
    case 'n': options->handicap_ns = (uint64_t)(number("handicap", text, 0, 1e6) * 1e3); break;
    case 'a': options->sources = (unsigned)number("sources", text, 1, 200); break;
    case 'e': options->resume = true; break;
    case 'u': options->cpu = (int)number("cpu", text, 0, 1023); break;
    case 'i': options->server_pid = (pid_t)number("server-pid", text, 1, 1e9); break;
    case 'H': fputs(usage, stdout); exit(0);
    default: exit(2);
    }
}

/* Sets the options that follow from others. */
static void settle(struct options *options)
{
    bool bursts = strcmp(options->mode, "burst") == 0;
    if (!options->target.sin_port)
        fail("missing", "--port");
    if (!bursts)
        options->burst = 0;
    if (strcmp(options->mode, "pipelined") != 0)
        options->depth = 1;
    if (!options->sources) {
        bool churns = options->role == ROLE_ONCE_CLOSE; /* each closed connection keeps its port for a minute */
        bool loopback = ntohl(options->target.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
        unsigned needed = churns ? 50 : 1 + (options->connections + options->burst) / PORTS_PER_SOURCE;
        options->sources = loopback ? needed : 1;
    }
}

struct options options_parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"mode", 1, 0, 'm'},     {"host", 1, 0, 'h'},     {"port", 1, 0, 'p'},    {"connections", 1, 0, 'c'},
        {"size", 1, 0, 's'},     {"depth", 1, 0, 'd'},    {"rate", 1, 0, 'r'},    {"flooders", 1, 0, 'f'},
        {"burst", 1, 0, 'b'},    {"duration", 1, 0, 't'}, {"warmup", 1, 0, 'w'},  {"timeout", 1, 0, 'o'},
        {"sources", 1, 0, 'a'},  {"cpu", 1, 0, 'u'},      {"server-pid", 1, 0, 'i'}, {"help", 0, 0, 'H'},
        {"handicap", 1, 0, 'n'}, {"resume", 0, 0, 'e'},   {0, 0, 0, 0},
    };
    struct options options = {
        .mode = "closed", .role = ROLE_CLOSED, .connections = 100, .burst = 10000, .size = 1024, .depth = 16,
        .rate = 1000, .duration = 2, .warmup = 0.3, .timeout = 10, .cpu = -1,
    };
    options.target.sin_family = AF_INET;
    options.target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;)
        set(&options, option, optarg);
    if (optind < argc)
        fail("unexpected argument", argv[optind]);
    settle(&options);
    return options;
}
