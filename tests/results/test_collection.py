"""A test's record: its parts, its workers, and their reports."""

from __future__ import annotations

import json
import math
import random
from contextlib import ExitStack
from dataclasses import replace
from itertools import permutations
from typing import Any
from unittest.mock import patch

import pytest

from geventecho.results import Account, Collection, Connections, Encoded, Memory
from tests.results.samples import FACTS, START, block, collect, health, no_pause

ECHO = ("TCP", "echo")
TASK = ("TASK", "User")
END = START + 100.0


def judged(collection: Collection, incomplete: dict[str, str] | None = None) -> tuple[Any, Any]:
    """The verdict and the workers."""
    _, evidence = collection.measured(END, no_pause)
    return collection.judge(END, evidence, lambda worker: worker, incomplete or {})


def test_the_warm_up_is_in_no_row_of_the_measured_part() -> None:
    def add(collection: Collection) -> None:
        slow = [block(START + second, [1000.0] * 100) for second in range(5)]
        fast = [block(START + second, [100.0] * 100) for second in range(5, 60)]
        collection.add("w", [(ECHO, one) for one in (*slow, *fast)])

    cold = collect(add)
    warm = collect(add, warm_up=5.0)
    (measured,), (whole,) = warm.measured(END, no_pause)[0], cold.measured(END, no_pause)[0]
    part = warm.warm_up(END, no_pause)
    assert part is not None
    assert (measured.ok, whole.ok, part.rows[0].ok) == (5500, 6000, 500)
    assert measured.response_us.max == 100.0
    assert part.rows[0].response_us.mean == 1000.0
    assert cold.warm_up(END, no_pause) is None


def test_a_reset_drops_the_earlier_counts_of_the_workers() -> None:
    def add(collection: Collection) -> None:
        collection.add("w", [(ECHO, block(START + second, [100.0] * 10)) for second in range(5)])
        collection.restart(START + 4.5)
        collection.add("w", [(ECHO, block(START + second, [100.0] * 10)) for second in range(4, 10)])

    collection = collect(add)
    (row,) = collection.measured(END, no_pause)[0]
    _, (worker,) = judged(collection)
    assert row.ok == worker.ok == 50
    part = collection.warm_up(END, no_pause)
    assert part is not None
    assert part.rows[0].ok == 60


