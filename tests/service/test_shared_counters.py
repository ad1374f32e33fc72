"""Counters in shared memory: they only grow, also when a process that counts is killed."""

from __future__ import annotations

import os

from geventecho.server import COUNTERS, Counters, Ending
from geventecho.service.shared_counters import SharedCounters, Slot, WorkerState


def count(slot: Slot, *, ended: int, opened: int, received: int, sent: int) -> None:
    """Count as a server does."""
    counters = Counters(slot.block)
    for _ in range(ended + opened):
        counters.add("accepted")
    for _ in range(ended):
        counters.end(Ending.PEER)
    counters.traffic.read += received
    counters.traffic.written += sent
    counters.update()


def test_a_forked_process_counts_in_the_shared_memory() -> None:
    shared = SharedCounters(2)
    slot = shared.take()
    assert slot is not None
    pid = os.fork()
    if not pid:
        slot["load"] = 7
        count(slot, ended=3, opened=0, received=100, sent=100)
        os._exit(0)
    os.waitpid(pid, 0)
    assert slot["load"] == 7
    assert (shared.totals()["accepted"], shared.totals()["ended_peer"], shared.totals()["bytes_sent"]) == (3, 3, 100)


def test_the_next_worker_goes_on_from_the_counters_of_the_dead_one() -> None:
    shared = SharedCounters(1)
    for number in (1, 2, 3):
        slot = shared.take()
        assert slot is not None
        count(slot, ended=5, opened=0, received=64, sent=64)
        slot.free()
        totals = shared.totals()
        assert totals["accepted"] == totals["ended_peer"] == 5 * number
        assert totals["bytes_received"] == 64 * number


def test_connections_and_bytes_of_a_killed_worker_are_accounted_for() -> None:
    shared = SharedCounters(1)
    slot = shared.take()
    assert slot is not None
    count(slot, ended=2, opened=7, received=100, sent=60)
    slot["open"] = 7
    slot.free()
    totals = shared.totals()
    assert (totals["ended_killed"], totals["bytes_lost"], shared.gauge("open")) == (7, 40, 0)
    slot.free()
    assert shared.totals() == totals


def test_a_slot_is_taken_once() -> None:
    shared = SharedCounters(2)
    first, second = shared.take(), shared.take()
    assert first is not second
    assert shared.take() is None
    assert [slot["state"] for slot in shared.live()] == [WorkerState.STARTING] * 2
    assert second is not None
    second.free()
    assert shared.take() is second


def test_every_counter_of_a_server_is_in_the_mapping() -> None:
    assert set(COUNTERS) <= set(SharedCounters().totals())
