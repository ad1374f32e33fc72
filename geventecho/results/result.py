"""Result: the figures of a run, as one value for programs and for the JSON file.

Times are in microseconds with one decimal, and spans in seconds. The JSON file has the same names and structure, see
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
"""The schema's version. It grows when a key is renamed or removed or changes its meaning, not when a key is added."""

PERCENTILES: Final[dict[str, float]] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99_9": 99.9, "p99_99": 99.99}
"""The percentiles of a row, by key."""


@dataclass(frozen=True, slots=True)
class Times:
    """Figures of one kind of time, in microseconds.

    Attributes:
        p50, p90, p95, p99, p99_9, p99_99: percentiles with their 95 % intervals; None with too few samples.
        mean, max: mean and maximum of the finite times; None without a finite time.
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
    """All times of one kind in a row, in microseconds, at the percentiles that HdrHistogram iterates over.

    Each half of the distance to 100 has five percentiles. The last percentile is 100.

    Attributes:
        percentiles: the percentiles from 0 to 100, ascending.
        values: the time at each percentile.
        counts: the number of times that are at most as long as the time at each percentile.
        mean, deviation, max: mean, standard deviation and maximum of all times.
    """

    percentiles: tuple[float, ...]
    values: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    deviation: float
    max: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """How the intervals of a row's response times were computed.

    Attributes:
        method: "bootstrap" over blocks, or "order statistics" if there are too few blocks.
        blocks: the number of blocks.
        block_s: seconds of each block.
        block_length: blocks that the bootstrap draws together, because adjacent blocks are correlated.
        unsteady: whether the correlation lasts so long that the run is too short for an interval.
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
        type: "TCP", "TRANSACTION", or "TASK" for the tasks of a user class that followed a plan.
        name: the name of the operations, or of the user class.
        setup: whether the row has connects, TLS handshakes, greetings or log-ins.
        ok, failed: numbers of good and of failed operations. No row counts an aborted operation.
        dropped: planned instants without a task; 0 in rows of other types than TASK.
        rate: good operations a second.
        bytes_sent, bytes_received: bytes of all operations.
        clock_steps: operations without a time of arrival, because the machine's clock was stepped.
        response_us: times of good operations from the call or the planned instant to the arrival of the reply.
        service_us: times from the send to the arrival.
        generator_delay_us: times from the call or the planned instant to the send.
        read_delay_us: times from the arrival to the read; None if no arrival was stamped.
        first_byte_us: times from the send to the arrival of the first byte; None if no reply came in pieces.
        offered_us: response times of all operations; the time of a failed or dropped operation is infinite.
        failed_times: the times of failed operations up to the failure, by the same keys; without empty kinds.
        missing: by kind of time, such as "response_us", and by percentile: the seconds until there are enough samples
            at the row's rate. Empty if more time would not help: no operation succeeded, or each user makes only one.
        intervals: how the intervals were computed.
        distributions: the distributions of "response_us" and "service_us"; without empty ones.
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
        reconnects: connects that were not the first of their user.
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
        open, opening: connections now, without those of lost workers; 0 after the end.
        lost: open connections that ended without a close by their user.
        connects: connects that began.
        reconnects: connects that were not the first of their user.
        peak: the most connects that began within one second, over all processes.
    """

    open: int
    opening: int
    lost: int
    connects: int
    reconnects: int
    peak: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A process with users, in the measured part. A share is a part of the time, 0 to 1; None where it is unknown.

    Attributes:
        id: Locust's name of the worker; "local" in a run of one process.
        verdict: the verdict on this worker.
        ok, failed: numbers of good and of failed operations.
        rate: good operations a second.
        cpu: share in which the process ran, all threads added.
        cpu_max: the largest `cpu` of a second.
        core: busy share of the cores on which the process may run, by any process.
        run_queue_wait: share in which the process was ready to run and had no core.
        throttled: share in which the cgroup was stopped because it had used up its CPU quota.
        steal: share that the hypervisor took from the cores of the process.
        loop_lag_us: the largest lateness of a tick of the event loop.
        usual_loop_lag_us: the median over the seconds of the largest lateness in each second.
        generator_delay_p99_us, read_delay_p99_us: p99 over all rows of the worker; None with too few samples.
        users, in_flight: the most users, and the most operations under way, at the end of a second.
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
    """A part of the run with its own rows.

    Attributes:
        duration_s: the length of the part.
        rows: the rows of the part.
    """

    duration_s: float
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Rate:
    """Tasks a second.

    Attributes:
        planned: the arrival rate.
        achieved: the rate of tasks that ended.
    """

    planned: float
    achieved: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run with an unchanged arrival rate, and with unchanged users and spawn rate.

    Attributes:
        start_s: seconds from the start of the test.
        duration_s: the length of the stage.
        users: the users that the `LoadTestShape` asked for; None without a shape.
        spawn_rate: the spawn rate of the `LoadTestShape`; None without a shape.
        rate: the rate of tasks; None without an arrival rate.
        rows: the rows of the stage.
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
        kind: the kind of failure, such as "refused".
        count: the number of failures.
        sample: the text of one failure, which may contain text of the peer; "" if no text is known.
    """

    type: str
    name: str
    kind: str
    count: int
    sample: str


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """The outcome of a gate.

    Attributes:
        expression: the text of the gate.
        met: whether the gate is met.
        value: the judged figure, such as "p99 3.21 ms [3.02, 3.60]".
        reason: why the gate is not met; "" if it is met.
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
        argv: the arguments of the command that ran the test; empty if a program used Locust as a library.
        started_at: the start of the test, as ISO 8601 in UTC.
        duration_s: the length of the measured part. `rows` and percentiles are of this part.
        command: the options that matter, by name; None if an option does not apply.
        environment: versions and machine, by name.
        verdict: the verdict on the whole run.
        gates: the outcome of each gate.
        account: the account of the whole run.
        connections: the connections of the whole run.
        rate: good operations a second in the measured part, without connects, TLS handshakes and log-ins.
        planned_rate: tasks a second that the arrival rate asked for in the measured part; None without an arrival rate.
        bytes_sent, bytes_received: bytes of all operations in the measured part.
        bytes_sent_rate, bytes_received_rate: the same bytes a second.
        rows: the rows of the measured part.
        warm_up: the part before the measured part; None without a warm-up.
        stages: the stages in order, at most 100.
        stages_left_out: the number of further stages.
        workers: the processes with users.
        failures: the failures of the whole run, or since the last reset of the statistics.
        other_users: a sentence that names the user classes that are not `TcpUser`s; their operations are left out.
        series: the figures of the whole run over time.
        notes: sentences that say how to read the figures.
        server_account: the account of both ends for the whole run; None without --tcp-account.
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