def test_the_order_of_reports_changes_nothing() -> None:
    parts = [(f"w{number % 2}", [(ECHO, block(START + number // 3, [100.0 * number + 1] * 99))]) for number in range(4)]
    found = []
    for order in permutations(parts):
        collection = Collection(START, 0.0)
        for part in order:
            collection.add(*part)
        found.append(collection.measured(END, no_pause)[0])
    assert all(rows == found[0] for rows in found)


def test_the_seconds_of_a_worker_whose_clock_is_wrong_are_moved() -> None:
    def add(collection: Collection) -> None:
        for ahead in (0, -720, 86_400):
            blocks = [(ECHO, block(START + second + ahead, [100.0] * 10).pack()) for second in range(10)]
            collection.add(f"{ahead}", blocks, [health(START + second + ahead) for second in range(10)], ahead)
        collection.timeline.ended = START + 10.0

    collection = collect(add)
    (row,), _ = collection.measured(END, no_pause)
    _, workers = judged(collection)
    assert (row.ok, row.intervals.blocks) == (300, 10)
    assert [worker.cpu for worker in workers] == [0.25] * 3


def test_stages_have_rows_and_an_achieved_rate_of_their_own() -> None:
    def add(collection: Collection) -> None:
        collection.timeline.follow_plan(START, [(10.0, 5.0), (20.0, math.inf)])
        collection.timeline.ended = START + 15.0
        for second in range(15):
            number = 10 if second < 5 else 18
            made = block(START + second, [100.0] * (number - 2), failed=2, dropped=20 - number)
            collection.add("w", [(TASK, made)])

    collection = collect(add)
    stages, left_out = collection.stages(END, no_pause)
    assert left_out == 0
    assert [(stage.start_s, stage.duration_s, stage.rows[0].ok, stage.rows[0].dropped) for stage in stages] == [
        (0.0, 5.0, 40, 50), (5.0, 10.0, 160, 20),
    ]  # fmt: skip
    assert [(stage.rate.planned, stage.rate.achieved) for stage in stages if stage.rate] == [(10.0, 10.0), (20.0, 18.0)]


def test_at_most_a_hundred_stages_have_rows_and_the_rest_is_counted() -> None:
    def add(collection: Collection) -> None:
        for change in range(20):  # in the web UI
            collection.timeline.follow_plan(START + 6.0 * change, [(10.0 + stage, 1.0) for stage in range(6)])
        collection.add("w", [(TASK, block(START + second, [100.0] * 10)) for second in range(120)])
        collection.timeline.ended = START + 120.0

    collection = collect(add)
    stages, left_out = collection.stages(END, no_pause)
    assert (len(stages), left_out) == (100, 20)
    with patch("geventecho.results.collection.MAX_STAGE_ROWS", 30):
        stages, left_out = collection.stages(END, no_pause)
    assert (len(stages), left_out) == (30, 90)


def test_each_worker_has_its_counts_its_health_and_its_verdict() -> None:
    def add(collection: Collection) -> None:
        for second in range(20):
            collection.add("good", [(ECHO, block(START + second, [1000.0] * 40))], [health(START + second)])
            collection.add("good", [(TASK, block(START + second, [1000.0] * 7, failed=3))])
            busy = health(START + second, cpu=0.97)
            collection.add("busy", [(ECHO, block(START + second, [1000.0] * 40, failed=1))], [busy])
        collection.timeline.ended = START + 20.0

    verdict, workers = judged(collect(add), {"busy": "was lost", "gone": "was lost"})
    assert verdict.status == "incomplete"
    assert {"worker busy: was lost", "worker gone was lost"} <= set(verdict.reasons)
    assert sum("was lost" in reason for reason in verdict.reasons) == 2, "each loss once"
    good, busy = workers
    assert (good.id, good.ok, good.failed, good.rate, good.cpu) == ("good", 800, 0, 40.0, 0.25)
    assert (busy.id, busy.failed, busy.cpu_max, busy.loop_lag_us) == ("busy", 20, 0.97, 1000.0)
    assert busy.verdict.status == "incomplete"
    assert busy.verdict.reasons[0] == "was lost"
    assert busy.generator_delay_p99_us is not None


def test_tasks_are_not_judged_as_operations() -> None:
    def add(collection: Collection) -> None:
        for second in range(20):
            collection.add("w", [(TASK, block(START + second, [1000.0] * 40))], [health(START + second)])
        collection.timeline.ended = START + 20.0

    verdict, (worker,) = judged(collect(add))
    assert verdict.status == worker.verdict.status == "too-few-samples"


def test_health_before_and_after_the_measured_part_is_not_judged() -> None:
    def add(collection: Collection) -> None:
        for second in range(30):
            sample = health(START + second, cpu=0.99 if second < 5 else 0.1)
            collection.add("w", [(ECHO, block(START + second, [1000.0] * 40))], [sample])
        collection.add("w", [], [health(START + 30, cpu=0.99)])
        collection.timeline.ended = START + 30.0

    _, (worker,) = judged(collect(add, warm_up=5.0))
    assert worker.cpu_max == 0.1


@pytest.mark.parametrize("warm_up", [100.0, 1000.0])
def test_a_warm_up_that_is_not_over_is_a_reason(warm_up: float) -> None:
    def add(collection: Collection) -> None:
        collection.add("w", [(ECHO, block(START + second, [1000.0] * 40)) for second in range(60)])
        collection.timeline.ended = START + 60.0

    collection = collect(add, warm_up=warm_up)
    verdict, _ = judged(collection)
    assert collection.measured(END, no_pause)[0] == []
    assert verdict.status == "too-few-samples"
    assert f"the warm-up of {warm_up:g} s was not over: measure longer" in verdict.reasons


def test_rows_beyond_the_limit_are_one_row_for_the_workers_too() -> None:
    def add(collection: Collection) -> None:
        for number in range(250):
            collection.add("w", [(("TCP", f"row {number:03}"), block(START, [100.0] * 8))])
        collection.timeline.ended = START + 1.0

    collection = collect(add)
    rows, _ = collection.measured(END, no_pause)
    assert len(rows) == 201
    _, (worker,) = judged(collection)
    assert worker.ok == 2000
    assert not any("a p99 needs" in reason for reason in worker.verdict.reasons), "the row of all others has a p99"


def test_a_running_test_is_measured_up_to_the_last_second_that_all_workers_have_reported() -> None:
    def add(collection: Collection) -> None:
        for worker, seconds in (("slow", 5), ("fast", 8)):
            blocks = [(ECHO, block(START + second, [100.0] * 10)) for second in range(seconds)]
            collection.add(worker, blocks, [health(START + second, connects=second) for second in range(seconds)])

    collection = collect(add)
    found = collection.result(START + 9.7, FACTS)
    assert (found.duration_s, found.rows[0].ok, found.rows[0].rate) == (5.0, 100, 20.0)
    assert found.connections.peak == 8, "the last second that both have reported"
    collection.add("fast", [], [health(START + second) for second in range(8, 20)])
    assert collection.result(START + 21.0, FACTS).duration_s == 20.0, "the slow worker may be lost"
    collection.end(START + 30.5)
    assert collection.result(START + 31.0, FACTS).duration_s == 30.5


def test_the_account_of_a_running_test_ends_with_the_same_second_as_its_rows() -> None:
    def add(collection: Collection) -> None:
        for worker, seconds in (("a", 6), ("b", 4)):
            for second in range(seconds):
                made = block(START + second, [100.0] * 8, failed=2)
                tasks = block(START + second, [100.0] * 10, dropped=1)
                counted = {"planned": 11, "sent": 10, "started": 10, "connects": 1, "open": 5}
                collection.add(worker, [(ECHO, made), (TASK, tasks)], [health(START + second, **counted)])

    names = Account.__dataclass_fields__.keys() | Connections.__dataclass_fields__.keys()
    facts = replace(FACTS, sums=dict.fromkeys(names, 200) | {"reconnects": 195})
    collection = collect(add, warm_up=1.0)
    found = collection.result(START + 6.2, facts)
    assert (found.account.planned, found.account.sent, found.account.dropped) == (88, 80, 8)
    assert (found.account.started, found.account.ok, found.account.failed) == (80, 64, 16)
    assert (found.connections.connects, found.connections.open) == (8, 10)
    assert found.connections.reconnects == 3, "all but the first connects of 5 users"
    lost = collection.result(START + 6.2, replace(facts, incomplete={"b": "was lost"}))
    assert (lost.account.started, lost.connections.open) == (100, 5)
    collection.add("b", [(ECHO, block(START + 4, [100.0] * 3)), (TASK, block(START + 4, [100.0] * 3))])
    lost = collection.result(START + 6.2, replace(facts, incomplete={"b": "was lost"}))
    assert (lost.account.started, lost.account.ok, lost.account.sent, lost.account.planned) == (103, 83, 103, 113)
    collection.end(START + 6.5)
    assert collection.result(START + 7.0, facts).account.started == 200, "the processes' own count after the end"


def test_a_test_is_not_judged_by_seconds_that_no_worker_has_reported() -> None:
    collection = Collection(START + 0.5, 0.0)
    for worker in ("a", "b"):
        collection.add(worker, ())
    collection.follow_plan(START + 0.5, [(200.0, math.inf)])
    collection.add("a", [(TASK, block(START, [100.0] * 50))], [health(START, planned=50, started=50)])
    found = collection.result(START + 3.0, FACTS)
    assert (found.duration_s, found.verdict.status) == (0.0, "too-few-samples"), "b has not reported yet"
    for second in range(3):
        for worker in ("a", "b")[second == 0 :]:
            collection.add(worker, [], [health(START + second, planned=100, started=100)])
    collection.add("b", [], [health(START, planned=50, started=50)])
    collection.restart(START + 2.5)
    assert collection.result(START + 4.0, FACTS).verdict.status == "too-few-samples", "nothing is measured yet"


def test_the_rate_counts_each_good_operation_once_and_no_connect() -> None:
    names = (ECHO, ("TCP", "connect"), ("TRANSACTION", "session"), TASK)
    blocks = [(name, block(START + second, [100.0] * 30)) for name in names for second in range(2)]
    collection = collect(lambda collection: collection.add("w", blocks))
    assert collection.result(START + 3.0, FACTS).rate == 20.0


def test_rows_with_one_operation_for_each_user_miss_no_seconds() -> None:
    """In no part does more time bring more of them, unless users have connected again."""
    keys = [("TCP", "connect"), ("TCP", "login"), ECHO]

    def add(collection: Collection) -> None:
        collection.follow_shape(START, 40, 40.0)
        collection.add("w", [(key, block(START, [100.0] * 30)) for key in keys])
        made = [block(START + 12, [100.0] * count, failed=2) for count in (38, 39, 38)]
        collection.add("w", list(zip(keys, made, strict=True)))
        collection.end(START + 20.0)

    facts = replace(FACTS, sums={**FACTS.sums, "connects": 45, "reconnects": 5})
    found = collect(add, warm_up=2.0).result(END, facts)
    assert found.warm_up is not None
    (stage,) = found.stages
    assert [row.name for row in found.rows if row.missing] == ["echo", "login"]
    assert [row.name for row in stage.rows if row.missing] == ["echo", "login"]
    assert [row.name for row in found.warm_up.rows if row.missing] == ["echo"]


def test_bytes_and_planned_tasks_have_a_rate_of_the_measured_part() -> None:
    def add(collection: Collection) -> None:
        collection.follow_plan(START, [(30.0, 4.0), (60.0, math.inf)])
        collection.add("w", [(ECHO, block(START + second, [100.0] * 8)) for second in range(6)])
        collection.end(START + 6.0)

    found = collect(add, warm_up=2.0).result(END, FACTS)
    assert (found.planned_rate, found.bytes_received, found.bytes_received_rate) == (45.0, 320, 80.0)
    assert found.bytes_sent_rate == 0.0
    unplanned = Collection(START, 0.0).result(END, FACTS)
    assert unplanned.planned_rate is None


def test_a_loss_is_added_to_an_encoded_result() -> None:
    encoded = Encoded.of(Collection(START, 0.0).result(END, FACTS))
    before, after = (
        json.loads(made.join({"state": "running"}))["verdict"] for made in (encoded, encoded.incomplete(["w was lost"]))
    )
    assert after == {"status": "incomplete", "reasons": ["w was lost", *before["reasons"]]}


@pytest.mark.parametrize("is_in_order", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_remembered_results_change_no_figure(seed: int, is_in_order: bool) -> None:
    """The reports have any order, some are late, and there are resets, while blocks widen and groups grow."""
    chance = random.Random(seed)
    seconds = [chance.randint(0, 70) for _ in range(40)]
    asked, fresh = Collection(START, 3.0, Memory(is_kept=True)), Collection(START, 3.0)
    limits = {"blocks.MAX_BLOCKS": 16, "blocks.UNMERGED_SECONDS": 5, "figures.MAX_BLOCKS": 6}
    newest, known = 0, set()
    with ExitStack() as stack:
        for name, limit in limits.items():
            stack.enter_context(patch(f"geventecho.results.{name}", limit))
        for second in sorted(seconds) if is_in_order else seconds:
            row, count, event = chance.choice([ECHO, TASK]), chance.randint(1, 40), chance.randrange(8)
            samples = [] if second in known else [health(START + second, started=count)]
            newest = max(newest, second)
            known.add(second)
            for collection in (asked, fresh):
                made = block(START + second, [100.0 * count + second] * count, failed=count % 3)
                collection.add("w", [(row, made)], samples)
                if event == 0:
                    collection.restart(START + newest)
            if event > 4:
                asked.result(START + newest + 1, FACTS)
        for collection in (asked, fresh):
            collection.timeline.ended = START + 71.0
        found, expected = asked.result(END, FACTS), fresh.result(END, FACTS)
    assert found == expected
