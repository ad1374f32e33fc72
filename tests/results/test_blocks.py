"""The record of rows and seconds: what a block keeps, its compact form, merges in any order, and the limits."""

from __future__ import annotations

from geventecho.results import TIMES, Block, Record
from tests.support.properties import given, st

SECOND = 1_700_000_000
ROW = ("TCP", "echo")


def block(start: int, *times: int, seconds: int = 1) -> Block:
    made = Block(start, seconds, ok=len(times), failed=1, dropped=2, bytes_sent=3, bytes_received=4, clock_steps=5)
    for name in TIMES:
        made.times[name].count_all(times)
    made.failed_times["response"].count_all([10**9])
    return made


@given(st.lists(st.integers(min_value=0, max_value=10**11), max_size=50))
def test_the_compact_form_restores_a_block(times: list[int]) -> None:
    made = block(SECOND, *times)
    assert Block.unpack(made.pack()) == made


def test_a_merged_block_covers_both_and_adds_up() -> None:
    merged = block(SECOND, 100)
    merged.merge(block(SECOND + 1, 200))
    expected = Block(SECOND, 2, ok=2, failed=2, dropped=4, bytes_sent=6, bytes_received=8, clock_steps=10)
    for name in TIMES:
        expected.times[name].count_all([100, 200])
    expected.failed_times["response"].count_all([10**9, 10**9])
    assert merged == expected


def test_a_long_run_keeps_the_limit_by_merging_neighbours() -> None:
    record = Record()
    record.boundaries.update({SECOND, SECOND + 601})
    for second in range(SECOND, SECOND + 2500):
        record.add(ROW, block(second, 1000))
    blocks = list(record.rows[ROW])
    assert len(blocks) <= 1024
    assert {made.seconds for made in blocks} == {4, 1}
    assert SECOND + 601 in {made.start for made in blocks}
    assert sum(made.ok for made in blocks) == sum(made.seconds for made in blocks) - 1 == 2500


def test_more_rows_than_the_limit_are_added_up_in_other() -> None:
    record = Record()
    for number in reversed(range(250)):
        record.add(("TCP", f"row {number:03}"), block(SECOND, 1000))
    assert sorted(record.rows) == [("TCP", "other"), *(("TCP", f"row {number:03}") for number in range(200))]
    assert [made.ok for made in record.rows["TCP", "other"]] == [50]


def test_between_fills_gaps() -> None:
    record = Record()
    record.add(ROW, block(SECOND, 1000))
    record.add(ROW, block(SECOND + 3, 1000))
    assert [made.ok for made in record.rows[ROW].between(SECOND, SECOND + 5)] == [1, 0, 0, 1, 0]
