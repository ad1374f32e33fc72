"""The evidence for the verdict on a run: its rows, and the health of each worker by second.

The rules in generator.py and verdict.py read only this evidence. All values are of the measured part of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from geventecho.histogram import Histogram
from geventecho.results.blocks import Block, RowKey
from geventecho.results.intervals import FLOORS

__all__ = [
    "P99_FLOOR",
    "Evidence",
    "HealthSecond",
    "RowEvidence",
    "RowSpan",
    "WorkerEvidence",
    "is_setup",
    "mean_over_time",
]

P99_FLOOR: Final = FLOORS[99]
SETUP: Final = frozenset({"connect", "tls", "greeting", "login"})
COUNTS: Final = (
    "in_flight", "users", "pausing", "started", "ended", "planned", "sent", "late", "dropped", "waited", "open",
    "opening", "lost", "connects",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HealthSecond:
    """The health of one process in one second. A share is a part of the second, 0 to 1; None where it is unknown.

    `HealthSecond(*sample)` restores a sample from the tuple of `dataclasses.astuple`, or from msgpack's list of it.

    Attributes:
        second: the whole second, on the same clock as `Block.start`.
        span: seconds since the previous sample. It is more than 1 where the process was stopped.
        lag: the largest lateness of a tick of the event loop, in seconds. It includes the time of a suspended machine.
        cpu: share in which the process ran, all threads added.
        core: busy share of the cores on which the process may run, by any process.
        wait: share in which the main thread was ready to run and had no core.
        throttled: share in which the cgroup was stopped because it had used up its CPU quota.
        steal: share that the hypervisor took from the cores on which the process may run.
        in_flight: operations under way at the end of the second.
        users: running users at the end of the second.
        pausing: users that wait after a failure before they connect again, at the end of the second.
        started: operations that began in the second.
        ended: operations that succeeded or failed in the second.
        planned: planned instants that fell due in the second.
        sent: planned tasks that began in the second.
        late: tasks of `sent` that began more than 1 ms after their instant.
        dropped: the increase of instants without a task in the second; may be below 0.
        waited: instants that fell due in the second while every user was busy.
        open: open connections at the end of the second; a loss counts once it is noticed.
        opening: connects under way at the end of the second.
        lost: open connections that ended in the second without a close by their user.
        connects: connects that began in the second.
    """

    second: int
    span: float
    lag: float
    cpu: float
    core: float | None
    wait: float | None
    throttled: float | None
    steal: float | None
    in_flight: int
    users: int
    pausing: int
    started: int
    ended: int
    planned: int
    sent: int
    late: int
    dropped: int
    waited: int
    open: int
    opening: int
    lost: int
    connects: int

    def plus(self, other: HealthSecond) -> HealthSecond:
        """Add the counts of another process. The other fields do not change."""
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in COUNTS})


@dataclass(frozen=True, slots=True)
class RowSpan:
    """One block of a row.

    Attributes:
        start: the first whole second.
        seconds: the length of the block.
        count: good operations in the block.
        p50: the median of their response times, in seconds; None without a good operation.
    """

    start: int
    seconds: int
    count: int
    p50: float | None

    @classmethod
    def of(cls, block: Block) -> Self:
        """Make the span of a block."""
        response = block.times["response"]
        return cls(block.start, block.seconds, response.count, response.percentile(50))

    @property
    def end(self) -> int:
        """The first second after the span."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class RowEvidence:
    """A row of the run.

    Attributes:
        kind: the row's type, such as "TCP".
        name: the row's name.
        times: the times of good operations, by the names of `TIMES`; a kind of time that is not measured is missing.
        spans: the blocks in order.
        failed: the number of failed operations.
        is_unsteady: `Estimate.is_unsteady` of the response times: the correlation between seconds lasts so long that
            the run is too short for an interval.
    """

    kind: str
    name: str
    times: Mapping[str, Histogram]
    spans: Sequence[RowSpan]
    failed: int = 0
    is_unsteady: bool = False


@dataclass(frozen=True, slots=True)
class WorkerEvidence:
    """A process with users.

    Attributes:
        name: the worker's name.
        health: the health by second, in order.
        times: the times of good operations by row (type, name) and by the names of `TIMES`.
        incomplete: why the worker's numbers are incomplete, as a sentence without full stop; "" where they are
            complete.
    """

    name: str
    health: Sequence[HealthSecond]
    times: Mapping[RowKey, Mapping[str, Histogram]] = field(default_factory=dict)
    incomplete: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run.

    Attributes:
        duration: the length of the measured part, in seconds.
        rows: all rows except those of type TASK.
        workers: all processes with users; one in a run of one process.
        steady: spans in which neither the number of users nor the rate changed, as [first second, end). The rules look
            for trends within each span.
        asked: tasks that the arrival rate asks for; 0 without an arrival rate.
        incomplete: further reasons why the numbers are incomplete, each a sentence without full stop.
        unbalanced: the differences between the counts of the test and those of the server, as similar sentences.
    """

    duration: float
    rows: Sequence[RowEvidence]
    workers: Sequence[WorkerEvidence]
    steady: Sequence[tuple[int, int]] = ()
    asked: float = 0.0
    incomplete: Sequence[str] = ()
    unbalanced: Sequence[str] = ()


def is_setup(row: RowKey) -> bool:
    """Whether a row's name is that of connects, TLS handshakes, greetings or log-ins, such as `connect` or `login`."""
    return row[1].lower().replace(" ", "").replace("-", "") in SETUP


def mean_over_time(health: Sequence[HealthSecond], share: Callable[[HealthSecond], float | None]) -> float | None:
    """The mean of a share over the seconds in which it is known; None if it is never known."""
    known = [(value, second.span) for second in health if (value := share(second)) is not None]
    return sum(value * span for value, span in known) / sum(span for _, span in known) if known else None
