"""The points of a `Series`. A point is computed once, and again only when something is added to it.

The figures of a running test are computed every second or two. Only the last points change in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Final

from geventecho.histogram import Histogram, middle
from geventecho.results.blocks import Block, Record, RowKey
from geventecho.results.evidence import HealthSecond, is_setup
from geventecho.results.figures import TASK, is_operation
from geventecho.results.intervals import FLOORS, estimate
from geventecho.results.series import RUN_COLUMNS, RowSeries, Series

__all__ = ["Points"]

MAX_POINTS: Final = 300
GAUGES: Final = ("users", "open", "opening", "in_flight")
COUNTS: Final = ("lost", "connects", "planned")
SHOWN: Final = (50, 90, 99)
BINS_PER_DECADE: Final = 20

RowValues = tuple[Any, ...]
"""The values of a row at a point, in the order of the fields of `RowSeries` that begins with `ok`."""
NOTHING: Final[RowValues] = (0.0, 0.0, *[None] * (len(fields(RowSeries)) - 5), ())


@dataclass(slots=True)
class Point:
    """A point.

    Attributes:
        end: the first second after the point.
        run: the values of the run, by the names of `RUN_COLUMNS`.
        rows: the values of each row that has any.
    """

    end: int
    run: dict[str, float | None]
    rows: dict[RowKey, RowValues]


@dataclass(slots=True)
class Sums:
    """The operations of all rows at a point."""

    achieved: int = 0
    failed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    generator_delay: Histogram = field(default_factory=Histogram)
    read_delay: Histogram = field(default_factory=Histogram)

    def add(self, row: RowKey, block: Block) -> None:
        """Add the operations of a row."""
        if is_operation(row):
            self.achieved += 0 if is_setup(row) else block.ok
            self.failed += block.failed
        self.bytes_sent += block.bytes_sent
        self.bytes_received += block.bytes_received
        self.generator_delay.merge(block.times["generator_delay"])
        self.read_delay.merge(block.times["read_delay"])


class Points:
    """The points of a test.

    Args:
        record: the record of the test.
        begun: the first second of the test.
    """

    def __init__(self, record: Record, begun: int) -> None:
        self._record = record
        self._begun = begun
        self._width = 1
        self._points: dict[int, Point] = {}  # by their first second
        self._health: dict[int, list[HealthSecond]] = {}  # by second
        self._widths: dict[RowKey, int] = {}  # of the blocks of each row
        self._boundaries: set[int] = set()

    def invalidate(self, second: int) -> None:
        """Forget the points that an addition in this second may change. The block of the second may begin earlier."""
        earliest = second - max(self._widths.values(), default=1) + 1
        for start in range(self._start(earliest), second + 1, self._width):
            self._points.pop(start, None)

    def add(self, sample: HealthSecond) -> None:
        """Add the health of a process in a second."""
        self._health.setdefault(sample.second, []).append(sample)
        self.invalidate(sample.second)

    def series(self, first: int, end: int, measured_from: int, pause: Callable[[], None]) -> Series:
        """Return the figures over time.

        Args:
            first: the first second that may have a block.
            end: the first second after the series.
            measured_from: the first second of the measured part.
            pause: called now and then.
        """
        self._fit(end)
        starts = range(self._begun, end, self._width)
        stale = [start for start in starts if self._is_stale(start, end)]
        if stale:
            self._renew(stale, min(first, self._begun), end, pause)
        points = [self._points[start] for start in starts]
        run = {name: tuple(point.run[name] for point in points) for name in RUN_COLUMNS}
        if not any(run["planned"]):
            run["planned"] = (None,) * len(points)
        return Series(
            width_s=self._width,
            measured_from_s=measured_from - self._begun,
            at_s=tuple(start - self._begun for start in starts),
            run=run,
            rows=tuple(
                RowSeries(*row, *zip(*(point.rows.get(row, NOTHING) for point in points), strict=True))
                for row in sorted({row for point in points for row in point.rows})
            ),
        )

    def _start(self, second: int) -> int:
        """The first second of the point that contains a second."""
        return max(self._begun, second - (second - self._begun) % self._width)

    def _fit(self, end: int) -> None:
        """Widen the points until there are at most `MAX_POINTS`, and forget the points that have changed."""
        widths = {row: blocks.width for row, blocks in self._record.rows.items()}
        if not self._widths.items() <= widths.items():  # the record has merged rows or blocks
            self._points.clear()
        boundaries = set(self._record.boundaries)
        if new := boundaries - self._boundaries:  # a boundary moves the starts of later blocks
            changed = min(new) - max(widths.values(), default=1)
            self._points = {start: point for start, point in self._points.items() if point.end <= changed}
        self._widths, self._boundaries = widths, boundaries
        while (end - self._begun) > MAX_POINTS * self._width:
            self._width *= 2
            self._points.clear()

    def _is_stale(self, start: int, end: int) -> bool:
        return start not in self._points or self._points[start].end != min(start + self._width, end)

    def _renew(self, stale: Sequence[int], first: int, end: int, pause: Callable[[], None]) -> None:
        sums = {start: Sums() for start in stale}
        rows: dict[int, dict[RowKey, RowValues]] = {start: {} for start in stale}
        seconds = {start: self._seconds(start, end) for start in stale}
        begin = first if stale[0] == self._begun else stale[0]
        stop = min(stale[-1] + self._width, end)
        for row, recorded in self._record.rows.items():
            if row[0] == TASK:
                continue
            merged: dict[int, Block] = {}
            for cell in recorded.between(begin, stop):
                start = self._start(cell.start)
                if start not in sums or not cell.parts:
                    continue
                block = cell.block()
                if block.ok or block.failed:
                    if start in merged:
                        merged[start].merge(block)
                    else:
                        merged[start] = block
            for start, block in merged.items():
                sums[start].add(row, block)
                rows[start][row] = _row_values(block, seconds[start])
            pause()
        for start in stale:
            until = min(start + self._width, end)
            health = [self._health.get(second, []) for second in range(start, until)]
            run = {**_operations(sums[start], seconds[start]), **_health(health, seconds[start])}
            self._points[start] = Point(until, run, rows[start])

    def _seconds(self, start: int, end: int) -> float:
        """The length of a point. The last second of a test may be incomplete."""
        samples = (self._health.get(second, ()) for second in range(start, min(start + self._width, end)))
        return sum(min(1.0, max((sample.span for sample in found), default=1.0)) for found in samples)


def _row_values(block: Block, seconds: float) -> RowValues:
    response, service = block.times["response"], block.times["service"]
    percentiles: list[float | None] = []
    found = estimate([response], quantiles=SHOWN).percentiles if response.count else {}
    for percent in SHOWN:
        interval = found.get(percent)
        times = (interval.value, interval.low, interval.high) if interval else (None,) * 3
        percentiles += [None if time is None else round(time / 1000, 1) for time in times]
    return (
        _rate(block.ok, seconds),
        _rate(block.failed, seconds),
        *percentiles,
        None if response.max is None else round(response.max * 1e6, 1),
        *(_percentile(service, percent) for percent in (50, 99)),
        _heat(response),
    )


def _heat(times: Histogram) -> tuple[int, ...]:
    bins: dict[int, int] = {}
    for bucket, count in times.buckets():
        place = _bin(bucket)
        bins[place] = bins.get(place, 0) + count
    return tuple(number for pair in sorted(bins.items()) for number in pair)


@cache  # there are a few thousand buckets
def _bin(bucket: int) -> int:
    return math.floor(BINS_PER_DECADE * math.log10(max(1.0, middle(bucket) / 1000)))


def _operations(sums: Sums, seconds: float) -> dict[str, float | None]:
    rates = ("achieved", "failed", "bytes_sent", "bytes_received")
    return {
        **{name: _rate(getattr(sums, name), seconds) for name in rates},
        "generator_delay_p99_us": _percentile(sums.generator_delay, 99),
        "read_delay_p99_us": _percentile(sums.read_delay, 99),
    }


def _health(by_second: Sequence[Sequence[HealthSecond]], seconds: float) -> dict[str, float | None]:
    samples = [sample for found in by_second for sample in found]
    if not samples:
        return dict.fromkeys((*GAUGES, *COUNTS, "loop_lag_us", "cpu"))
    last = next(found for found in reversed(by_second) if found)
    return {
        **{name: sum(getattr(sample, name) for sample in last) for name in GAUGES},
        **{name: _rate(sum(getattr(sample, name) for sample in samples), seconds) for name in COUNTS},
        "loop_lag_us": round(max(sample.lag for sample in samples) * 1e6, 1),
        "cpu": round(max(sample.cpu for sample in samples), 4),
    }


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 3) if seconds else 0.0


def _percentile(times: Histogram, percent: float) -> float | None:
    if times.count < FLOORS[percent]:
        return None
    found = times.percentile(percent)
    return None if found is None else round(found * 1e6, 1)
