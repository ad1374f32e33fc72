"""Response times in microseconds in Locust's own statistics.

Locust keeps a count for each rounded response time. Below 100 ms it rounds to whole milliseconds, but an echo on a LAN
takes less than one millisecond. Our function rounds to three significant digits (error 0.5 % at most), in at most 900
buckets a decade. Workers send these buckets to the master, which merges them unchanged.

Locust's code for the percentiles in CSV files, and for minimum and maximum in the web UI and the HTML report, cuts off
the fraction. It is replaced too. Other output is unchanged: the script of the web UI shows the median with two
decimals, and the printed tables show whole milliseconds.

The replacement is for the whole process: a run with a `TcpUser` shows the times of its other users in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from locust.stats import StatsCSV, StatsEntry

from geventecho.loadtest.locust_internals import Part, replace

__all__ = ["bucket", "keep_microseconds"]


def bucket(milliseconds: float) -> float:
    """Round to three significant digits from 10 µs on, and to 0.1 µs below.

    A whole number divided by a power of ten is the same float as its decimal notation. So all processes have equal
    buckets, and they print short. A chain of comparisons costs a fifth of `round` or "%.3g".
    """
    if milliseconds < 1:
        if milliseconds < 0.1:
            return int(milliseconds * 10_000 + 0.5) / 10_000
        return int(milliseconds * 1_000 + 0.5) / 1_000
    if milliseconds < 100:
        if milliseconds < 10:
            return int(milliseconds * 100 + 0.5) / 100
        return int(milliseconds * 10 + 0.5) / 10
    unit = 1
    while milliseconds >= 1000 * unit:
        unit *= 10
    return float(int(milliseconds / unit + 0.5) * unit)


def keep_microseconds() -> None:
    """Make this process's Locust count and show microseconds."""
    replace(Part.BUCKET, lambda _: bucket)
    replace(Part.ROW, with_fractions)
    replace(Part.CSV_PERCENTILES, lambda _: csv_percentiles)


def with_fractions(to_dict: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a row for the web UI and the HTML report, with fractions of milliseconds."""

    def row(self: StatsEntry, escape_string_values: bool = False) -> dict[str, Any]:
        shown = to_dict(self, escape_string_values)
        shown["min_response_time"] = bucket(self.min_response_time or 0)
        shown["max_response_time"] = bucket(self.max_response_time)
        return shown

    return row


def csv_percentiles(self: StatsCSV, entry: StatsEntry, use_current: bool = False) -> list[Any]:
    """The percentiles of a CSV row."""
    if not entry.num_requests:
        return self.percentiles_na
    current = use_current and entry.use_response_times_cache
    read = entry.get_current_response_time_percentile if current else entry.get_response_time_percentile
    return [read(part) or 0 for part in self.percentiles_to_report]
