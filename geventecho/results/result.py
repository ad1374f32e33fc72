"""Result: the figures of a run, as one value for programs and for the JSON file.

Times are in microseconds, with one decimal; spans in seconds. Names and structure are those of the JSON file, see
docs/reference/result-schema.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from geventecho.results.intervals import Percentile
from geventecho.results.series import Series
from geventecho.results.server_account import ServerAccount
from geventecho.results.verdict import Verdict

__all__ = [
    "PERCENTILES",
    "SCHEMA",
    "Account",
    "Connections",
    "Distribution",
    "Failures",
    "GateOutcome",
    "Intervals",
    "Part",
    "Rate",
    "Result",
    "Row",
    "Stage",
    "Times",
    "Value",
    "Worker",
]

SCHEMA: Final = 1
"""The schema's version. It grows when a key is renamed, removed or changes its meaning, not when one is added."""

PERCENTILES: Final[dict[str, float]] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99_9": 99.9, "p99_99": 99.99}
"""The percentiles of a row, by key."""


@dataclass(frozen=True, slots=True)
class Times:
    """Figures of one kind of time, in microseconds.

    Attributes:
        p50, p90, p95, p99, p99_9, p99_99: percentiles with their 95 % intervals; None below their sample floor.
        mean, max: of the finite ones; None where there are none.
    """

    p50: Percentile | None
    p90: Percentile | None
    p95: Percentile | None
    p99: Percentile | None
    p99_9: Percentile | None
    p99_99: Percentile | None
    mean: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """All times of one kind in a row, in microseconds, as HdrHistogram iterates over percentiles.

    There are five percentiles in each half of the distance to 100, and the last one is 100.

    Attributes:
        percentiles: rising, from 0 to 100.
        values: the time of each.
        counts: how many times are that long or shorter.
        mean, deviation, max: of all.
    """

    percentiles: tuple[float, ...]
    values: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    deviation: float
    max: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """How the intervals of a row's response times were found.

    Attributes:
        method: "bootstrap" over blocks; "order statistics" where there are too few blocks for it.
        blocks: how many there are.
        block_s: seconds of each block.
        block_length: blocks that are drawn together, because neighbours depend on each other.
        unsteady: whether they depend on each other for too long, so that the run is too short for an interval.
    """

    method: str
    blocks: int
    block_s: int
    block_length: int
    unsteady: bool


@dataclass(frozen=True, slots=True)
class Row:
    """The operations of one type and name in a part of the run.

    Attributes:
        type: "TCP", "TRANSACTION", or "TASK": the tasks of a user class that followed a plan.
        name: of the operations, or of the user class.
        setup: whether they are connects, TLS handshakes, greetings or log-ins.
        ok, failed: operations. An aborted operation is in no row.
        dropped: planned instants without a task; only rows of type TASK have any.
        rate: good operations a second.
        bytes_sent, bytes_received: of all operations.
        clock_steps: operations without a time of arrival, because the machine's clock was stepped.
        response_us: of good operations, from the call or the planned instant to the arrival of the reply.
        service_us: from the send to the arrival.
        generator_delay_us: from the call or the planned instant to the send.
        read_delay_us: from the arrival to the read; None where no arrival was stamped.
        first_byte_us: from the send to the arrival of the first byte, where replies came in pieces.
        offered_us: response times of all operations; failed and dropped ones are infinite.
        failed_times: the same times of failed operations, up to the failure, by the same keys; only those that they
            have.
        missing: by kind of time, such as "response_us", and percentile: seconds until there are enough samples for it,
            at the row's rate. Empty where more time would not help: nothing ended well, or each user makes one.
        intervals: how they were found.
        distributions: of "response_us" and "service_us"; only those that the row has.
    """

    type: str
    name: str
    setup: bool
    ok: int
    failed: int
    dropped: int
    rate: float
    bytes_sent: int
    bytes_received: int
    clock_steps: int
    response_us: Times
    service_us: Times
    generator_delay_us: Times
    read_delay_us: Times | None
    first_byte_us: Times | None
    offered_us: Times
    failed_times: Mapping[str, Times]
    missing: Mapping[str, Mapping[str, float]]
    intervals: Intervals
    distributions: Mapping[str, Distribution]


