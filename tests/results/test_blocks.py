"""The record of rows and seconds: the counts of a block, its compact form, merges in any order, and the limits."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from geventecho.results import TIMES, Block, Record, RowKey
from tests.support.properties import given, settings, st

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
    reverse = block(SECOND + 1, 200)
    reverse.merge(block(SECOND, 100))
    assert reverse == expected


def test_the_compact_form_is_small() -> None:
    chance = Random(1)
    made = block(SECOND, *(int(chance.lognormvariate(0, 0.5) * 1e6) for _ in range(1000)))
    assert len(made.pack()) < 1.5 * sum(len(times.buckets()) for times in made.times.values())


# The limit of blocks --------------------------------------------------------------------------------------------------


def test_a_long_run_keeps_the_limit_by_merging_neighbours() -> None:
    record = Record()
    record.boundaries.update({SECOND, SECOND + 601, SECOND + 2500})
    for second in range(SECOND, SECOND + 2500):
        record.add(ROW, Block(second, ok=1))
    blocks = list(record.rows[ROW])
    assert len(blocks) == len(record.rows[ROW]) == 151 + 475
    assert {made.seconds for made in blocks} == {4, 1, 3}, "600 s are 150 blocks of 4 s; 1 s and 3 s are left over"
    assert [made.ok for made in blocks] == [made.seconds for made in blocks]


def test_up_to_the_limit_no_blocks_merge() -> None:
    record = Record()
    for second in range(SECOND, SECOND + 1024):
        record.add(ROW, Block(second, ok=1))
    assert [made.start for made in record.rows[ROW]] == list(range(SECOND, SECOND + 1024))
    record.add(ROW, Block(SECOND + 1024, ok=1))
    assert {made.seconds for made in record.rows[ROW]} == {2}


def test_a_boundary_may_be_added_after_its_stage_has_begun() -> None:
    early, late = Record(), Record()
    early.boundaries.add(SECOND + 2045)
    for second in range(SECOND, SECOND + 2060):
        early.add(ROW, Block(second, ok=1))
        late.add(ROW, Block(second, ok=1))
    late.boundaries.add(SECOND + 2045)
    assert early == late
    assert SECOND + 2045 in {made.start for made in late.rows[ROW]}


def test_boundaries_beyond_the_limit_of_blocks_are_kept() -> None:
    record = Record()
    record.boundaries.update(range(SECOND, SECOND + 12, 2))
    with patch("geventecho.results.blocks.MAX_BLOCKS", 4):
        for second in range(SECOND, SECOND + 10):
            record.add(ROW, Block(second, ok=1))
        assert [(made.seconds, made.ok) for made in record.rows[ROW]] == [(2, 2)] * 5


# In any order ---------------------------------------------------------------------------------------------------------

offsets = st.integers(min_value=0, max_value=60)


def operation(second: int) -> Block:
    made = Block(second, ok=1)
    made.times["service"].count_all([1000 + second])
    return made


def expected(seconds: list[int], boundaries: set[int], most: int) -> dict[int, int]:
    """The operations of each block, by its start, at the narrowest width that keeps the limit."""
    for width in (2**power for power in range(25)):
        counts: dict[int, int] = {}
        for second in seconds:
            origin = max((boundary for boundary in boundaries if boundary <= second), default=0)
            start = second - (second - origin) % width
            counts[start] = counts.get(start, 0) + 1
        if len(counts) <= most:
            break
    return counts


@settings(max_examples=50)
@given(st.lists(st.lists(offsets, max_size=40), min_size=1, max_size=4), st.sets(offsets, max_size=3), st.randoms())
def test_workers_merge_in_any_order(workers: list[list[int]], boundaries: set[int], chance: Random) -> None:
    with patch("geventecho.results.blocks.MAX_BLOCKS", 8), patch("geventecho.results.blocks.UNMERGED_SECONDS", 5):
        records = []
        for seconds in workers:
            record = Record()
            record.boundaries.update(boundaries)
            for second in seconds:
                record.add(ROW, operation(second))
                if chance.random() < 0.1:
                    list(record.rows[ROW])  # an iteration changes nothing
            records.append(record)
        together = Record()
        together.boundaries.update(boundaries)
        interleaved = [(second, operation(second)) for seconds in workers for second in seconds]
        chance.shuffle(interleaved)
        for _, made in interleaved:
            together.add(ROW, made if chance.random() < 0.5 else made.pack())
        chance.shuffle(records)
        for record in records[1:]:
            records[0].merge(record)
        assert records[0] == together
        if interleaved:
            blocks = list(together.rows[ROW])
            wanted = expected([second for second, _ in interleaved], boundaries, most=8)
            assert {made.start: made.ok for made in blocks} == wanted
            for made in blocks:
                assert not boundaries & set(range(made.start + 1, made.start + made.seconds))
                assert made.times["service"].count == made.ok


names = (
    st.sampled_from("abcdefgh").map(lambda name: ("TCP", name)) | st.just(("TASK", "user")) | st.just(("TCP", "other"))
)


@settings(max_examples=50)
@given(st.lists(st.tuples(names, offsets), max_size=40), st.randoms())
def test_rows_beyond_the_limit_are_the_same_in_any_order(added: list[tuple[RowKey, int]], chance: Random) -> None:
    with patch("geventecho.results.blocks.MAX_ROWS", 4), patch("geventecho.results.blocks.MAX_BLOCKS", 8):
        one, two, together = Record(), Record(), Record()
        for row, second in added:
            chance.choice([one, two]).add(row, Block(second, ok=1))
        for row, second in sorted(added):
            together.add(row, Block(second, ok=1))
        one.merge(two)
        assert one == together
        named = sorted({row for row, _ in added if row[1] != "other"})
        assert sorted(row for row in one.rows if row[1] != "other") == named[:4]
        assert sum(made.ok for blocks in one.rows.values() for made in blocks) == len(added)


def test_more_rows_than_the_limit_are_added_up_in_other() -> None:
    record = Record()
    for number in reversed(range(250)):
        record.add(("TCP", f"row {number:03}"), Block(SECOND, ok=1))
    assert sorted(record.rows) == [("TCP", "other"), *(("TCP", f"row {number:03}") for number in range(200))]
    assert [made.ok for made in record.rows["TCP", "other"]] == [50]


def test_between_fills_gaps() -> None:
    record = Record()
    record.add(ROW, Block(SECOND, ok=1))
    record.add(ROW, Block(SECOND + 3, ok=1))
    assert [made.block().ok for made in record.rows[ROW].between(SECOND - 1, SECOND + 5)] == [0, 1, 0, 0, 1, 0]
    assert [made.start for made in record.rows[ROW].between(SECOND + 3, SECOND + 4)] == [SECOND + 3]


def test_a_row_beyond_the_limit_goes_to_the_other_row_of_its_own_type() -> None:
    record = Record()
    with patch("geventecho.results.blocks.MAX_ROWS", 1):
        record.add(ROW, Block(SECOND, ok=1))
        record.add(("TASK", "User"), Block(SECOND, ok=1))
    assert set(record.rows) == {("TASK", "User"), ("TCP", "other")}


def test_a_merge_takes_the_boundaries_too() -> None:
    one, other = Record(), Record()
    other.boundaries.add(SECOND)
    one.merge(other)
    assert one.boundaries == {SECOND}
