"""Rows and workers of a result: counts, times, and percentiles that are withheld."""

from __future__ import annotations

import math
from dataclasses import replace

from geventecho.results import Record, Verdict, rows_of, worker_of
from geventecho.results.timeline import Span
from tests.results.evidence import QUIET
from tests.results.samples import START, block, no_pause, row

MINUTE = 60


def test_times_are_microseconds_and_the_rate_counts_good_operations() -> None:
    made = row([block(START + second, [100.0] * 10, failed=2) for second in range(MINUTE)], MINUTE)
    assert (made.ok, made.failed, made.dropped, made.rate) == (600, 120, 0, 10.0)
    assert made.bytes_received == 6000
    assert made.response_us.p50 is not None
    assert abs(made.response_us.p50.value - 100.0) <= 1.0
    assert (made.response_us.mean, made.response_us.max) == (100.0, 100.0)
    assert list(made.failed_times) == ["response_us"]
    assert made.failed_times["response_us"].max == 5000.0


def test_failed_and_dropped_operations_are_infinite_only_in_the_offered_percentiles() -> None:
    made = row([block(START + second, [100.0] * 96, failed=3, dropped=1) for second in range(MINUTE)], MINUTE)
    assert made.response_us.p99 is not None
    assert made.response_us.p99.value < 101
    assert made.offered_us.p95 is not None
    assert made.offered_us.p95.value < 101
    assert made.offered_us.p99 is not None
    assert made.offered_us.p99.value == made.offered_us.p99.high == math.inf
    assert (made.offered_us.mean, made.offered_us.max) == (100.0, 100.0), "of the operations that have a time"


def test_dropped_instants_alone_make_a_row_and_their_offered_times_are_infinite() -> None:
    made = row([block(START, [], dropped=50)], 1, ("TASK", "User"))
    assert (made.ok, made.failed, made.dropped) == (0, 0, 50)
    assert made.offered_us.p50 is not None
    assert made.offered_us.p50.value == math.inf


def test_half_of_the_operations_failing_leaves_the_good_median_unchanged() -> None:
    times = [float(time) for time in range(100, 200)]
    good = row([block(START + second, times) for second in range(MINUTE)], MINUTE)
    mixed = row([block(START + second, times, failed=len(times)) for second in range(MINUTE)], MINUTE)
    assert mixed.response_us == good.response_us
    assert mixed.offered_us.p90 is not None
    assert mixed.offered_us.p90.value == math.inf


def test_a_percentile_below_its_floor_is_withheld_and_its_missing_seconds_are_told() -> None:
    few = row([block(START, [100.0] * 367)], 10)
    assert few.response_us.p99 is None
    assert few.missing["response_us"]["p99"] == 0.1, "one sample, at 36.7 a second, rounded up"
    assert "p95" not in few.missing["response_us"]
    enough = row([block(START, [100.0] * 368)], 10)
    assert enough.response_us.p99 is not None
    lossy = row([block(START, [100.0] * 368, failed=92)], 10)
    assert math.isclose(lossy.missing["offered_us"]["p99_9"], (3688 - 460) / 46.0, abs_tol=0.1), "lost samples count"
    # 3,688 samples are needed, 368 are there, and 36.8 come each second.
    assert math.isclose(enough.missing["response_us"]["p99_9"], (3688 - 368) / 36.8, abs_tol=0.1)


def test_a_row_without_sends_and_stamps_has_no_service_times_and_no_read_delays() -> None:
    made = row([block(START, [100.0] * 50, kinds=["response"])], 1, ("TCP", "connect"))
    assert made.service_us.p50 is None
    assert made.service_us.mean is None
    assert (made.read_delay_us, made.first_byte_us) == (None, None)
    assert set(made.missing) == {"response_us", "offered_us"}


def test_a_row_without_good_operations_has_no_times() -> None:
    made = row([block(START, [], failed=50)], 1)
    assert (made.rate, made.response_us.p50, made.response_us.mean) == (0.0, None, None)
    assert made.offered_us.p50 is not None
    assert made.offered_us.p50.value == math.inf
    assert row([block(START, [], failed=2)], 1).missing == {}, "more time would bring more failures"


def test_connects_handshakes_greetings_and_log_ins_are_recognised_by_their_names() -> None:
    names = ["connect", "tls", "Log In", "log-in", "greeting", "login", "echo", "connects", "re-connect"]
    made = [row([block(START, [100.0])], 1, ("TCP", name)) for name in names]
    assert [one.setup for one in made] == [True] * 6 + [False] * 3


def test_the_intervals_name_their_method_and_their_blocks() -> None:
    few = row([block(START + second, [100.0] * 50) for second in range(5)], 5)
    many = row([block(START + second, [100.0 + second % 2] * 50) for second in range(MINUTE)], MINUTE)
    assert (few.intervals.method, few.intervals.blocks) == ("order statistics", 5)
    assert (many.intervals.method, many.intervals.blocks, many.intervals.block_s) == ("bootstrap", MINUTE, 1)
    long = row([block(START + second, [100.0] * 2) for second in range(241)], 241)
    assert (long.ok, long.intervals.blocks, long.intervals.block_s) == (482, 121, 2), "at most 240 blocks"


def test_rows_are_those_of_the_span_and_tasks_are_last() -> None:
    record = Record()
    for key in (("TASK", "A"), ("TRANSACTION", "a"), ("TCP", "b")):
        record.add(key, block(START + 5, [100.0]))
    record.add(("TCP", "early"), block(START, [100.0]))
    found = rows_of(record, Span(START + 1, START + 10, 9.0), no_pause)
    assert [made.name for made, *_ in found] == ["b", "a", "A"]
    assert list(rows_of(record, Span(START + 6, START + 10, 4.0), no_pause)) == []


def test_the_shares_of_a_worker_are_means_over_the_time() -> None:
    """A process that was stopped has a sample of several seconds, whose weight is its length."""
    health = [replace(QUIET, span=1.0, cpu=0.8, wait=None), replace(QUIET, span=3.0, cpu=0.2, wait=0.1)]
    worker = worker_of("w1", Verdict("trusted", ()), {}, health, 4.0)
    assert (worker.cpu, worker.run_queue_wait) == (0.35, 0.1)