@dataclass(frozen=True, slots=True)
class Account:
    """The operations and tasks of the whole run, over all processes: started = ok + failed + aborted.

    Attributes:
        planned, sent, late, dropped: tasks with a planned instant; planned = sent + dropped.
        started, ok, failed, aborted: operations.
        connects: connects among `started`.
        reconnects: those of them that were not their user's first.
    """

    planned: int
    sent: int
    late: int
    dropped: int
    started: int
    ok: int
    failed: int
    aborted: int
    connects: int
    reconnects: int


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections of the whole run, over all processes.

    Attributes:
        open, opening: now; 0 after the end. Those of a worker that was lost are left out.
        lost: open ones that ended, and not by their user's own close.
        connects: that began.
        reconnects: those of them that were not their user's first.
        peak: the most that began within one second, of all processes together.
    """

    open: int
    opening: int
    lost: int
    connects: int
    reconnects: int
    peak: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A process with users, in the measured part. A share is of the time, 0 to 1; None where it is not known.

    Attributes:
        id: Locust's name of it; "local" in a run of one process.
        verdict: its own.
        ok, failed: operations.
        rate: good operations a second.
        cpu: share in which the process ran, all threads added.
        cpu_max: the same of its busiest second.
        core: busy share of the cores on which it may run, by any process.
        run_queue_wait: share in which it was ready to run and had no core.
        throttled: share in which its cgroup was stopped because it had used up its CPU quota.
        steal: share that the hypervisor took from its cores.
        loop_lag_us: the largest lateness of a tick of the event loop.
        usual_loop_lag_us: the same of the median second.
        generator_delay_p99_us, read_delay_p99_us: over all its rows; None below the sample floor.
        users, in_flight: the most users, and operations under way, at the end of a second.
    """

    id: str
    verdict: Verdict
    ok: int
    failed: int
    rate: float
    cpu: float | None
    cpu_max: float | None
    core: float | None
    run_queue_wait: float | None
    throttled: float | None
    steal: float | None
    loop_lag_us: float | None
    usual_loop_lag_us: float | None
    generator_delay_p99_us: float | None
    read_delay_p99_us: float | None
    users: int | None
    in_flight: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the run with rows of its own.

    Attributes:
        duration_s: of it.
        rows: of it.
    """

    duration_s: float
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Rate:
    """Tasks a second.

    Attributes:
        planned: the arrival rate.
        achieved: tasks that ended.
    """

    planned: float
    achieved: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run with an unchanged arrival rate, and with unchanged users and spawn rate.

    Attributes:
        start_s: seconds from the start of the test.
        duration_s: of it.
        users: that the `LoadTestShape` asked for; None without one.
        spawn_rate: of the `LoadTestShape`; None without one.
        rate: None without an arrival rate.
        rows: of it.
    """

    start_s: float
    duration_s: float
    users: int | None
    spawn_rate: float | None
    rate: Rate | None
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one kind in one row.

    Attributes:
        type, name: the row.
        kind: of the failure, such as "refused".
        count: how many.
        sample: the text of one of them, which may have text of the peer in it; "" where none is known.
    """

    type: str
    name: str
    kind: str
    count: int
    sample: str


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """A condition of the tester's, judged.

    Attributes:
        expression: the condition as it was given.
        met: whether it is.
        value: the figure that it was judged by, such as "p99 3.21 ms [3.02, 3.60]".
        reason: why it is not met; "" where it is.
    """

    expression: str
    met: bool
    value: str
    reason: str


Value: TypeAlias = str | int | float | None


@dataclass(frozen=True, slots=True)
class Result:
    """A run.

    Attributes:
        schema: `SCHEMA`.
        target: the server under test.
        argv: the command that made it, by its arguments; empty where a program used Locust as a library.
        started_at: when the test began, as ISO 8601 in UTC.
        duration_s: of the measured part, which `rows` and percentiles are of.
        command: the options that matter, by name; None where one does not apply.
        environment: versions and machine, by name.
        verdict: on the whole run.
        gates: the conditions that were given, each judged.
        account: of the whole run.
        connections: of the whole run.
        rate: good operations a second of the measured part, without connects, TLS handshakes and log-ins.
        planned_rate: tasks a second that the arrival rate asked for in the measured part; None without one.
        bytes_sent, bytes_received: of all operations of the measured part.
        bytes_sent_rate, bytes_received_rate: the same a second.
        rows: of the measured part.
        warm_up: the part before it; None where there is none.
        stages: in their order, at most 100.
        stages_left_out: the number of further stages.
        workers: the processes with users.
        failures: of the whole run, or since the last reset of the statistics.
        other_users: a sentence that names the classes of users other than `TcpUser`s; their operations are left out.
        series: the figures of the whole run over time.
        notes: sentences on how figures are to be read.
        server_account: the account of both ends, of the whole run; None where none was asked for.
    """

    schema: int
    target: str
    argv: tuple[str, ...]
    started_at: str
    duration_s: float
    command: Mapping[str, Value]
    environment: Mapping[str, Value]
    verdict: Verdict
    gates: tuple[GateOutcome, ...]
    account: Account
    connections: Connections
    rate: float
    planned_rate: float | None
    bytes_sent: int
    bytes_received: int
    bytes_sent_rate: float
    bytes_received_rate: float
    rows: Sequence[Row]
    warm_up: Part | None
    stages: Sequence[Stage]
    stages_left_out: int
    workers: Sequence[Worker]
    failures: Sequence[Failures]
    other_users: str
    series: Series
    notes: Sequence[str] = ()
    server_account: ServerAccount | None = None
