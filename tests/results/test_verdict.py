"""The verdict of a run: each rule, on both sides of its threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from geventecho.histogram import Histogram
from geventecho.results import Block, Evidence, HealthSecond, RowEvidence, WorkerEvidence, judge, judge_worker

START = 1_000
QUIET = HealthSecond(
    second=START, span=1.0, lag=0.0004, cpu=0.06, core=1.0, wait=0.003, throttled=0.0, steal=0.001, in_flight=1,
    users=50, pausing=0, started=200, ended=200, planned=200, sent=200, late=0, dropped=0, waited=0,
)  # fmt: skip
"""A second of a generator that nothing disturbs, in the open mode."""
ECHO = ("TCP", "echo")


def times(count: int = 4_000, **milliseconds: float) -> dict[str, Histogram]:
    """The histograms of a row: of each time 98 of 100 values are short, and two as long as is said."""
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
    """A run of one worker, good in all that is not given; `measured` are the times of its rows."""
    health = seconds() if health is None else health
    measured = {ECHO: times()} if measured is None else measured
    made = [RowEvidence(kind, name, row, ()) for (kind, name), row in measured.items()]
    worker = WorkerEvidence("w1", health, measured)
    return Evidence(**{"duration": 20.0, "rows": made, "workers": [worker], "steady": [(START, START + 20)], **values})


def blocks(median: Callable[[int], float], count: int = 20, each: int = 100) -> list[Block]:
    """A block a second: so many operations, with that median in milliseconds."""
    made = [Block(START + number, ok=each) for number in range(count)]
    for number, block in enumerate(made):
        block.times["response"].count_all([int(median(number) * 1e6)] * each)
    return made


def row_of(made: Sequence[Block], is_unsteady: bool = False) -> RowEvidence:
    """A row of them."""
    return RowEvidence.of(*ECHO, made, is_unsteady)


def test_a_good_run_is_trusted() -> None:
    """Nothing is wrong, for the run and for its worker."""
    good = run()
    assert judge(good).status == "trusted"
    assert judge(good).reasons == ()
    assert judge_worker(good, good.workers[0]).status == "trusted"


def busy(share: float) -> list[HealthSecond]:
    """Seconds of which that share have no rest."""
    return seconds(cpu=lambda number: 0.95 if number < share * 20 else 0.5)


STOPPED = seconds(lag=lambda number: 0.49 if number == 7 else 0.0004)
FLAGGED = [
    ("event loop stood still", STOPPED, seconds(lag=lambda number: 0.15 if number == 7 else 0.0004)),
    ("event loop stood still", seconds(lag=0.021), seconds(lag=lambda number: 0.021 if number < 9 else 0.0004)),
    ("had nothing left of its core", busy(0.25), busy(0.2)),
    ("had nothing left of its core", seconds(cpu=0.9), seconds(cpu=0.89)),
    ("had nothing left of its core", seconds(cpu=0.86, wait=0.045), seconds(cpu=0.86, wait=0.035)),
    ("had no core", seconds(wait=0.051), seconds(wait=0.049)),
    ("was throttled", seconds(throttled=0.011), seconds(throttled=0.009)),
    ("hypervisor", seconds(steal=0.051), seconds(steal=0.049)),
    ("in half of the seconds", seconds(lag=0.0021), seconds(lag=0.0019)),
    (
        "in half of the seconds",
        seconds(lag=lambda number: 0.004 if number < 11 else 0.0004),
        seconds(lag=lambda number: 0.004 if number < 9 else 0.0004),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sign", "bad", "good"), FLAGGED)
def test_health_beyond_a_threshold_is_the_generators(
    sign: str, bad: Sequence[HealthSecond], good: Sequence[HealthSecond]
) -> None:
    """Each sign of a generator that is too slow, on both sides of its threshold."""
    verdict = judge(run(bad))
    assert verdict.status == "generator-bound"
    assert sign in " ".join(verdict.reasons)
    assert judge(run(good)).reasons == ()
    evidence = run(bad)
    assert judge_worker(evidence, evidence.workers[0]) == verdict


def test_the_reason_has_the_figures() -> None:
    """It says how long the loop stood still, and what to do."""
    (reason,) = judge(run(STOPPED)).reasons
    assert reason.startswith("the event loop stood still for up to 490 ms, and for 2.5% of the time")
    assert "use fewer users" in reason


def test_what_is_unknown_is_not_held_against_the_run() -> None:
    """A container without a cgroup, schedstat or /proc/stat."""
    assert judge(run(seconds(core=None, wait=None, throttled=None, steal=None))).status == "trusted"


def test_a_busy_core_is_no_sign_by_itself() -> None:
    """Where the process is never without a core, others may use the rest of it."""
    assert judge(run(seconds(core=1.0))).status == "trusted"


def test_a_lag_that_is_small_beside_the_p99_does_no_harm() -> None:
    """A loop that is 4 ms late is no reason where the p99 is 50 ms; in a row of connects it may be 0.5 ms."""
    slow = {ECHO: times(response=50.0, service=50.0), ("TCP", "connect"): times()}
    assert judge(run(seconds(lag=0.004), slow)).status == "trusted"
    assert judge(run(seconds(lag=0.006), slow)).status == "generator-bound"


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ({"generator_delay": 2.1, "response": 2.5}, {"generator_delay": 1.9, "response": 2.5}),
        ({"generator_delay": 5.5, "response": 50.0}, {"generator_delay": 4.5, "response": 50.0}),
        ({"read_delay": 5.1}, {"read_delay": 4.9}),
        ({"read_delay": 13.0, "service": 50.0}, {"read_delay": 12.0, "service": 50.0}),
    ],
)
def test_a_row_whose_times_are_the_generators(bad: dict[str, float], good: dict[str, float]) -> None:
    """The p99 of a delay is compared with that of the time that it is in, or beside."""
    assert judge(run(measured={ECHO: times(4_000, **bad)})).status == "generator-bound"
    assert judge(run(measured={ECHO: times(4_000, **good)})).status == "trusted"


def test_a_tail_below_its_floor_is_not_judged() -> None:
    """Of 367 operations there is no p99."""
    rows = {ECHO: times(), ("TCP", "rare"): times(367, generator_delay=50.0, response=50.0)}
    assert judge(run(measured=rows)).status == "trusted"
    rows["TCP", "rare"] = times(368, generator_delay=50.0, response=50.0)
    assert judge(run(measured=rows)).status == "generator-bound"


def test_a_wait_for_a_user_is_not_the_generators_delay() -> None:
    """Tasks begin late because the server kept all users busy."""
    stalled = {ECHO: times(generator_delay=1_800.0, response=1_900.0, service=1_500.0)}
    assert judge(run(seconds(waited=2), stalled)).status == "trusted"
    assert judge(run(seconds(waited=1), stalled)).status == "generator-bound"


def test_a_rate_that_was_not_reached() -> None:
    """More than 1 % was dropped: the server is named, or the generator where it has nothing left of its core."""
    reasons = judge(run(seconds(dropped=10, waited=200))).reasons
    assert reasons[0].startswith("offered 200 tasks/s, achieved 190 tasks/s: all users were busy")
    assert judge(run(seconds(dropped=10, waited=200))).status == "unsteady"
    assert judge(run(seconds(dropped=2, waited=200))).status == "trusted"
    full = judge(run(seconds(dropped=10, waited=200, cpu=1.0)))
    assert full.status == "generator-bound"
    assert full.reasons[-1].endswith("achieved 190 tasks/s: the generator could not keep up")


def test_a_few_tasks_dropped_at_the_end_are_no_reason() -> None:
    """4 of 60 fell due as the test ended; 5 are a reason."""
    few = [replace(second, planned=3, dropped=4 if second.second == START + 19 else 0) for second in seconds()]
    assert judge(run(few)).status == "trusted"
    assert judge(run([*few[:-1], replace(few[-1], dropped=5)])).status == "unsteady"


def test_a_rate_that_was_not_offered() -> None:
    """A worker without users plans nothing. The first user of a test may be late, and Poisson arrivals fewer."""
    assert judge(run(asked=4_000.0)).status == judge(run(asked=4_600.0)).status == "trusted"
    verdict = judge(run(asked=4_700.0))
    assert verdict.status == "unsteady"
    assert verdict.reasons[0].startswith("of 4,700 tasks that the rate asks for 4,000 fell due: a worker had no user")


def test_a_worker_that_did_nothing_is_not_held_against_the_run() -> None:
    """It has no user, and its process was stopped."""
    idle = WorkerEvidence("w2", seconds(lag=0.5, started=0, ended=0, planned=0, sent=0))
    evidence = run(workers=[WorkerEvidence("w1", seconds(), {ECHO: times()}), idle])
    assert judge(evidence).status == "trusted"


DROPPING = seconds(dropped=10, waited=200)
NOISY = seconds(dropped=10, waited=200, wait=0.17)


def test_a_noisy_machine_does_not_take_the_blame_for_a_slow_server() -> None:
    """A sign of the generator holds, but its users waited for the server."""
    slow = {ECHO: times(service=300.0, response=300.0)}
    verdict = judge(run(NOISY, slow))
    assert verdict.status == "generator-bound"
    assert "had no core" in verdict.reasons[0]
    assert ": all users were busy" in verdict.reasons[1]
    evidence = run(NOISY, slow)
    assert judge_worker(evidence, evidence.workers[0]) == verdict


def test_replies_that_lie_unread_keep_users_busy() -> None:
    """The server needed less time for them than the generator."""
    verdict = judge(run(DROPPING, {ECHO: times(read_delay=4.0, service=3.0)}))
    assert verdict.status == "generator-bound"
    assert verdict.reasons == ("offered 200 tasks/s, achieved 190 tasks/s: the generator could not keep up",)


@pytest.mark.parametrize("health", [DROPPING, NOISY])
def test_a_server_that_is_down_is_named(health: Sequence[HealthSecond]) -> None:
    """Its connects failed, whatever the generator did."""
    down = RowEvidence("TCP", "connect", {"response": Histogram()}, (), failed=29)
    reasons = judge(run(health, {}, rows=[down])).reasons
    (reason,) = [reason for reason in reasons if reason.startswith("offered ")]
    assert reason.endswith(": 29 of 29 connects and log-ins failed; is the server up, and is the address right?")
    up = RowEvidence("TCP", "connect", times(50), (), failed=50)
    assert ": all users were busy" in " ".join(judge(run(health, rows=[up])).reasons)


def test_pauses_after_failures_are_named() -> None:
    """A server that accepts connections and answers nothing."""
    reasons = judge(run(seconds(dropped=150, waited=200, pausing=40, in_flight=1))).reasons
    assert reasons[0].endswith(": after failures users waited to connect again for 80% of the time; see the failures")
    assert ": all users were busy" in judge(run(seconds(dropped=150, waited=200, pausing=20))).reasons[0]


def test_one_worker_that_cannot_keep_up_is_named() -> None:
    """Also in the sum of all workers."""
    rows = {ECHO: times()}
    both = [WorkerEvidence("w1", seconds(cpu=1.0, dropped=10, waited=200), rows), WorkerEvidence("w2", seconds(), rows)]
    assert judge(run(workers=both)).reasons[-1].endswith("achieved 390 tasks/s: the generator could not keep up")


def test_a_p50_that_rises_is_unsteady() -> None:
    """A server over its capacity: the figure is a slope."""
    growing = run(rows=[row_of(blocks(lambda number: 2.0 + number * 0.05))])
    verdict = judge(growing)
    assert verdict.status == "unsteady"
    assert verdict.reasons[0].startswith("echo: p50 rose 3 ms/min for 20 s of the same load")


@pytest.mark.parametrize(
    ("median", "status"),
    [
        (lambda number: 2.0 + number * 0.03, "trusted"),  # 0.57 ms, less than 25 %
        (lambda number: 2.0 + number * 0.04, "unsteady"),
        (lambda number: 0.5 + number * 0.025, "trusted"),  # half again, but less than 0.5 ms
        (lambda number: 0.5 + number * 0.03, "unsteady"),
        (lambda number: 3.0 - number * 0.06, "unsteady"),  # a server that warms up
        (lambda number: 2000.0 if number in (9, 10) else 0.1, "trusted"),  # a stall
        (lambda number: 2000.0 if number >= 17 else 0.1, "trusted"),  # at the end
        (lambda number: 5.0 * (1 + number % 2), "trusted"),  # to and fro
    ],
)
def test_trends_of_p50(median: Callable[[int], float], status: str) -> None:
    """Only what is large and in order is a trend."""
    assert judge(run(rows=[row_of(blocks(median))])).status == status


def test_trends_are_looked_for_within_steady_spans() -> None:
    """Two stages of a rate have two levels. A ramp-up has no steady span."""
    stages = [row_of(blocks(lambda number: 1.0 if number < 20 else 9.0, count=40))]
    halves = [(START, START + 20), (START + 20, START + 40)]
    assert judge(run(rows=stages, steady=halves)).status == "trusted"
    rising = [row_of(blocks(lambda number: 1.0 + number, count=40))]
    assert judge(run(rows=rising, steady=())).status == "trusted"
    assert judge(run(rows=rising, steady=halves)).status == "unsteady"
    assert len(judge(run(rows=rising, steady=halves)).reasons) == 2


def test_medians_of_a_few_operations_are_no_trend() -> None:
    """Points have at least 20 operations, and a trend at least 10 points."""
    few = [row_of([*blocks(lambda number: 1.0 + number, count=20, each=9), *blocks(lambda _: 1.0, count=1, each=400)])]
    assert judge(run(rows=few)).status == "trusted"


def test_seconds_that_depend_on_each_other_for_long() -> None:
    """What the interval's estimate says counts where the medians are far apart."""
    waves = blocks(lambda number: 2.6 if number % 10 >= 5 else 2.0)
    assert judge(run(rows=[row_of(waves)])).status == "trusted"
    verdict = judge(run(rows=[row_of(waves, is_unsteady=True)]))
    assert verdict.status == "unsteady"
    assert verdict.reasons[0].startswith("echo: its p50 wanders between 2 ms and 2.6 ms so slowly")
    ripples = blocks(lambda number: 2.4 if number % 10 >= 5 else 2.0)
    assert judge(run(rows=[row_of(ripples, is_unsteady=True)])).status == "trusted"
    one = row_of(blocks(lambda _: 2.0, count=1, each=400), is_unsteady=True)
    assert judge(run(rows=[one])).status == "trusted"


