/* Wall and CPU time, which are read together at both ends of the measuring window. */
#ifndef CLOCKS_H
#define CLOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct cpu_reading {
    uint64_t total_ns;                 /* exact */
    uint64_t user_ticks, system_ticks; /* sampled by the kernel; used only to split the total */
};

static inline uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* CPU time of all threads of a process. False when there is no such process. */
bool cpu_read(pid_t pid, struct cpu_reading *reading);

#endif
