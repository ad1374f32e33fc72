"""Response times in microseconds through Locust's own statistics.

Locust keeps a count per rounded response time, and rounds to whole milliseconds below 100 ms: an echo on a LAN takes
none at all. Its `locust.stats.bucket_response_time` is made to be replaced; ours keeps three significant digits
(0.5 % at worst) in at most 900 buckets a decade, which travel from worker to master and merge there as they are.

Some outputs cut off the fraction again, without a hook: the printed tables, CSV percentiles, and minimum and maximum in
the web UI and HTML. Their formatting is replaced as well. (The UI's script still shows the median with two decimals.)
"""

from __future__ import annotations

from typing import Any

from locust import stats
from locust.stats import StatsCSV, StatsEntry

__all__ = ["bucket", "install"]

_to_dict = StatsEntry.to_dict


def bucket(milliseconds: float) -> float:
    """Round to three significant digits, from 10 µs upwards; below that to 0.1 µs.

    Whole numbers divided by a power of ten are the same floats as their decimal notation, so the buckets of all
    processes are equal, and print short. A chain of comparisons costs a fifth of `round` or "%.3g".
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


def install() -> None:
    """Make this process's Locust use it."""
    stats.bucket_response_time = bucket  # type: ignore[assignment]
    StatsEntry.to_dict = to_dict  # type: ignore[method-assign]
    StatsEntry.to_string = to_string  # type: ignore[method-assign]
    StatsEntry.percentile = percentile  # type: ignore[method-assign]
    StatsCSV._percentile_fields = percentile_fields  # type: ignore[method-assign, assignment]


def to_dict(self: StatsEntry, escape_string_values: bool = False) -> dict[str, int | float | str]:
    """A row for the web UI and the HTML report."""
    row = _to_dict(self, escape_string_values)
    row["min_response_time"] = bucket(self.min_response_time or 0)
    row["max_response_time"] = bucket(self.max_response_time)
    return row


def to_string(self: StatsEntry, current: bool = True) -> str:
    """A row of the printed table of requests, under Locust's own head."""
    name_width = stats.STATS_NAME_WIDTH - stats.STATS_TYPE_WIDTH + 4
    method = self.method + " " if self.method else ""
    failures = f"{self.num_failures}({self.fail_ratio * 100:.2f}%)"
    times = (self.avg_response_time, self.min_response_time or 0, self.max_response_time, self.median_response_time)
    average, least, most, median = (f"{bucket(time):g}" for time in times)
    rate = self.current_rps if current else self.total_rps
    failure_rate = self.current_fail_per_sec if current else self.total_fail_per_sec
    return (
        f"{method:<{stats.STATS_TYPE_WIDTH}} {self.name:<{name_width}} {self.num_requests:7d} {failures:>12} "
        f"|{average:>7} {least:>7} {most:>7}{median:>7} | {rate:7.2f} {failure_rate:11.2f}"
    )


def percentile(self: StatsEntry) -> str:
    """A row of the printed table of percentiles."""
    times = [f"{self.get_response_time_percentile(part):g}" for part in stats.PERCENTILES_TO_REPORT]
    columns = f"{times[0]:>8} " + " ".join(f"{time:>6}" for time in [*times[1:], f"{self.num_requests}"])
    return f"{self.method or '':<{stats.STATS_TYPE_WIDTH}} {self.name:<{stats.STATS_NAME_WIDTH}} {columns}"


def percentile_fields(self: StatsCSV, entry: StatsEntry, use_current: bool = False) -> list[Any]:
    """The percentiles of a CSV row."""
    if not entry.num_requests:
        return self.percentiles_na
    current = use_current and entry.use_response_times_cache
    read = entry.get_current_response_time_percentile if current else entry.get_response_time_percentile
    return [read(part) or 0 for part in self.percentiles_to_report]
