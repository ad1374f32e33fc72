"""Evidence of runs for the tests of the verdict: each value that a test does not give is good."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from geventecho.histogram import Histogram
from geventecho.results import Block, Evidence, HealthSecond, RowEvidence, RowSpan, WorkerEvidence

START = 1_000
QUIET = HealthSecond(
    second=START, span=1.0, lag=0.0004, cpu=0.06, core=1.0, wait=0.003, throttled=0.0, steal=0.001, in_flight=1,
    users=50, pausing=0, started=200, ended=200, planned=200, sent=200, late=0, dropped=0, waited=0,
    open=50, opening=0, lost=0, connects=0,
)  # fmt: skip
"""A second of an undisturbed generator, in the open mode."""
ECHO = ("TCP", "echo")


def times(count: int = 4_000, **milliseconds: float) -> dict[str, Histogram]:
    """The histograms of a row: 98 of 100 values of each time are short, and two have the given milliseconds."""
    given = {"response": 0.5, "service": 0.4, "generator_delay": 0.3, "read_delay": 0.3} | milliseconds
    made = {}
    for name, tail in given.items():
        made[name] = Histogram()
        slow = count // 50
        made[name].count_all([50_000] * (count - slow) + [int(tail * 1e6)] * slow)
    return made


def seconds(count: int = 20, **values: Any) -> list[HealthSecond]:
    """Seconds of health. A value may be a function of the second's number."""
    made = []
    for number in range(count):
        given = {name: value(number) if callable(value) else value for name, value in values.items()}
        made.append(replace(QUIET, **{"second": START + number, **given}))
    return made


def run(
    health: Sequence[HealthSecond] | None = None,
    measured: Mapping[tuple[str, str], Mapping[str, Histogram]] | None = None,
    **values: Any,
) -> Evidence:
    """A run of one worker, with good values by default; `measured` has the times of its rows."""
    health = seconds() if health is None else health
    measured = {ECHO: times()} if measured is None else measured
    made = [RowEvidence(kind, name, row, ()) for (kind, name), row in measured.items()]
    worker = WorkerEvidence("w1", health, measured)
    return Evidence(**{"duration": 20.0, "rows": made, "workers": [worker], "steady": [(START, START + 20)], **values})


def blocks(median: Callable[[int], float], count: int = 20, each: int = 100) -> list[Block]:
    """A block a second with `each` operations, and the median in milliseconds of its number."""
    made = [Block(START + number, ok=each) for number in range(count)]
    for number, block in enumerate(made):
        block.times["response"].count_all([int(median(number) * 1e6)] * each)
    return made


def row_of(made: Sequence[Block], is_unsteady: bool = False) -> RowEvidence:
    """A row of these blocks."""
    whole = Block(START)
    for block in made:
        whole.merge(block)
    return RowEvidence(*ECHO, whole.times, [RowSpan.of(block) for block in made], whole.failed, is_unsteady)
