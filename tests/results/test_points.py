"""The figures of a run over time."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import pytest

from geventecho.results import RUN_COLUMNS, Block, Collection, RowKey, Series
from tests.results.samples import FACTS, START, block, collect, health, no_pause
from tests.support.properties import given, settings, st

ECHO = ("TCP", "echo")
CONNECT = ("TCP", "connect")
SESSION = ("TRANSACTION", "session")


def series(collection: Collection, now: float = 701.0) -> Series:
    return collection.series(START + now, no_pause)


def ended(collection: Collection, seconds: float) -> Collection:
    collection.timeline.ended = START + seconds
    return collection


def test_each_second_is_a_point_and_its_rates_are_per_second() -> None:
    def add(collection: Collection) -> None:
        for second in range(5):
            echoes, connects = block(START + second, [100.0] * 40, failed=second), block(START + second, [50.0])
            blocks = [(ECHO, echoes), (CONNECT, connects), (SESSION, block(START + second, [300.0], failed=1))]
            counted = {"users": 7, "open": 6, "opening": 1, "lost": second, "connects": 1, "planned": 45}
            collection.add("w", blocks, [health(START + second, **counted)])

    found = series(ended(collect(add, warm_up=2.0), 5.0))
    assert (found.width_s, found.at_s, found.measured_from_s) == (1, (0, 1, 2, 3, 4), 2)
    assert set(found.run) == set(RUN_COLUMNS)
    assert found.run["achieved"] == (40.0,) * 5, (
        "without connects and transactions: the operations of a transaction are counted"
    )
    assert found.run["failed"] == found.run["lost"] == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert found.run["planned"] == (45.0,) * 5
    assert [found.run[name][4] for name in ("users", "open", "opening", "connects")] == [7, 6, 1, 1.0]
    assert found.run["bytes_received"] == (420.0,) * 5
    assert (found.run["cpu"][0], found.run["loop_lag_us"][0]) == (0.25, 1000.0)
    connect, echo, session = found.rows
    assert (connect.name, connect.p50_us, connect.max_us) == ("connect", (None,) * 5, (50.0,) * 5)
    assert echo.ok == (40.0,) * 5
    assert session.failed == (1.0,) * 5
    assert echo.p90_us == pytest.approx([100.0] * 5, rel=0.01)
    assert echo.p99_us == (None,) * 5, "below its floor"
    assert echo.heat[0] == (40, 40), "20 * log10(100)"


def test_the_worst_of_several_processes_is_shown() -> None:
    def add(collection: Collection) -> None:
        for worker, lag, cpu in (("v", 0.002, 0.5), ("w", 0.03, 0.9), ("x", 0.001, 0.1)):
            collection.add(worker, [], [health(START, lag=lag, cpu=cpu)])

    run = series(ended(collect(add), 1.0)).run
    assert (run["loop_lag_us"], run["cpu"]) == ((30_000.0,), (0.9,))


def test_a_delay_is_that_of_all_rows_together_if_these_have_enough_samples() -> None:
    def add(collection: Collection) -> None:
        for second, count in enumerate((184, 183)):
            made = block(START + second, [100.0] * count, kinds=["response"])
            made.times["generator_delay"].count_all([20_000] * count)
            made.times["read_delay"].count_all([7_000] * count)
            collection.add("w", [(ECHO, made.pack()), (("TCP", "get"), made.pack())])

    run = series(ended(collect(add), 2.0)).run
    assert [run[f"{kind}_delay_p99_us"][0] for kind in ("generator", "read")] == pytest.approx([20.0, 7.0], rel=0.01)
    assert run["generator_delay_p99_us"][1] is run["read_delay_p99_us"][1] is None


def test_blocks_before_the_start_are_in_the_first_point_and_times_below_a_microsecond_in_the_first_bin() -> None:
    """The clock of a worker may be behind."""
    blocks = [(ECHO, block(START + second, [0.5])) for second in (-1, 0)]
    (row,) = series(ended(collect(lambda collection: collection.add("w", blocks)), 1.0)).rows
    assert (row.ok, row.heat) == ((2.0,), ((0, 2),))


def test_a_point_has_the_users_of_its_last_reported_second() -> None:
    def add(collection: Collection) -> None:
        collection.add("w", [(ECHO, block(START + second, [1.0])) for second in range(301)])
        collection.add("w", [], [health(START, users=7), health(START + 2, users=8), health(START + 3, users=9)])

    assert series(ended(collect(add), 301.0)).run["users"][:3] == (7, 9, None)


def test_the_interval_of_a_percentile_is_that_of_order_statistics() -> None:
    times = [float(time) for time in range(1, 1001)]
    found = series(ended(collect(lambda c: c.add("w", [(ECHO, block(START, times))])), 1.0))
    (row,) = found.rows
    low, value, high = row.p50_low_us[0], row.p50_us[0], row.p50_high_us[0]
    assert low is not None and value is not None and high is not None  # noqa: PT018
    assert value == pytest.approx(500, rel=0.01)
    # Half of 1.96 times the root of 1000 samples on each side.
    assert (value - low, high - value) == pytest.approx((31, 31), abs=6)
    assert sum(row.heat[0][1::2]) == 1000


@pytest.mark.parametrize(("seconds", "width"), [(300, 1), (301, 2), (600, 2), (601, 4), (1800, 8)])
def test_neighbours_are_joined_until_there_are_at_most_300(seconds: int, width: int) -> None:
    def add(collection: Collection) -> None:
        collection.add("w", [(ECHO, Block(START + second, ok=6)) for second in range(seconds)])

    found = series(ended(collect(add), float(seconds)))
    (row,) = found.rows
    assert found.width_s == width
    assert len(found.at_s) == len(row.ok) == len(row.heat) == math.ceil(seconds / width) <= 300
    assert {later - earlier for earlier, later in pairwise(found.at_s)} == {width}
    lengths = [min(width, seconds - at) for at in found.at_s]
    counts = [(rate or 0.0) * length for rate, length in zip(row.ok, lengths, strict=True)]
    assert sum(counts) == pytest.approx(6 * seconds)


def test_a_run_without_data_has_no_points() -> None:
    found = series(ended(Collection(START, 0.0), 0.0))
    assert (found.at_s, found.rows) == ((), ())
    assert set(found.run.values()) == {()}


def test_the_second_in_which_a_test_ends_is_left_out_unless_it_is_the_only_one() -> None:
    """Its users have stopped, and the work of the processes at the end is not their load."""

    def add(collection: Collection) -> None:
        collection.add("w", [(ECHO, block(START, [100.0] * 50))], [health(START, users=7)])
        collection.add("w", [(ECHO, block(START + 1, [100.0] * 5))], [health(START + 1, span=0.1, cpu=0.9)])

    found = series(ended(collect(add), 1.1))
    assert (found.run["achieved"], found.run["users"], found.run["cpu"]) == ((50.0,), (7,), (0.25,))
    assert found.run["planned"] == (None,), "there is no plan"
    assert series(ended(collect(add), 1.95)).at_s == (0, 1), "the timer was early"

    def add_less(collection: Collection) -> None:
        collection.add("w", [(ECHO, block(START, [100.0] * 5))], [health(START, span=0.1)])

    assert series(ended(collect(add_less), 0.1)).run["achieved"] == (50.0,), "5 operations in 0.1 s"


def test_two_workers_have_the_same_points_as_one_worker_with_their_load() -> None:
    def blocks(part: int, parts: int) -> list[tuple[RowKey, Block]]:
        times = [10.0 * number + 50 for number in range(400)]
        return [(ECHO, block(START + second, times[part::parts], failed=2 // parts)) for second in range(10)]

    def apart(collection: Collection) -> None:
        for worker in range(2):
            half = {"users": 5, "open": 4, "connects": 3}
            samples = [health(START + second, **half) for second in range(10)]
            collection.add(f"w{worker}", blocks(worker, 2), samples)

    def pooled(collection: Collection) -> None:
        whole = {"users": 10, "open": 8, "connects": 6}
        collection.add("w", blocks(0, 1), [health(START + second, **whole) for second in range(10)])

    assert series(ended(collect(apart), 10.0)) == series(ended(collect(pooled), 10.0))


def test_a_running_test_has_no_second_that_a_worker_has_not_reported() -> None:
    collection = Collection(START, 0.0)
    collection.add("slow", [], [health(START + second) for second in range(3)])
    collection.add("fast", [(ECHO, block(START + second, [1.0])) for second in range(6)], [
        health(START + second) for second in range(5)
    ])  # fmt: skip
    assert collection.result(START + 6.5, FACTS).series.at_s == (0, 1, 2)
    lost = replace(FACTS, incomplete={"slow": "was lost"})
    assert len(collection.result(START + 6.5, lost).series.at_s) == 5, "a lost worker delays no point"
    collection.add("fast", [], [health(START + second) for second in range(5, 30)])
    assert len(collection.result(START + 31.5, FACTS).series.at_s) == 30, "a silent worker delays no point for ever"


reports = st.lists(
    st.tuples(
        st.integers(0, 700), st.sampled_from([ECHO, CONNECT, ("TASK", "User")]), st.integers(1, 50), st.booleans()
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=20)
@given(reports)
def test_earlier_computations_change_no_point(given_reports: list[tuple[int, RowKey, int, bool]]) -> None:
    asked, fresh = Collection(START, 0.0), Collection(START, 0.0)
    for second, row, count, asks in given_reports:
        for collection in (asked, fresh):
            collection.add("w", [(row, block(START + second, [100.0 * count] * count))], [health(START + second)])
        if asks:
            series(asked, 1.0 + max(second for second, *_ in given_reports))
    assert series(ended(asked, 701.0)) == series(ended(fresh, 701.0))


@patch("geventecho.results.blocks.MAX_BLOCKS", 16)
@patch("geventecho.results.blocks.UNMERGED_SECONDS", 5)
def test_a_late_block_or_a_new_part_renews_all_points_that_it_changes() -> None:
    """A block of several seconds begins before the second of a late block, and ends where a part begins."""

    def add(collection: Collection, event: float) -> Collection:
        if isinstance(event, int):
            collection.add("w", [(ECHO, block(START + event, [100.0 + event] * 4))])
        else:  # there are later blocks, of a worker whose clock is ahead
            collection.restart(START + event)
        return collection

    events = (*range(30), 29.5, *range(30, 48), 44.5, *range(48, 60), 46, 60, 30, 61)
    asked = Collection(START, 0.0)
    for number, event in enumerate(events):
        add(asked, event)
        if event not in (29, 29.5, 47, 44.5) and number < 60:
            continue
        fresh = Collection(START, 0.0)
        for before in events[: number + 1]:
            add(fresh, before)
        found, expected = (collection.result(START + 62.0, FACTS).series for collection in (asked, fresh))
        assert found == expected, f"after {number}"


def test_rows_that_the_record_joins_are_joined_in_all_points() -> None:
    collection = Collection(START, 0.0)
    for number in range(250):
        collection.add("w", [(("TCP", f"row {number:03}"), block(START, [100.0] * 8))], [])
        if number == 199:
            assert len(series(collection).rows) == 200
    rows = series(ended(collection, 1.0)).rows
    assert len(rows) == 201
    assert sum(row.ok[0] or 0 for row in rows) == 2000
