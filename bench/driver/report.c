/* The result as one JSON object. Times in microseconds, rates per second. */
#include "run.h"

#include <stdio.h>

void report_ready(const struct run *run)
{
    printf("{\"ready\": %lu}\n", run->counts.proven);
    fflush(stdout);
}

static void print_histogram(const char *name, const struct histogram *histogram)
{
    double count = histogram->count ? (double)histogram->count : 1;
    printf("  \"%s\": {\"count\": %lu, \"mean\": %.1f, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, "
           "\"max\": %.1f},\n",
           name, histogram->count, (double)histogram->sum_ns / count / 1e3, histogram_quantile(histogram, 0.5) / 1e3,
           histogram_quantile(histogram, 0.9) / 1e3, histogram_quantile(histogram, 0.99) / 1e3,
           histogram_quantile(histogram, 0.999) / 1e3, (double)histogram->max_ns / 1e3);
}

static void print_cpu(const char *name, const struct cpu_reading *begin, const struct cpu_reading *end, double seconds,
                      double messages)
{
    double total = (double)(end->total_ns - begin->total_ns) / 1e3;
    double user = (double)(end->user_ticks - begin->user_ticks);
    double ticks = user + (double)(end->system_ticks - begin->system_ticks);
    double user_us = ticks > 0 ? total * user / ticks : 0;
    if (messages < 1)
        messages = 1;
    printf("  \"%s\": {\"cpu_us\": %.0f, \"share\": %.4f, \"user_us_per_message\": %.3f, "
           "\"system_us_per_message\": %.3f, \"ticks\": %.0f},\n",
           name, total, total / 1e6 / seconds, user_us / messages, (total - user_us) / messages, ticks);
}

static void print_failures(const struct run *run)
{
    static const char *const names[FAILURES] = {"connect", "reset", "eof", "unanswered", "corrupt"};
    printf("  \"failures\": {");
    for (int failure = 0; failure < FAILURES; failure++)
        printf("%s\"%s\": %lu", failure ? ", " : "", names[failure], run->failures[failure]);
    printf("},\n  \"first_failure\": \"%s\"\n", run->first_failure); /* own words and strerror(): nothing to escape */
}

static void print_totals(const struct counts *counts)
{
    printf("  \"totals\": {\"opened\": %lu, \"proven\": %lu, \"bytes_sent\": %lu, \"bytes_compared\": %lu, "
           "\"bytes_lost\": %lu, \"resumed\": %lu},\n",
           counts->opened, counts->proven, counts->bytes_sent, counts->bytes_received, counts->bytes_lost, counts->resumed);
}

void report_print(const struct run *run)
{
    const struct options *options = &run->options;
    const struct mark *begin = &run->begin, *end = &run->end;
    double seconds = (double)(end->at_ns - begin->at_ns) / 1e9;
    double messages = (double)(end->counts.messages - begin->counts.messages);
    if (seconds <= 0)
        seconds = 1e-9;
    printf("{\"mode\": \"%s\", \"connections\": %u, \"size\": %zu, \"depth\": %u, \"flooders\": %u, \"burst\": %u,\n",
           options->mode, options->connections, options->size, options->depth, options->flooders, options->burst);
    printf("  \"seconds\": %.6f, \"messages\": %.0f, \"messages_per_second\": %.1f, \"flood_bytes_per_second\": %.0f,\n",
           seconds, messages, messages / seconds,
           (double)(end->counts.flood_bytes - begin->counts.flood_bytes) / seconds);
    print_histogram("latency_us", &run->latency);
    print_histogram("connect_us", &run->connect);
    print_histogram("first_echo_us", &run->first_echo);
    print_histogram("late_us", &run->late);
    print_cpu("driver", &begin->driver, &end->driver, seconds, messages);
    if (begin->server_known && end->server_known)
        print_cpu("server", &begin->server, &end->server, seconds, messages);
    print_totals(&run->counts);
    print_failures(run);
    printf("}\n");
}
