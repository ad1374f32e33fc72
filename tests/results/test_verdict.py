"""The verdict of a run: each rule about the load, the server and the samples, on both sides of its threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from geventecho.histogram import Histogram
from geventecho.results import Evidence, HealthSecond, RowEvidence, WorkerEvidence, judge, judge_worker
from tests.results.evidence import ECHO, START, blocks, row_of, run, seconds, times


def test_a_good_run_is_trusted() -> None:
    """The run has no reason, and its worker is trusted too."""
    good = run()
    assert judge(good).status == "trusted"
    assert judge(good).reasons == ()
    assert judge_worker(good, good.workers[0]).status == "trusted"


def test_a_rate_that_was_not_reached_is_a_reason() -> None:
    """More than 1 % was dropped: the server is named, or the generator if its core is fully used."""
    reasons = judge(run(seconds(dropped=10, waited=200))).reasons
    assert reasons[0].startswith("offered 200 tasks/s, achieved 190 tasks/s: all users were busy")
    assert judge(run(seconds(dropped=10, waited=200))).status == "unsteady"
    assert judge(run(seconds(dropped=2, waited=200))).status == "trusted"
    full = judge(run(seconds(dropped=10, waited=200, cpu=1.0)))
    assert full.status == "generator-bound"
    assert full.reasons[-1].endswith("achieved 190 tasks/s: the generator could not keep up")


def test_a_few_tasks_dropped_at_the_end_are_no_reason() -> None:
    """4 of 60 tasks may have fallen due as the test ended; 5 are a reason."""
    few = [replace(second, planned=3, dropped=4 if second.second == START + 19 else 0) for second in seconds()]
    assert judge(run(few)).status == "trusted"
    assert judge(run([*few[:-1], replace(few[-1], dropped=5)])).status == "unsteady"


def test_a_rate_that_was_not_offered_is_a_reason() -> None:
    """A worker without users plans no task. The first user of a test may be late, and Poisson arrivals may be fewer."""
    assert judge(run(asked=4_000.0)).status == judge(run(asked=4_600.0)).status == "trusted"
    verdict = judge(run(asked=4_700.0))
    assert verdict.status == "unsteady"
    assert verdict.reasons[0].startswith("only 4,000 of the 4,700 tasks of the arrival rate fell due: a worker had no")


def test_an_idle_worker_leaves_a_run_trusted() -> None:
    """The worker has no user, and its process was stopped."""
    idle = WorkerEvidence("w2", seconds(lag=0.5, started=0, ended=0, planned=0, sent=0))
    evidence = run(workers=[WorkerEvidence("w1", seconds(), {ECHO: times()}), idle])
    assert judge(evidence).status == "trusted"


DROPPING = seconds(dropped=10, waited=200)
NOISY = seconds(dropped=10, waited=200, wait=0.17)


def test_a_slow_server_is_named_on_a_noisy_machine() -> None:
    """A sign of a slow generator holds, but its users waited for the server."""
    slow = {ECHO: times(service=300.0, response=300.0)}
    verdict = judge(run(NOISY, slow))
    assert verdict.status == "generator-bound"
    assert "had no core" in verdict.reasons[0]
    assert ": all users were busy" in verdict.reasons[1]
    evidence = run(NOISY, slow)
    assert judge_worker(evidence, evidence.workers[0]) == verdict


def test_replies_that_are_read_late_make_a_run_generator_bound() -> None:
    """The generator needed more time for the replies than the server."""
    verdict = judge(run(DROPPING, {ECHO: times(read_delay=4.0, service=3.0)}))
    assert verdict.status == "generator-bound"
    assert verdict.reasons == ("offered 200 tasks/s, achieved 190 tasks/s: the generator could not keep up",)


@pytest.mark.parametrize("health", [DROPPING, NOISY])
def test_a_server_that_is_down_is_named(health: Sequence[HealthSecond]) -> None:
    """Its connects failed, on a quiet and on a noisy machine."""
    down = RowEvidence("TCP", "connect", {"response": Histogram()}, (), failed=29)
    reasons = judge(run(health, {}, rows=[down])).reasons
    (reason,) = [reason for reason in reasons if reason.startswith("offered ")]
    assert reason.endswith(": 29 of 29 connects and log-ins failed; is the server up, and is the address right?")
    both = judge(run(seconds(dropped=10, waited=200, cpu=1.0), rows=[down])).reasons
    assert ": 29 of 29 connects and log-ins failed" in " ".join(both), "before a generator that could not keep up"
    up = RowEvidence("TCP", "connect", times(50), (), failed=50)
    assert ": all users were busy" in " ".join(judge(run(health, rows=[up])).reasons)


def test_pauses_after_failures_are_named() -> None:
    """The server accepts connections and sends no reply."""
    reasons = judge(run(seconds(dropped=150, waited=200, pausing=40, in_flight=1))).reasons
    assert reasons[0].endswith(": users spent 80% of the time in pauses after failures; see the failures")
    assert ": all users were busy" in judge(run(seconds(dropped=150, waited=200, pausing=20))).reasons[0]


def test_one_worker_that_cannot_keep_up_is_named() -> None:
    """The reason has the rate of all workers together."""
    rows = {ECHO: times()}
    both = [WorkerEvidence("w1", seconds(cpu=1.0, dropped=10, waited=200), rows), WorkerEvidence("w2", seconds(), rows)]
    assert judge(run(workers=both)).reasons[-1].endswith("achieved 390 tasks/s: the generator could not keep up")


def test_a_p50_that_rises_is_unsteady() -> None:
    """A server over its capacity has such a p50. The figure is a slope."""
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
def test_only_a_large_and_ordered_change_of_p50_is_a_trend(median: Callable[[int], float], status: str) -> None:
    assert judge(run(rows=[row_of(blocks(median))])).status == status


def test_trends_are_looked_for_within_steady_spans() -> None:
    """The two stages of a rate have different levels. A ramp-up has no steady span."""
    stages = [row_of(blocks(lambda number: 1.0 if number < 20 else 9.0, count=40))]
    halves = [(START, START + 20), (START + 20, START + 40)]
    assert judge(run(rows=stages, steady=halves)).status == "trusted"
    rising = [row_of(blocks(lambda number: 1.0 + number, count=40))]
    assert judge(run(rows=rising, steady=())).status == "trusted"
    assert judge(run(rows=rising, steady=halves)).status == "unsteady"
    assert len(judge(run(rows=rising, steady=halves)).reasons) == 2


def test_medians_of_a_few_operations_are_no_trend() -> None:
    """A point has at least 20 operations, and a trend at least 10 points."""
    few = [row_of([*blocks(lambda number: 1.0 + number, count=20, each=9), *blocks(lambda _: 1.0, count=1, each=400)])]
    assert judge(run(rows=few)).status == "trusted"


def test_a_p50_that_wanders_slowly_and_far_is_unsteady() -> None:
    """The estimate of the intervals may call a row unsteady; it counts where the medians are far apart."""
    waves = blocks(lambda number: 2.6 if number % 10 >= 5 else 2.0)
    assert judge(run(rows=[row_of(waves)])).status == "trusted"
    verdict = judge(run(rows=[row_of(waves, is_unsteady=True)]))
    assert verdict.status == "unsteady"
    assert verdict.reasons[0].startswith("echo: its p50 varies between 2 ms and 2.6 ms so slowly")
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
def test_a_growing_number_of_operations_under_way_is_unsteady(health: Sequence[HealthSecond], status: str) -> None:
    """This holds for a run without a plan, too."""
    verdict = judge(run(health))
    assert verdict.status == status
    assert all("started 200/s, ended 200/s" in reason for reason in verdict.reasons)


def test_the_queues_of_workers_are_added_up() -> None:
    """The queues of two workers grow by 7 each."""
    health = seconds(in_flight=lambda number: number * 7 // 20)
    rows = {ECHO: times()}
    both = [WorkerEvidence(name, health, rows) for name in ("w1", "w2")]
    assert judge(run(workers=both[:1])).status == "trusted"
    assert judge(run(workers=both)).status == "unsteady"


def test_a_run_without_enough_samples_for_a_p99_has_too_few_samples() -> None:
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
    assert verdict.reasons[0].endswith("a p99 needs: only connects, TLS handshakes, greetings and log-ins succeeded")
    assert judge(run(measured={**setup, ("TRANSACTION", "order"): times()})).status == "trusted"
    named_alike = {("TCP", "order"): times(), ("TRANSACTION", "order"): times(10)}
    assert judge(run(measured=named_alike)).status == "trusted"


def test_a_run_of_less_than_10_seconds_has_too_few_samples() -> None:
    """The duration is rounded to a tenth of a second."""
    assert judge(run(duration=10.0)).status == "trusted"
    assert judge(run(duration=9.97)).status == "trusted"
    verdict = judge(run(duration=9.9))
    assert verdict.status == "too-few-samples"
    assert verdict.reasons == ("the measured part lasted 9.9 s: measure for 10 s or more",)


def test_a_run_without_data_has_too_few_samples() -> None:
    """No user could connect."""
    assert judge(Evidence(0.0, (), ())).status == "too-few-samples"


def test_a_lost_worker_makes_the_run_incomplete() -> None:
    """The run knows the loss, or the worker's evidence has it."""
    assert judge(run(incomplete=["worker w2 was lost"])).reasons == ("worker w2 was lost",)
    assert judge(run(incomplete=["worker w2 was lost"])).status == "incomplete"
    lost = WorkerEvidence("w1", seconds(), {ECHO: times()}, "was lost")
    evidence = run(workers=[lost])
    assert judge(evidence).status == judge_worker(evidence, lost).status == "incomplete"


def test_a_worker_without_health_is_not_trusted() -> None:
    """Its figures are missing, not good. A run of a few seconds may end before its first sample."""
    assert judge(run([])).status == "incomplete"
    assert judge(run([], duration=0.4)).status == "too-few-samples"


def test_the_first_status_that_holds_counts_and_all_reasons_are_listed() -> None:
    """The order is incomplete, generator-bound, unsteady, too-few-samples."""
    health = seconds(lag=0.3, in_flight=lambda number: 100 + 10 * number)
    rows = {ECHO: times(10)}
    verdict = judge(run(health, rows, incomplete=["a worker was lost"]))
    assert verdict.status == "incomplete"
    signs = ("was lost", "stood still", "in half of the seconds", "under way", "a p99 needs (echo has 10)")
    assert [sign in reason for sign, reason in zip(signs, verdict.reasons, strict=True)] == [True] * 5
    assert judge(run(health, rows)).status == "generator-bound"
    assert judge(run(seconds(in_flight=lambda number: 100 + 10 * number), rows)).status == "unsteady"
