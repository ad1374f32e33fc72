"""Counters: absolute numbers in one block."""

from __future__ import annotations

import array

import pytest

from geventecho.server.counters import COUNTERS, Counters, Ending, Refusal


def test_every_reason_has_a_counter() -> None:
    assert {f"ended_{ending.value}" for ending in Ending} < set(COUNTERS)
    assert {f"refused_{refusal.value}" for refusal in Refusal} < set(COUNTERS)
    assert len(set(COUNTERS)) == len(COUNTERS)


def test_counters_start_at_zero() -> None:
    assert set(Counters().as_dict().values()) == {0}
    assert tuple(Counters().as_dict()) == COUNTERS


def test_a_refused_connection_was_accepted_first() -> None:
    counters = Counters()
    for count, refusal in enumerate(Refusal, 1):
        counters.refuse(refusal)
        assert counters["accepted"] == count
        assert counters[f"refused_{refusal.value}"] == 1


def test_an_ending_counts_once_under_its_reason() -> None:
    counters = Counters()
    for ending in Ending:
        counters.end(ending)
    assert all(counters[f"ended_{ending.value}"] == 1 for ending in Ending)
    assert counters["accepted"] == 0


def test_an_ending_counts_its_lost_bytes() -> None:
    counters = Counters()
    for _ in range(2):
        counters.end(Ending.RESET, lost=1)
    assert (counters["ended_reset"], counters["bytes_lost"]) == (2, 2)


def test_the_bytes_of_open_connections_are_added_up_at_any_moment() -> None:
    counters = Counters()
    counters.traffic.echoed, counters.traffic.read, counters.traffic.written = 100, 10, 7
    counters.traffic.discarded = 1
    bytes_ = {name: counters[f"bytes_{name}"] for name in ("received", "sent", "discarded", "lost")}
    assert bytes_ == {"received": 111, "sent": 107, "discarded": 1, "lost": 0}


def test_add_counts_by_name() -> None:
    counters = Counters()
    counters.add("queue_drops", 1 << 40)
    counters.add("queue_drops")
    assert counters["queue_drops"] == (1 << 40) + 1
    with pytest.raises(KeyError):
        counters.add("nonsense")


def test_counters_can_be_kept_in_a_given_block() -> None:
    block = array.array("Q", [0] * len(COUNTERS))
    counters = Counters(block)
    counters.end(Ending.PEER)
    counters.traffic.echoed = 5
    counters.update()
    assert block[COUNTERS.index("ended_peer")] == 1
    assert block[COUNTERS.index("bytes_sent")] == 5
    assert counters.as_dict() == dict(zip(COUNTERS, block, strict=True))
