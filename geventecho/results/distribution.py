"""The distribution of a row's times, as HdrHistogram prints it."""

from __future__ import annotations

import math
from typing import Final

from geventecho.histogram import NANOSECONDS, Histogram, middle
from geventecho.results.result import Distribution

__all__ = ["distribution"]

TICKS: Final = 5
"""Percentiles in each half of the distance to 100: HdrHistogram's default."""
MICROSECOND: Final = 1000
"""A microsecond in nanoseconds."""


def distribution(histogram: Histogram) -> Distribution:
    """Return the percentiles that HdrHistogram's `PercentileIterator` visits in a histogram that is not empty.

    The time of a percentile is that of the first bucket at which the count reaches it. The last percentile is 100.
    """
    buckets, total = histogram.buckets(), histogram.count
    shortest, longest = (histogram.min or 0.0) * NANOSECONDS, (histogram.max or 0.0) * NANOSECONDS
    percentiles: list[float] = []
    values: list[float] = []
    counts: list[int] = []

    def add(percentile: float, time: float, count: int) -> None:
        percentiles.append(percentile)
        values.append(round(time / MICROSECOND, 1))
        counts.append(count)

    level, below = 0.0, 0
    mean, square = (histogram.mean or 0.0) * NANOSECONDS, 0.0
    for bucket, count in buckets:
        time = min(max(middle(bucket), shortest), longest)
        below += count
        square += count * (time - mean) ** 2
        while 100 * below / total >= level:
            add(level, time if below < total else longest, below)
            level = _next_percentile(level)
            if below == total:
                break
    add(100.0, longest, total)
    return Distribution(
        percentiles=tuple(percentiles),
        values=tuple(values),
        counts=tuple(counts),
        mean=round(mean / MICROSECOND, 1),
        deviation=round(math.sqrt(square / total) / MICROSECOND, 1),
        max=round(longest / MICROSECOND, 1),
    )


def _next_percentile(level: float) -> float:
    """The percentile after `level`, which is below 100."""
    halves: int = math.floor(math.log2(100 / (100 - level))) + 1
    return level + 100 / (TICKS << halves)
