"""Series: the figures of a run over time, by columns, for plots.

All columns have one value for each point, and share the same points. A point is a whole number of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["RUN_COLUMNS", "Column", "RowSeries", "Series"]

Column: TypeAlias = tuple[float | None, ...]
"""One value for each point; None for a point without a value."""

RUN_COLUMNS: Final = (
    "users", "open", "opening", "lost", "connects", "planned", "achieved", "failed", "bytes_sent", "bytes_received",
    "in_flight", "loop_lag_us", "cpu", "generator_delay_p99_us", "read_delay_p99_us",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RowSeries:
    """A row over time. Times are in microseconds, of good operations.

    Attributes:
        type, name: the row.
        ok, failed: operations a second.
        p50_us, p90_us, p99_us: percentiles of the response times; None with too few samples.
        p50_low_us, p50_high_us, and so on: the ends of the 95 % intervals, which hold if the samples of a point are
            independent.
        max_us: the longest response time.
        service_p50_us, service_p99_us: percentiles of the service times.
        heat: the response times of each point as `bin, count, bin, count` and so on, with
            bin = floor(20 * log10(microseconds)); the bin is 0 below one microsecond.
    """

    type: str
    name: str
    ok: Column
    failed: Column
    p50_us: Column
    p50_low_us: Column
    p50_high_us: Column
    p90_us: Column
    p90_low_us: Column
    p90_high_us: Column
    p99_us: Column
    p99_low_us: Column
    p99_high_us: Column
    max_us: Column
    service_p50_us: Column
    service_p99_us: Column
    heat: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """A run over time, with its warm-up.

    Attributes:
        width_s: the width of a point.
        measured_from_s: the start of the measured part, from the start of the test.
        at_s: the start of each point, from the start of the test; at most 300 points.
        run: columns by the names of `RUN_COLUMNS`. `users`, `open`, `opening` and `in_flight` are the numbers at the
            end of a point. `lost`, `connects`, `planned` (tasks), `achieved` (good operations without connects and
            log-ins), `failed`, `bytes_sent` and `bytes_received` are per second. `loop_lag_us` and `cpu` are the
            highest value of any process. The percentiles are over all rows.
        rows: all rows except those of type TASK.
    """

    width_s: int
    measured_from_s: int
    at_s: tuple[int, ...]
    run: Mapping[str, Column]
    rows: tuple[RowSeries, ...]
