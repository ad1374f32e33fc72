"""The rules that find a generator that spoiled its own numbers, each on both sides of its threshold."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from geventecho.histogram import Histogram
from geventecho.results import HealthSecond, WorkerEvidence, judge, judge_worker
from tests.results.evidence import ECHO, run, seconds, times


def busy(share: float) -> list[HealthSecond]:
    """Seconds of which `share` have a fully used core."""
    return seconds(cpu=lambda number: 0.95 if number < share * 20 else 0.5)


def one_wait(span: float) -> list[HealthSecond]:
    """Samples of which one, `span` seconds long, has a wait."""
    return seconds(wait=lambda number: 0.3 if number == 7 else 0.0, span=lambda number: span if number == 7 else 1.0)


def pauses(span: float) -> list[HealthSecond]:
    """Pauses of 202 ms in all, in samples of `span` seconds."""
    return seconds(span=span, lag=lambda number: 0.0225 if number < 9 else 0.0004)


STOPPED = seconds(lag=lambda number: 0.49 if number == 7 else 0.0004)
FLAGGED = [
    ("event loop stood still", STOPPED, seconds(lag=lambda number: 0.15 if number == 7 else 0.0004)),
    ("event loop stood still", seconds(lag=0.021), seconds(lag=lambda number: 0.021 if number < 9 else 0.0004)),
    ("event loop stood still", pauses(span=1.0), pauses(span=2.0)),
    ("the process was saturated", busy(0.25), busy(0.2)),
    ("the process was saturated", seconds(cpu=0.9), seconds(cpu=0.89)),
    ("the process was saturated", seconds(cpu=0.86, wait=0.045), seconds(cpu=0.86, wait=0.035)),
    ("the process was saturated", seconds(2, cpu=0.95), seconds(1, cpu=0.95)),
    ("had no core", seconds(wait=0.051), seconds(wait=0.049)),
    ("had no core", one_wait(span=5.0), one_wait(span=1.0)),
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
def test_health_beyond_a_threshold_makes_a_run_generator_bound(
    sign: str, bad: Sequence[HealthSecond], good: Sequence[HealthSecond]
) -> None:
    verdict = judge(run(bad))
    assert verdict.status == "generator-bound"
    assert sign in " ".join(verdict.reasons)
    assert judge(run(good)).reasons == ()
    evidence = run(bad)
    assert judge_worker(evidence, evidence.workers[0]) == verdict


def test_the_reason_has_the_figures() -> None:
    """It has the time for which the loop stood still, and a remedy."""
    (reason,) = judge(run(STOPPED)).reasons
    assert reason.startswith("the event loop stood still for up to 490 ms, and for 2.5% of the time")
    assert "use fewer users" in reason


def test_unknown_health_leaves_a_run_trusted() -> None:
    """So it is in a container without a cgroup, schedstat or /proc/stat."""
    assert judge(run(seconds(core=None, wait=None, throttled=None, steal=None))).status == "trusted"


def test_a_busy_core_alone_leaves_a_run_trusted() -> None:
    """If the process never waits for its core, other processes may use the rest of it."""
    assert judge(run(seconds(core=1.0))).status == "trusted"


def test_a_lag_that_is_small_beside_the_p99_leaves_a_run_trusted() -> None:
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
def test_a_row_with_long_delays_of_the_generator_makes_a_run_generator_bound(
    bad: dict[str, float], good: dict[str, float]
) -> None:
    """The p99 of a delay is compared with the p99 of the time that contains it or is next to it."""
    verdict = judge(run(measured={ECHO: times(4_000, **bad)}))
    assert (verdict.status, len(verdict.reasons)) == ("generator-bound", 1), "the worker's reason is not repeated"
    assert judge(run(measured={ECHO: times(4_000, **good)})).status == "trusted"


def test_a_tail_below_its_floor_is_not_judged() -> None:
    """There is no p99 of 367 operations."""
    rows = {ECHO: times(), ("TCP", "rare"): times(367, generator_delay=50.0, response=50.0)}
    assert judge(run(measured=rows)).status == "trusted"
    rows["TCP", "rare"] = times(368, generator_delay=50.0, response=50.0)
    assert judge(run(measured=rows)).status == "generator-bound"


def test_a_wait_for_a_user_is_not_the_generators_delay() -> None:
    """Its tasks begin late because the server kept all users busy."""
    stalled = {ECHO: times(generator_delay=1_800.0, response=1_900.0, service=1_500.0)}
    assert judge(run(seconds(waited=2), stalled)).status == "trusted"
    assert judge(run(seconds(waited=1), stalled)).status == "generator-bound"


def test_a_slow_worker_is_named() -> None:
    """Its own health names it, and the p99 without it."""
    good = [WorkerEvidence(name, seconds(), {ECHO: times()}) for name in ("w1", "w2")]
    slow = WorkerEvidence("w3", seconds(lag=0.004), {ECHO: times(1_000, response=4.0)})
    evidence = run(workers=[*good, slow])
    verdict = judge(evidence)
    assert verdict.status == "generator-bound"
    assert all(reason.startswith("worker w3: ") for reason in verdict.reasons)
    assert [judge_worker(evidence, worker).status for worker in evidence.workers] == ["trusted"] * 2 + [verdict.status]


@pytest.mark.parametrize(("own", "others", "named"), [(3.0, 0.5, True), (2.4, 0.5, False), (12.0, 10.0, False)])
def test_a_worker_is_named_if_its_tail_is_far_above_that_of_the_others(own: float, others: float, named: bool) -> None:
    """Only response times differ."""
    far = times(1_000)
    far["response"] = Histogram()
    far["response"].count_all([50_000] * 900 + [int(own * 1e6)] * 100)
    near = WorkerEvidence("w1", seconds(), {ECHO: times(response=others)})
    evidence = run(workers=[near, WorkerEvidence("w2", seconds(), {ECHO: far})])
    reasons = judge(evidence).reasons
    assert bool(reasons) is named
    if named:
        assert reasons[0].startswith("worker w2: echo: the p99 is 3 ms, and 0.5")


@pytest.mark.parametrize(("own", "others", "named"), [(368, 368, True), (367, 1_000, False), (1_000, 367, False)])
def test_a_worker_is_named_only_if_it_and_the_others_have_a_p99(own: int, others: int, named: bool) -> None:
    """367 operations have no p99."""
    far = times(own)
    far["response"] = Histogram()
    far["response"].count_all([3_000_000] * own)
    workers = [WorkerEvidence("w1", seconds(), {ECHO: times(others)}), WorkerEvidence("w2", seconds(), {ECHO: far})]
    assert any("without this worker" in reason for reason in judge(run(workers=workers)).reasons) is named


def test_a_tail_of_two_in_a_hundred_names_no_worker() -> None:
    """3 in 100 must be slow: by chance, one worker may have the slowest of all operations."""
    workers = [
        WorkerEvidence(name, seconds(), {ECHO: times(1_000, response=p99)}) for name, p99 in (("w1", 0.5), ("w2", 3.0))
    ]
    assert judge(run(workers=workers)).reasons == ()