@pytest.mark.parametrize(
    ("health", "status"),
    [
        (seconds(in_flight=lambda number: 100 + 10 * number), "unsteady"),
        (seconds(in_flight=lambda number: 300 + number * 5), "trusted"),  # a quarter
        (seconds(in_flight=lambda number: number // 2), "trusted"),  # fewer than 10
        (seconds(in_flight=lambda number: 50 * (number % 3)), "trusted"),
    ],
)
def test_trends_of_what_is_under_way(health: Sequence[HealthSecond], status: str) -> None:
    """In a run without a plan, too."""
    verdict = judge(run(health))
    assert verdict.status == status
    assert all("begun 200/s, ended 200/s" in reason for reason in verdict.reasons)


def test_the_queues_of_workers_are_added_up() -> None:
    """Two workers whose queues grow by 7 each."""
    health = seconds(in_flight=lambda number: number * 7 // 20)
    rows = {ECHO: times()}
    both = [WorkerEvidence(name, health, rows) for name in ("w1", "w2")]
    assert judge(run(workers=both[:1])).status == "trusted"
    assert judge(run(workers=both)).status == "unsteady"


def test_few_samples() -> None:
    """A row needs its p99; connects, tls and log-ins do not count."""
    assert judge(run(measured={ECHO: times(368)})).status == "trusted"
    verdict = judge(run(measured={ECHO: times(367)}))
    assert verdict.status == "too-few-samples"
    assert verdict.reasons == (
        "no row has the 368 good operations that a p99 needs (echo has 367): measure longer, or with more load",
    )
    setup = {("TCP", name): times() for name in ("connect", "tls", "log-in", "Login")}
    verdict = judge(run(measured=setup))
    assert verdict.status == "too-few-samples"
    assert verdict.reasons[0].endswith("that a p99 needs: none but connects, tls and log-ins ended well")
    assert judge(run(measured={**setup, ("TRANSACTION", "order"): times()})).status == "trusted"
    named_alike = {("TCP", "order"): times(), ("TRANSACTION", "order"): times(10)}
    assert judge(run(measured=named_alike)).status == "trusted"


def test_a_short_run() -> None:
    """At least 10 s."""
    assert judge(run(duration=10.0)).status == "trusted"
    verdict = judge(run(duration=9.9))
    assert verdict.status == "too-few-samples"
    assert verdict.reasons == ("measured for 9.9 s: measure for 10 s or more",)


def test_a_run_without_anything() -> None:
    """Nobody could connect."""
    assert judge(Evidence(0.0, (), ())).status == "too-few-samples"


def test_a_lost_worker_makes_the_run_incomplete() -> None:
    """Known by the run, or by the worker."""
    assert judge(run(lacking=["worker w2 was lost"])).reasons == ("worker w2 was lost",)
    assert judge(run(lacking=["worker w2 was lost"])).status == "incomplete"
    lost = WorkerEvidence("w1", seconds(), {ECHO: times()}, "was lost")
    evidence = run(workers=[lost])
    assert judge(evidence).status == judge_worker(evidence, lost).status == "incomplete"


def test_a_worker_without_health_is_not_trusted() -> None:
    """Its figures are missing, not good. A run of a few seconds may end before the first."""
    assert judge(run([])).status == "incomplete"
    assert judge(run([], duration=0.4)).status == "too-few-samples"


def test_the_first_that_holds_counts_and_all_are_told() -> None:
    """Incomplete, generator-bound, unsteady, too-few-samples."""
    health = seconds(lag=0.3, in_flight=lambda number: 100 + 10 * number)
    rows = {ECHO: times(10)}
    verdict = judge(run(health, rows, lacking=["a worker was lost"]))
    assert verdict.status == "incomplete"
    signs = ("was lost", "stood still", "in half of the seconds", "under way", "a p99 needs (echo has 10)")
    assert [sign in reason for sign, reason in zip(signs, verdict.reasons, strict=True)] == [True] * 5
    assert judge(run(health, rows)).status == "generator-bound"
    assert judge(run(seconds(in_flight=lambda number: 100 + 10 * number), rows)).status == "unsteady"


def test_a_slow_worker_is_named() -> None:
    """One of three with a hog beside it: by its own health, and by the p99 without it."""
    good = [WorkerEvidence(name, seconds(), {ECHO: times()}) for name in ("w1", "w2")]
    hogged = WorkerEvidence("w3", seconds(lag=0.004), {ECHO: times(1_000, response=4.0)})
    evidence = run(workers=[*good, hogged])
    verdict = judge(evidence)
    assert verdict.status == "generator-bound"
    assert all(reason.startswith("worker w3: ") for reason in verdict.reasons)
    assert [judge_worker(evidence, worker).status for worker in evidence.workers] == ["trusted"] * 2 + [verdict.status]


@pytest.mark.parametrize(("own", "others", "named"), [(3.0, 0.5, True), (2.4, 0.5, False), (12.0, 10.0, False)])
def test_leave_one_worker_out(own: float, others: float, named: bool) -> None:
    """Only response times differ: a worker is named if its tail is far above that of the others."""
    far = times(1_000)
    far["response"] = Histogram()
    far["response"].count_all([50_000] * 900 + [int(own * 1e6)] * 100)
    near = WorkerEvidence("w1", seconds(), {ECHO: times(response=others)})
    evidence = run(workers=[near, WorkerEvidence("w2", seconds(), {ECHO: far})])
    reasons = judge(evidence).reasons
    assert bool(reasons) is named
    if named:
        assert reasons[0].startswith("worker w2: echo: the p99 is 3 ms, and 0.5")
