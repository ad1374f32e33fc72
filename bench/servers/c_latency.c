/* Echo server of known latency: each message goes back a drawn time after its arrival, and its true times are recorded.
 *
 * The true times are those of the wire, which a capture would show: the kernel receives the last segment of a message, and
 * hands the last segment of the reply to the network (SO_TIMESTAMPING in the kernel's timestamping.rst). The server takes
 * one message of a connection at a time. A reply is due the drawn time after the arrival. It may leave late, because
 * replies and reads wait for each other. So the record has the real times, not the drawn ones.
 *
 * The server needs a core to itself: it polls while a reply is due within SPIN_NS. All times are CLOCK_REALTIME, the clock
 * of the stamps. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LARGEST = 64 * 1024, /* bytes of a message */
    EVENTS = 16,         /* taken at once: few, because replies fall due meanwhile */
    CONTROL = 256,       /* bytes of the control messages with a stamp */
    BACKLOG = 65535,
    MOST_RECORDS = 1 << 26,
    SPIN_NS = 50 * 1000,       /* a core wakes up some 50 us after the instant that it sleeps for */
    WAIT_NS = 100 * 1000 * 1000, /* at most: a SIGTERM just before the wait is seen after it */
};

static const char usage[] =
    "usage: c_latency [--port PORT] [--size BYTES] [--delay DELAY] [--seed NUMBER] [--record FILE]\n"
    "  --size BYTES    of each message, 1 to 65536 (1024)\n"
    "  --delay DELAY   constant:US (constant:0), lognormal:MEDIAN_US:SIGMA or bimodal:USUAL_US:SLOW_US:SHARE_SLOW\n"
    "  --record FILE   written at SIGTERM: for each message two 64-bit integers, in ns since 1970: its arrival and the\n"
    "                  leaving of its reply\n";

struct record {
    int64_t arrived, left;
};

/* Software stamps of both directions, those of sent segments without the segment. */
enum {
    STAMPS = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE |
             SOF_TIMESTAMPING_OPT_TSONLY,
};

enum phase { READING, WAITING, SENDING };

struct peer {
    int fd;
    enum phase phase;
    size_t count; /* bytes of the message read, or of the reply sent */
    int64_t due;
    struct record record;
    char message[];
};

static struct {
    enum { CONSTANT, LOGNORMAL, BIMODAL } kind;
    double microseconds, other, share;
} delay;
static size_t size = 1024;
static uint64_t state = 1; /* of the random numbers */
static int epoll_fd;
static volatile sig_atomic_t stopping;
static struct record *records; /* NULL: no records are kept */
static size_t recorded;
static struct peer **heap; /* the peers in WAITING; the first one is due next */
static size_t waiting, heap_room;

static void die(const char *subject)
{
    perror(subject);
    exit(1);
}

static void misused(const char *name, const char *value)
{
    fprintf(stderr, "c_latency: wrong %s: %s\n%s", name, value, usage);
    exit(2);
}

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Uniform, from 0 (excluded) to 1: splitmix64 (Steele, Lea and Flood 2014). */
static double random_share(void)
{
    uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return (double)((mixed ^ mixed >> 31) >> 11 | 1) * 0x1p-53;
}

/* Two random numbers for each delay of a kind, so that a seed gives each message its own. */
static int64_t draw_delay(void)
{
    double one = random_share(), other = random_share(), drawn = delay.microseconds;
    if (delay.kind == LOGNORMAL) /* Box and Muller 1958 */
        drawn *= exp(delay.other * sqrt(-2 * log(one)) * cos(2 * M_PI * other));
    else if (delay.kind == BIMODAL && one < delay.share)
        drawn = delay.other;
    return (int64_t)(drawn * 1000);
}

static void heap_push(struct peer *peer)
{
    if (waiting == heap_room && !(heap = realloc(heap, (heap_room = heap_room * 2 + 64) * sizeof *heap)))
        die("realloc");
    size_t at = waiting++;
    for (; at && heap[(at - 1) / 2]->due > peer->due; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = peer;
}

static struct peer *heap_pop(void)
{
    struct peer *first = heap[0], *last = heap[--waiting];
    size_t at = 0;
    for (size_t child = 1; child < waiting; at = child, child = 2 * at + 1) {
        if (child + 1 < waiting && heap[child + 1]->due < heap[child]->due)
            child++;
        if (heap[child]->due >= last->due)
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

static void end_peer(struct peer *peer)
{
    close(peer->fd);
    free(peer);
}

static void accept_peers(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *peer = calloc(1, sizeof *peer + size);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = peer};
        if (!peer)
            die("calloc");
        peer->fd = fd;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
            die("epoll_ctl");
    }
}

/* The stamp in the control messages of recvmsg(2), or now if there is none. */
static int64_t stamp_of(struct msghdr *header)
{
    struct scm_timestamping stamps;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPING) {
            memcpy(&stamps, CMSG_DATA(control), sizeof stamps);
            return (int64_t)stamps.ts[0].tv_sec * 1000000000 + stamps.ts[0].tv_nsec;
        }
    }
    return now_ns();
}

