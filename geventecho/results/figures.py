"""The rows and workers of a `Result`, computed from blocks and health.

This module converts nanoseconds to microseconds, and leaves out percentiles without enough samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Final, TypeAlias, TypeVar

from geventecho.histogram import Histogram
from geventecho.results.blocks import TIMES, Block, Cell, Record, RowKey
from geventecho.results.distribution import distribution
from geventecho.results.evidence import P99_FLOOR, HealthSecond, RowEvidence, RowSpan, is_setup, mean_over_time
from geventecho.results.intervals import Estimate, Percentile, estimate
from geventecho.results.memory import Memory
from geventecho.results.result import PERCENTILES, Intervals, Row, Times, Worker
from geventecho.results.timeline import Span
from geventecho.results.verdict import Verdict

__all__ = ["TASK", "TRANSACTION", "good_rate", "is_operation", "missing_where_time_helps", "rows_of", "worker_of"]

TASK: Final = "TASK"
"""The type of a row that counts tasks of a plan."""
TRANSACTION: Final = "TRANSACTION"
"""The type of a row that counts groups of operations. The operations have their own rows, too."""
MAX_BLOCKS: Final = 240
"""The most blocks of an estimate. More blocks add little to the knowledge of how a row varies."""
GROUPS_PER_SUM: Final = 16
"""Groups of blocks that have a remembered sum: about the square root of the number of groups."""
COUNTS: Final = ("ok", "failed", "dropped", "bytes_sent", "bytes_received", "clock_steps")
Cells: TypeAlias = tuple[Cell, ...]
T = TypeVar("T")
Whole: TypeAlias = Mapping[str, Histogram]
"""All times of a row, by the names of `TIMES`."""
OPTIONAL: Final = ("read_delay", "first_byte")
"""Kinds of time that a row may not have."""
DISTRIBUTED: Final = ("response", "service")


def is_operation(row: RowKey) -> bool:
    """Whether the row has single operations. The rows of other types count the same operations again."""
    return row[0] not in (TASK, TRANSACTION)


def good_rate(rows: Iterable[Row], seconds: float) -> float:
    """Good operations a second without connects, TLS handshakes and log-ins; 0 if no time was measured.

    Args:
        rows: the rows of the measured part.
        seconds: the length of the measured part.
    """
    good = sum(row.ok for row in rows if is_operation((row.type, row.name)) and not row.setup)
    return round(good / seconds, 3) if seconds else 0.0


def missing_where_time_helps(rows: Iterable[Row], first: int) -> list[Row]:
    """Return the rows, with `missing` emptied where each user makes one operation: more time adds no operations.

    Args:
        rows: the rows of a part of the run.
        first: the number of connects in the whole run that were the first of their user.
    """
    return [replace(row, missing={}) if row.setup and row.ok + row.failed <= first else row for row in rows]


def rows_of(
    record: Record, span: Span, pause: Callable[[], None], memory: Memory | None = None
) -> Iterator[tuple[Row, RowEvidence]]:
    """Yield each row of a part of the run with its evidence, sorted by type and name, with tasks last.

    Args:
        record: the record of the run.
        span: the part of the run.
        pause: called now and then, because many rows take seconds.
        memory: the memory of earlier rows.
    """
    memory = memory or Memory()
    for row, recorded in sorted(record.rows.items(), key=lambda row: (row[0][0] == TASK, row[0])):
        cells = tuple(recorded.between(span.first, span.end))
        found = memory.call(_row, row, cells, span.duration, pause, memory)
        pause()
        if found:
            yield found


def _row(
    row: RowKey, cells: Cells, duration: float, pause: Callable[[], None], memory: Memory
) -> tuple[Row, RowEvidence] | None:
    """A row and its evidence; None if nothing was counted."""
    groups = _split(cells, -(-len(cells) // MAX_BLOCKS))  # the time of an estimate grows with the number of blocks
    joined = [memory.call(_joined, group) for group in groups]
    whole = Block(0)
    for some in _split(groups, GROUPS_PER_SUM):
        whole.merge(memory.call(_whole, some, memory))
    pause()
    if not whole.ok and not whole.failed and not whole.dropped:
        return None
    made = _figures(row, [block for block, _ in joined], whole, duration, pause)
    spans = [span for _, found in joined for span in found]
    return made, RowEvidence(*row, whole.times, spans, whole.failed, made.intervals.unsteady)


def _split(items: tuple[T, ...], size: int) -> tuple[tuple[T, ...], ...]:
    return tuple(items[place : place + size] for place in range(0, len(items), max(1, size)))


def _joined(cells: Cells) -> tuple[Block, list[RowSpan]]:
    """Adjacent blocks merged into one block, and the span of each."""
    joined = cells[0].block()
    spans = [RowSpan.of(joined)]
    for cell in cells[1:]:
        block = cell.block()
        spans.append(RowSpan.of(block))
        joined.merge(block)
    joined.compact()
    return joined, spans


def _whole(groups: tuple[Cells, ...], memory: Memory) -> Block:
    """The sum of groups of adjacent blocks."""
    whole = Block(groups[0][0].start)
    for group in groups:
        whole.merge(memory.call(_joined, group)[0])
    whole.compact()
    return whole


def _figures(row: RowKey, joined: list[Block], whole: Block, duration: float, pause: Callable[[], None]) -> Row:
    times, missing, response = _all_times(joined, whole.times, duration, pause)
    return Row(
        type=row[0],
        name=row[1],
        setup=is_setup(row),
        **{count: getattr(whole, count) for count in COUNTS},
        rate=round(whole.ok / duration, 3) if duration else 0.0,
        response_us=times["response_us"],
        service_us=times["service_us"],
        generator_delay_us=times["generator_delay_us"],
        read_delay_us=times.get("read_delay_us"),
        first_byte_us=times.get("first_byte_us"),
        offered_us=times["offered_us"],
        failed_times=_failed_times(joined, whole.failed_times) if whole.failed else {},
        missing=missing if whole.ok else {},  # without a good operation, more time would not help
        intervals=Intervals(
            method=response.method,
            blocks=len(joined),
            block_s=max((block.seconds for block in joined), default=1),
            block_length=response.block_length,
            unsteady=response.is_unsteady,
        ),
        distributions={
            f"{kind}_us": distribution(whole.times[kind]) for kind in DISTRIBUTED if whole.times[kind].count
        },
    )


def _all_times(
    blocks: list[Block], whole: Whole, duration: float, pause: Callable[[], None]
) -> tuple[dict[str, Times], dict[str, dict[str, float]], Estimate]:
    """The times of all kinds, the missing seconds by kind, and the estimate of the response times."""
    times: dict[str, Times] = {}
    missing: dict[str, dict[str, float]] = {}

    def add(label: str, kind: str, lost: Sequence[int] | None = None) -> Estimate:
        found = estimate([block.times[kind] for block in blocks], lost, whole=whole[kind])
        times[label] = _times(found, whole[kind])
        if seconds := _missing(found, whole[kind].count + sum(lost or ()), duration):
            missing[label] = seconds
        pause()
        return found

    response = add("response_us", "response")
    for kind in TIMES[1:]:
        if kind not in OPTIONAL or whole[kind].count:
            add(f"{kind}_us", kind)
    lost = [block.failed + block.dropped for block in blocks]
    if any(lost):
        add("offered_us", "response", lost)
    else:  # the estimate would be the same
        times["offered_us"] = times["response_us"]
        if "response_us" in missing:
            missing["offered_us"] = missing["response_us"]
    return times, missing, response


def _failed_times(blocks: Sequence[Block], whole: Whole) -> dict[str, Times]:
    return {
        f"{kind}_us": _times(estimate([block.failed_times[kind] for block in blocks], whole=whole[kind]), whole[kind])
        for kind in TIMES
        if whole[kind].count
    }


def _times(found: Estimate, whole: Histogram) -> Times:
    percentiles = {key: _percentile(found.percentiles[percent]) for key, percent in PERCENTILES.items()}
    return Times(**percentiles, mean=_in_microseconds(whole.mean), max=_in_microseconds(whole.max))


def _in_microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e6, 1)


def _percentile(percentile: Percentile | None) -> Percentile | None:
    if percentile is None:
        return None
    return Percentile(*(round(time / 1000, 1) for time in (percentile.value, percentile.low, percentile.high)))


def _missing(found: Estimate, samples: int, duration: float) -> dict[str, float]:
    """The seconds until there are enough samples, by percentile; empty without samples, because the rate is unknown."""
    if not samples:
        return {}
    return {
        key: math.ceil(found.missing[percent] * duration / samples * 10) / 10
        for key, percent in PERCENTILES.items()
        if found.missing.get(percent)
    }


def worker_of(
    name: str,
    verdict: Verdict,
    rows: Mapping[RowKey, Block],
    health: Sequence[HealthSecond],
    duration: float,
) -> Worker:
    """Return a worker.

    Args:
        name: Locust's name of the worker.
        verdict: the worker's verdict.
        rows: each row of the worker in the measured part, as one block.
        health: the worker's health in the measured part, by second.
        duration: the length of the measured part, in seconds.
    """
    operations = [block for (kind, _), block in rows.items() if kind != TASK]
    ok = sum(block.ok for block in operations)
    return Worker(
        id=name,
        verdict=verdict,
        ok=ok,
        failed=sum(block.failed for block in operations),
        rate=round(ok / duration, 3) if duration else 0.0,
        cpu=_share(health, lambda second: second.cpu),
        cpu_max=max((round(second.cpu, 4) for second in health), default=None),
        core=_share(health, lambda second: second.core),
        run_queue_wait=_share(health, lambda second: second.wait),
        throttled=_share(health, lambda second: second.throttled),
        steal=_share(health, lambda second: second.steal),
        loop_lag_us=_in_microseconds(max((second.lag for second in health), default=None)),
        usual_loop_lag_us=_in_microseconds(median(second.lag for second in health)) if health else None,
        generator_delay_p99_us=_p99(operations, "generator_delay"),
        read_delay_p99_us=_p99(operations, "read_delay"),
        users=max((second.users for second in health), default=None),
        in_flight=max((second.in_flight for second in health), default=None),
    )


def _p99(blocks: Iterable[Block], kind: str) -> float | None:
    whole = Histogram()
    for block in blocks:
        whole.merge(block.times[kind])
    return _in_microseconds(whole.percentile(99)) if whole.count >= P99_FLOOR else None


def _share(health: Sequence[HealthSecond], share: Callable[[HealthSecond], float | None]) -> float | None:
    mean = mean_over_time(health, share)
    return None if mean is None else round(mean, 4)
