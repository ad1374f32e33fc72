#include "clocks.h"

#include <stdio.h>
#include <string.h>

/* utime and stime of proc(5)'s /proc/PID/stat, in clock ticks. The process name before them may hold spaces and
 * brackets, so the fields are counted from the last closing bracket. */
static bool read_ticks(pid_t pid, struct cpu_reading *reading)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    const char *rest = strrchr(text, ')');
    return rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &reading->user_ticks,
                          &reading->system_ticks) == 2;
}

bool cpu_read(pid_t pid, struct cpu_reading *reading)
{
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
        return false;
    reading->total_ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    return read_ticks(pid, reading);
}