/* Reads bytes of the current message only, so that the stamp is that of its last segment. */
static ssize_t receive(struct peer *peer)
{
    char control[CONTROL];
    struct iovec vector = {peer->message + peer->count, size - peer->count};
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t count = recvmsg(peer->fd, &header, 0);
    if (count > 0 && (peer->count += (size_t)count) == size)
        peer->record.arrived = stamp_of(&header);
    return count;
}

static void read_message(struct peer *peer)
{
    while (peer->count < size) { /* edge-triggered: read until EAGAIN */
        ssize_t count = receive(peer);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (count <= 0) {
            end_peer(peer);
            return;
        }
    }
    peer->due = peer->record.arrived + draw_delay();
    peer->count = 0;
    peer->phase = WAITING;
    heap_push(peer);
}

/* Loopback stamps a segment within send(2). */
static int64_t stamp_of_reply(const struct peer *peer)
{
    char control[CONTROL];
    struct msghdr header = {.msg_control = control, .msg_controllen = sizeof control};
    return recvmsg(peer->fd, &header, MSG_ERRQUEUE) < 0 ? now_ns() : stamp_of(&header);
}

static void send_reply(struct peer *peer)
{
    ssize_t count = send(peer->fd, peer->message + peer->count, size - peer->count, MSG_NOSIGNAL);
    peer->phase = SENDING;
    if (count < 0 && errno == EAGAIN)
        return;
    if (count < 0) {
        end_peer(peer);
        return;
    }
    peer->record.left = stamp_of_reply(peer);
    peer->count += (size_t)count;
    if (peer->count < size)
        return; /* EPOLLOUT follows */
    if (records) {
        if (recorded == MOST_RECORDS)
            die("too many messages to record");
        records[recorded++] = peer->record;
    }
    peer->count = 0;
    peer->phase = READING;
    read_message(peer); /* no edge announces the bytes that came meanwhile */
}

static int listen_on(uint16_t port)
{
    int on = 1, stamps = STAMPS, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Accepted sockets inherit both options. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void set_delay(const char *text)
{
    char end;
    double *first = &delay.microseconds, *second = &delay.other, *third = &delay.share;
    if (sscanf(text, "constant:%lf%c", first, &end) == 1 && *first >= 0)
        delay.kind = CONSTANT;
    else if (sscanf(text, "lognormal:%lf:%lf%c", first, second, &end) == 2 && *first >= 0 && *second >= 0)
        delay.kind = LOGNORMAL;
    else if (sscanf(text, "bimodal:%lf:%lf:%lf%c", first, second, third, &end) == 3 && *first >= 0 && *second >= 0)
        delay.kind = BIMODAL;
    else
        misused("delay", text);
}

static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || *end || value < least || value > most)
        misused(name, text);
    return value;
}

static void keep_records(void)
{
    /* Address space only: the kernel allocates a page when it is written. */
    records = mmap(NULL, MOST_RECORDS * sizeof *records, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (records == MAP_FAILED)
        die("mmap");
}

static void write_records(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(records, sizeof *records, recorded, file) != recorded || fclose(file) != 0)
        die(path);
}

static void serve(struct peer *listener)
{
    struct epoll_event events[EVENTS];
    while (!stopping) {
        int64_t now = now_ns();
        for (; waiting && heap[0]->due <= now; now = now_ns())
            send_reply(heap_pop());
        int64_t rest = waiting ? heap[0]->due - now - SPIN_NS : WAIT_NS;
        rest = rest < 0 ? 0 : rest < WAIT_NS ? rest : WAIT_NS;
        struct timespec timeout = {.tv_nsec = rest};
        int count = epoll_pwait2(epoll_fd, events, EVENTS, &timeout, NULL);
        for (int at = 0; at < count; at++) {
            struct peer *peer = events[at].data.ptr;
            if (peer == listener)
                accept_peers(listener->fd);
            else if (peer->phase == READING)
                read_message(peer);
            else if (peer->phase == SENDING)
                send_reply(peer);
        }
    }
}

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

/* Returns the path for the records, or NULL. */
static const char *set_options(int argc, char **argv, uint16_t *port)
{
    static const struct option names[] = {{"port", 1, NULL, 'p'},  {"size", 1, NULL, 's'},   {"delay", 1, NULL, 'd'},
                                          {"seed", 1, NULL, 'r'},  {"record", 1, NULL, 'f'}, {NULL, 0, NULL, 0}};
    const char *path = NULL;
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (option == 'p')
            *port = (uint16_t)number("port", optarg, 0, 65535);
        else if (option == 's')
            size = number("size", optarg, 1, LARGEST);
        else if (option == 'd')
            set_delay(optarg);
        else if (option == 'r')
            state = number("seed", optarg, 0, UINT64_MAX);
        else if (option == 'f')
            path = optarg;
        else
            misused("option", argv[optind - 1]);
    }
    if (optind < argc)
        misused("argument", argv[optind]);
    return path;
}

int main(int argc, char **argv)
{
    uint16_t port = 0;
    struct rlimit limit;
    const char *path = set_options(argc, argv, &port);
    if (path)
        keep_records();
    signal(SIGTERM, stop);
    prctl(PR_SET_TIMERSLACK, 1); /* by default a wait may end 50 us late (prctl(2)) */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    struct peer listener = {.fd = listen_on(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener.fd, &event) != 0)
        die("epoll");
    serve(&listener);
    if (path)
        write_records(path);
}
