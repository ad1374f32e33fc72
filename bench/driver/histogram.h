/* Latency counts in log-linear buckets: at most 0.8 % relative error from 1 ns to 18 minutes.
 *
 * Values below 256 ns have a bucket each. Above, every power of two is cut into 128 equal buckets, so a bucket is never
 * wider than 1/128 of the values in it; a percentile is reported as the middle of its bucket. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_BITS = 7, /* 2^7 = 128 buckets per power of two */
    HISTOGRAM_LARGEST_BIT = 39,
    HISTOGRAM_BUCKETS = (HISTOGRAM_LARGEST_BIT - HISTOGRAM_BITS + 2) << HISTOGRAM_BITS,
};

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count, sum_ns, max_ns;
};

static inline unsigned histogram_bucket(uint64_t ns)
{
    if (ns < (2u << HISTOGRAM_BITS))
        return (unsigned)ns;
    if (ns >> (HISTOGRAM_LARGEST_BIT + 1))
        return HISTOGRAM_BUCKETS - 1;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - HISTOGRAM_BITS;
    return (shift << HISTOGRAM_BITS) + (unsigned)(ns >> shift);
}

static inline void histogram_record(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[histogram_bucket(ns)]++;
    histogram->count++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

/* The middle of a bucket, in ns. */
static inline double histogram_middle(unsigned bucket)
{
    if (bucket < (2u << HISTOGRAM_BITS))
        return bucket;
    unsigned shift = (bucket >> HISTOGRAM_BITS) - 1;
    uint64_t low = (uint64_t)(bucket - (shift << HISTOGRAM_BITS)) << shift;
    return (double)low + (double)(1ull << shift) / 2;
}

/* The value, in ns, that `share` (0 to 1) of all values do not exceed: nearest rank, never above the largest seen. */
static inline double histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t rank = (uint64_t)(share * (double)histogram->count + 0.999999), seen = 0;
    if (rank < 1)
        rank = 1;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen >= rank) {
            double middle = histogram_middle(bucket);
            return middle < (double)histogram->max_ns ? middle : (double)histogram->max_ns;
        }
    }
    return 0;
}

#endif
