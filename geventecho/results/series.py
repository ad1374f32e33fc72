"""Series: the figures of a run over time, by columns, for plots.

All columns have one value for each point of one grid. A point is a whole number of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["RUN_COLUMNS", "Column", "RowSeries", "Series"]

Column: TypeAlias = tuple[float | None, ...]
"""A value for each point; None where there is none."""

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
        p50_us, p90_us, p99_us: percentiles of the response times; None below their sample floor.
        p50_low_us, p50_high_us: ends of the 95 % interval, which holds if the samples of a point are independent; of
            the others, too.
        max_us: the longest response time.
        service_p50_us, service_p99_us: percentiles of the service times.
        heat: for each point the response times as `bin, count, bin, count` and so on, with
            bin = floor(20 * log10(microseconds)), 0 for less than one.
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
        width_s: of each point.
        measured_from_s: where the measured part begins, from the start of the test.
        at_s: the start of each point, from the start of the test; at most 300.
        run: by the names of `RUN_COLUMNS`. `users`, `open`, `opening` and `in_flight` are those at the end of a point;
            `lost`, `connects`, `planned` (tasks), `achieved` (good operations, without connects and log-ins), `failed`,
            `bytes_sent` and `bytes_received` are per second; `loop_lag_us` and `cpu` are the highest of any process;
            the percentiles are over all rows.
        rows: each row but those of type TASK.
    """

    width_s: int
    measured_from_s: int
    at_s: tuple[int, ...]
    run: Mapping[str, Column]
    rows: tuple[RowSeries, ...]
