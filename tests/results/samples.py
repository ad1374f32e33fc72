"""Blocks and results with chosen values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from geventecho.results import (
    SCHEMA,
    TIMES,
    Account,
    Block,
    Collection,
    Connections,
    Facts,
    HealthSecond,
    Record,
    Result,
    Row,
    Series,
    Verdict,
    good_rate,
    rows_of,
)
from geventecho.results.timeline import Span

START = 1_000


def block(
    second: int, times_us: Iterable[float], *, failed: int = 0, dropped: int = 0, kinds: Sequence[str] = TIMES[:4]
) -> Block:
    """A second of a row: good operations with the same times for all kinds, and failed operations of 5 ms."""
    times = [int(time * 1000) for time in times_us]
    made = Block(second, ok=len(times), failed=failed, dropped=dropped, bytes_received=10 * len(times))
    for kind in kinds:
        made.times[kind].count_all(times)
    made.failed_times["response"].count_all([5_000_000] * failed)
    return made


def no_pause() -> None:
    """Do nothing: no other greenlet has to run."""


def row(blocks: Iterable[Block], seconds: int, key: tuple[str, str] = ("TCP", "echo")) -> Row:
    """The row of these blocks, from `START` on."""
    record = Record()
    for one in blocks:
        record.add(key, one)
    ((made, *_),) = rows_of(record, Span(START, START + seconds, seconds), no_pause)
    return made


def collect(add: Callable[[Collection], None], *, begun: float = START, warm_up: float = 0.0) -> Collection:
    """The collection of a test that began at `begun`, after `add` has filled it."""
    collection = Collection(begun, warm_up)
    add(collection)
    return collection


def health(second: int, **values: Any) -> list[Any]:
    """A sample of health in the form in which workers send it."""
    given = {"second": second, "span": 1.0, "cpu": 0.25, "lag": 0.001, **values}
    return [given.get(field.name, 0) for field in dataclasses.fields(HealthSecond)]


FACTS = Facts(
    target="tcp://127.0.0.1:1", argv=(), started_at="", command={}, environment={},
    sums=dict.fromkeys(Account.__dataclass_fields__, 0),
)  # fmt: skip


def result(*rows: Row) -> Result:
    """A result of these rows."""
    return Result(
        schema=SCHEMA, target="tcp://127.0.0.1:1", argv=("locust", "-f", "load test.py"), started_at="",
        duration_s=60.0, command={}, environment={}, verdict=Verdict("trusted", ("why",)), gates=(),
        account=Account(*range(10)), connections=Connections(*range(6)), rate=good_rate(rows, 60.0), planned_rate=None,
        bytes_sent=0, bytes_received=0, bytes_sent_rate=0.0, bytes_received_rate=0.0, rows=rows,
        warm_up=None, stages=(), stages_left_out=0, workers=(), failures=(), other_users="none",
        series=Series(1, 0, (), {}, ()),
    )  # fmt: skip
