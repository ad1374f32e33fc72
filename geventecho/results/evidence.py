"""The evidence for the verdict on a run: its rows, and the health of each worker by second.

The rules in generator.py and verdict.py read nothing else. All values are of the measured part of the run.
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
    """The health of one process in one second. A share is of the second, 0 to 1; None where it is unknown.

    `HealthSecond(*sample)` restores the tuple of `dataclasses.astuple`, or the list that msgpack makes of it.

    Attributes:
        second: the whole second, counted as the blocks' `start` is.
        span: seconds since the sample before it. It is more than 1 where the process was stopped.
        lag: the largest lateness of a tick of the event loop, in seconds. A suspended machine counts, too.
        cpu: share in which the process ran, all threads added.
        core: busy share of the cores on which it may run, by any process.
        wait: share in which its main thread was ready to run and had no core.
        throttled: share in which its cgroup was stopped because it had used up its CPU quota.
        steal: share that the hypervisor took from the cores on which it may run.
        in_flight: operations under way at the end of the second.
        users: users that have started, less those that have ended, at the end of the second.
        pausing: users that wait before they connect again, because they failed, at the end of the second.
        started: operations that began in the second.
        ended: operations that were answered or failed in it.
        planned: instants that fell due in it.
        sent: planned tasks that began in it.
        late: those of them that began more than 1 ms after their instant.
        dropped: the increase of instants without a task in this second; may be below 0.
        waited: instants that fell due in it while every user was busy.
        open: open connections at the end of the second; a loss counts once it is noticed.
        opening: connects under way at the end of the second.
        lost: open connections that ended in it, and not by their user's own close.
        connects: connects that began in it.
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
        start: its first whole second.
        seconds: how long it is.
        count: good operations in it.
        p50: the median of their response times, in seconds; None where there are none.
    """

    start: int
    seconds: int
    count: int
    p50: float | None

    @classmethod
    def of(cls, block: Block) -> Self:
        """Make it of a block."""
        response = block.times["response"]
        return cls(block.start, block.seconds, response.count, response.percentile(50))

    @property
    def end(self) -> int:
        """The second after it."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class RowEvidence:
    """A row of the run.

    Attributes:
        kind: its type, such as "TCP".
        name: its name.
        times: of its good operations, by the names of `TIMES`; those that are not measured are missing.
        spans: its blocks in order.
        failed: operations.
        is_unsteady: `Estimate.is_unsteady` of its response times: the correlation of its seconds lasts so long that
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
        name: its name.
        health: its seconds in order.
        times: of the good operations of each of its rows (type, name), by the names of `TIMES`.
        lacking: why its numbers are not complete, as a sentence without full stop; "" where they are.
    """

    name: str
    health: Sequence[HealthSecond]
    times: Mapping[RowKey, Mapping[str, Histogram]] = field(default_factory=dict)
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run.

    Attributes:
        duration: of the measured part, in seconds.
        rows: all rows but those of type TASK.
        workers: all processes with users; one in a run of one process.
        steady: spans in which neither the number of users nor the rate was changed, as [first second, end). Trends are
            looked for within each.
        asked: tasks that the arrival rate asks for; 0 without one.
        lacking: further reasons why the numbers are not complete, each a sentence without full stop.
        unbalanced: the differences between the account of the test and that of the server, as such sentences.
    """

    duration: float
    rows: Sequence[RowEvidence]
    workers: Sequence[WorkerEvidence]
    steady: Sequence[tuple[int, int]] = ()
    asked: float = 0.0
    lacking: Sequence[str] = ()
    unbalanced: Sequence[str] = ()


def is_setup(row: RowKey) -> bool:
    """Whether a row has connects, TLS handshakes, greetings or log-ins, by its name, such as `connect` or `login`."""
    return row[1].lower().replace(" ", "").replace("-", "") in SETUP


def mean_over_time(health: Sequence[HealthSecond], of: Callable[[HealthSecond], float | None]) -> float | None:
    """The mean over the time for which it is known."""
    known = [(value, second.span) for second in health if (value := of(second)) is not None]
    return sum(value * span for value, span in known) / sum(span for _, span in known) if known else None
