"""Response times in microseconds through Locust's own statistics.

Locust keeps a count per rounded response time. Below 100 ms it rounds to whole milliseconds, and an echo on a LAN
takes less than one. Ours rounds to three significant digits (0.5 % at worst), in at most 900 buckets a decade. They
travel from worker to master and merge there as they are.

Some outputs cut off the fraction again: the printed tables, the percentiles in CSV files, and minimum and maximum in
the web UI and the HTML report. Their formatting is replaced as well. The script of the web UI still shows the median
with two decimals.

All of it holds for the whole process: a run with a `TcpUser` shows the times of its other users like that, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, Final

from locust import stats
from locust.stats import RequestStats, StatsCSV, StatsEntry

from geventecho.loadtest.locust_internals import Part, column_widths, replace, table_widths

__all__ = ["bucket", "keep_microseconds"]

# Characters of the printed tables' column Name. The larger one is Locust's own, in a wide terminal.
NARROWEST: Final = 12
WIDEST: Final = 80


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


def keep_microseconds() -> None:
    """Have this process's Locust count and show them."""
    replace(Part.BUCKET, lambda _: bucket)
    replace(Part.ROW, with_fractions)
    replace(Part.CONSOLE_ROW, lambda _: console_row)
    replace(Part.CONSOLE_PERCENTILES, lambda _: console_percentiles)
    replace(Part.CONSOLE_TABLE, with_name_column)
    replace(Part.CONSOLE_PERCENTILE_TABLE, with_name_column)
    replace(Part.CSV_PERCENTILES, lambda _: csv_percentiles)
    replace(Part.CSV_ROWS, with_blanks)


def has_no_times(entry: StatsEntry) -> bool:
    """Whether a row has requests and no response time, because all of them failed. 0 would be a very good time."""
    return entry.num_requests > 0 and not entry.response_times


def with_fractions(to_dict: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A row for the web UI and the HTML report. Their script shows an empty median and average as 0."""

    def row(self: StatsEntry, escape_string_values: bool = False) -> dict[str, Any]:
        shown = to_dict(self, escape_string_values)
        if has_no_times(self):
            return shown | {name: None for name in shown if "response_time" in name}
        shown["min_response_time"] = bucket(self.min_response_time or 0)
        shown["max_response_time"] = bucket(self.max_response_time)
        return shown

    return row


def with_name_column(lines: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """The lines of a printed table, with columns wide enough for the types and names in it.

    In a terminal of 80 columns or fewer Locust leaves nothing to the names, and no row stands under the head.
    """

    def table(counted: RequestStats, *arguments: Any, **named: Any) -> list[str]:
        type_width, name_width = table_widths()
        entries = counted.entries.values()
        type_width = max([type_width, *(len(f"{entry.method} ") for entry in entries)])
        longest = min(max([NARROWEST, *(len(entry.name) for entry in entries)]), WIDEST)
        # The table of requests gives names 4 characters more than the width, less the types' width.
        with column_widths(type_width, max(name_width, longest + type_width - 4)):
            return lines(counted, *arguments, **named)

    return table


def console_row(self: StatsEntry, current: bool = True) -> str:
    """A row of the printed table of requests, under Locust's own head."""
    type_width, name_width = table_widths()
    # Locust writes its head with "%-*s". In a narrow terminal the width is below 0, of which that takes the amount.
    name_width = abs(name_width - type_width + 4)
    method = self.method + " " if self.method else ""
    failures = f"{self.num_failures}({self.fail_ratio * 100:.2f}%)"
    times = (self.avg_response_time, self.min_response_time or 0, self.max_response_time, self.median_response_time)
    average, minimum, maximum, median = ("" if has_no_times(self) else f"{bucket(time):g}" for time in times)
    rate = self.current_rps if current else self.total_rps
    failure_rate = self.current_fail_per_sec if current else self.total_fail_per_sec
    return (
        f"{method:<{type_width}} {self.name:<{name_width}} {self.num_requests:7d} {failures:>12} "
        f"|{average:>7} {minimum:>7} {maximum:>7}{median:>7} | {rate:7.2f} {failure_rate:11.2f}"
    )


def console_percentiles(self: StatsEntry) -> str:
    """A row of the printed table of percentiles. Locust prints none for a row without times."""
    type_width, name_width = table_widths()
    times = [f"{self.get_response_time_percentile(part):g}" for part in stats.PERCENTILES_TO_REPORT]
    columns = f"{times[0]:>8} " + " ".join(f"{time:>6}" for time in [*times[1:], f"{self.num_requests}"])
    return f"{self.method or '':<{type_width}} {self.name:<{abs(name_width)}} {columns}"


def csv_percentiles(self: StatsCSV, entry: StatsEntry, use_current: bool = False) -> list[Any]:
    """The percentiles of a CSV row."""
    if not entry.num_requests:
        return self.percentiles_na
    if has_no_times(entry):
        return [""] * len(self.percentiles_to_report)
    current = use_current and entry.use_response_times_cache
    read = entry.get_current_response_time_percentile if current else entry.get_response_time_percentile
    return [read(part) or 0 for part in self.percentiles_to_report]


def with_blanks(rows: Callable[[StatsCSV, Any], None]) -> Callable[[StatsCSV, Any], None]:
    """The rows of the CSV file of requests, with empty times where a row has none."""

    def write(self: StatsCSV, csv_writer: Any) -> None:
        times = [column for column, name in enumerate(self.requests_csv_columns) if name.endswith("Time")]
        counted = self.environment.stats
        written: list[Iterable[Any]] = []
        rows(self, SimpleNamespace(writerow=written.append))
        for columns in written:
            row = list(columns)
            if has_no_times(counted.entries.get((row[1], row[0]), counted.total)):
                for column in times:
                    row[column] = ""
            csv_writer.writerow(row)

    return write
