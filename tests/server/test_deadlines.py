"""Due-time buckets: each limit is kept to within two ticks, and never early."""

from __future__ import annotations

import pytest

from geventecho.server import deadlines
from geventecho.server.connection import Phase
from geventecho.server.counters import Ending
from geventecho.server.deadlines import SILENCE, TICK
from geventecho.server.rates import PACE_SECONDS
from tests.support.properties import given, st
from tests.support.ticking import LATE, Bench, Peer, Watched


@pytest.mark.parametrize(
    ("limits", "ending"),
    [
        ({"idle_timeout": 2}, Ending.IDLE),
        ({"first_byte_timeout": 2}, Ending.FIRST_BYTE),
        ({"lifetime": 2}, Ending.LIFETIME),
        ({"lifetime": 9, "idle_timeout": 2, "first_byte_timeout": 5}, Ending.IDLE),
        ({"lifetime": 9, "idle_timeout": 7, "first_byte_timeout": 2}, Ending.FIRST_BYTE),
    ],
)
def test_the_first_limit_to_pass_ends_a_connection(
    limits: dict[str, float], ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(monkeypatch, **limits)
    watched = bench.open()
    assert 2 <= bench.until_ended(watched) - 1000 <= 2 + 3 * TICK
    assert watched.endings == [ending]
    bench.run(5)
    assert watched.endings == [ending]


def test_progress_extends_idle_but_not_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1, lifetime=5)
    watched = bench.open()
    while not watched.endings:
        bench.carry(watched)
        bench.run(0.5)
    assert watched.endings == [Ending.LIFETIME]
    assert 5 <= bench.now - 1000 <= 5.5 + 3 * TICK


def test_the_first_byte_timeout_does_not_end_a_connection_that_has_carried_a_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, first_byte_timeout=1)
    talking, silent = bench.open(), bench.open()
    bench.carry(talking)
    bench.run(10)
    assert silent.endings == [Ending.FIRST_BYTE]
    assert not talking.endings


def test_a_write_stall_counts_only_while_bytes_are_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, write_stall=1)
    watched = bench.open()
    bench.run(10)
    assert not watched.endings
    bench.carry(watched)
    watched.pending = memoryview(b"owed")
    bench.deadlines.watch(watched)
    since = bench.now
    bench.run(0.8)
    bench.carry(watched)  # progress
    bench.run(0.8)
    assert not watched.endings
    bench.until_ended(watched)
    assert watched.endings == [Ending.WRITE_STALL]
    assert 1.8 <= bench.now - since <= 1.8 + 4 * TICK


def test_min_rate_ends_a_trickler_and_no_idle_or_quick_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, min_rate=100)
    Peer(bench, monkeypatch)
    trickler, idle, quick = (bench.accept() for _ in range(3))
    for _ in range(100):
        if not trickler.endings:
            bench.carry(trickler)
        quick.count_read(51)
        quick.count_written(51)
        bench.run(1)
    assert trickler.endings == [Ending.SLOW]
    assert 2 * PACE_SECONDS - 1 < trickler.last_byte_at - trickler.accepted_at < 2 * PACE_SECONDS + 1
    assert not idle.endings
    assert not quick.endings


def test_a_drain_ends_idle_connections_at_once_and_others_once_they_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    idle, busy = bench.open(), bench.open()
    bench.run(5)
    bench.carry(busy)
    bench.deadlines.drain(1.0, [idle, busy])
    bench.run(3 * TICK)
    assert idle.endings == [Ending.DRAINED]
    for _ in range(10):
        bench.carry(busy)
        bench.run(0.5)
    assert not busy.endings
    bench.run(1 + 3 * TICK)
    assert busy.endings == [Ending.DRAINED]


def test_a_connection_that_is_about_to_end_is_not_ended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1)
    cut, ending, closed = bench.open(), bench.open(), bench.open()
    cut.end_reason = Ending.CUT
    ending.phase = Phase.ENDING
    closed.phase = Phase.CLOSED
    bench.run(5)
    assert cut.endings == ending.endings == closed.endings == []


def test_a_forgotten_connection_is_never_ended_and_leaves_no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1)
    several = [bench.open() for _ in range(100)]
    for watched in several:
        bench.deadlines.forget(watched)
        bench.deadlines.forget(watched)
    bench.run(3)
    assert not any(watched.endings for watched in several)
    assert not bench.deadlines._buckets


@pytest.mark.parametrize("limit", ["idle_timeout", "first_byte_timeout", "lifetime"])
def test_each_pause_counts_as_a_fifth_of_a_second(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, **{limit: 1})
    watched = bench.open()
    bench.run(0.5)
    for _ in range(2):
        bench.now += 60
        bench.deadlines._tick()
        bench.deadlines._tick()
    assert not watched.endings
    bench.run(0.1 + 3 * TICK)
    assert len(watched.endings) == 1


def test_a_connection_whose_input_the_loop_has_yet_to_read_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1)
    watched = bench.open()
    watched.sock._read_event.active = True
    monkeypatch.setattr(deadlines, "unread", lambda _fd: 1)
    bench.run(5)
    assert not watched.endings
    watched.sock._read_event.active = False  # no greenlet waits for the input
    assert bench.until_ended(watched) - 1005 <= 2 * TICK


def test_bytes_that_came_while_the_loop_was_held_have_the_time_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback holds the loop, and the next callbacks of the same turn read the bytes that came meanwhile."""
    bench = Bench(monkeypatch, idle_timeout=1)
    watched = bench.open()
    bench.run(0.5)
    bench.now += 60
    bench.carry(watched)
    bench.deadlines._tick()
    since = bench.now
    assert 1 <= bench.until_ended(watched) - since <= 1 + 3 * TICK


class Reader:
    """A peer that is owed bytes. Its kernel takes some of them when the test calls `take`."""

    def __init__(self, patch: pytest.MonkeyPatch, **limits: float) -> None:
        self.bench = Bench(patch, **limits)
        self.peer = Peer(self.bench, patch)
        self.peer.outstanding = True
        self.watched = self.bench.accept()
        self.watched.count_read(1004)
        self.watched.count_written(1000)  # the kernel holds them for the peer
        self.watched.pending = memoryview(b"owed")
        self.bench.deadlines.watch(self.watched)

    def take(self) -> None:
        self.peer.acknowledged += 1
        self.peer.last_taken = self.bench.now


@pytest.mark.parametrize("sends_again", [False, True])
@pytest.mark.parametrize(
    ("limit", "ending"), [("write_stall", Ending.WRITE_STALL), ("idle_timeout", Ending.IDLE), ("drain", Ending.DRAINED)]
)
def test_bytes_that_the_kernel_of_a_peer_takes_are_progress(
    limit: str, ending: Ending, sends_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket becomes writable only much later."""
    reader = Reader(monkeypatch, **({} if limit == "drain" else {limit: 10}))
    bench, watched = reader.bench, reader.watched
    if limit == "drain":
        bench.deadlines.drain(10, [watched])
    reader.peer.sends_again = sends_again
    for _ in range(10):
        bench.run(7)
        reader.take()
    assert not watched.endings
    last = bench.now
    bench.until_ended(watched)
    assert watched.endings == [ending]
    # While the kernel sends bytes again, it tells only that the peer took some since the last check, and not when.
    assert 10 <= bench.now - last <= (20 if sends_again else 10) + 3 * TICK


@pytest.mark.parametrize("sends_again", [False, True])
@pytest.mark.parametrize("limit", ["write_stall", "idle_timeout"])
def test_a_peer_that_takes_nothing_is_ended_in_time(
    limit: str, sends_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(monkeypatch, **{limit: 10})
    reader.peer.sends_again = sends_again
    assert 10 <= reader.bench.until_ended(reader.watched) - 1000 <= 10 + 3 * TICK


@pytest.mark.parametrize("seconds", [4, 60])
def test_a_write_stall_counts_for_bytes_in_the_kernel(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a handler's bytes or the last ones of an echo. The server has none pending."""
    bench = Bench(monkeypatch, write_stall=seconds)
    peer = Peer(bench, monkeypatch)
    watched = bench.accept()
    bench.carry(watched)
    peer.outstanding = True
    for _ in range(5):
        bench.run(seconds * 0.8)
        peer.acknowledged += 1
        peer.last_taken = bench.now
    assert not watched.endings
    last = bench.now
    bench.until_ended(watched)
    assert watched.endings == [Ending.WRITE_STALL]
    assert seconds <= bench.now - last <= seconds + 3 * TICK


def test_a_write_to_a_peer_that_has_no_room_and_was_owed_nothing_begins_a_new_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel has sent the peer nothing for long, so the stall is known only from now on."""
    bench = Bench(monkeypatch, write_stall=60)
    peer = Peer(bench, monkeypatch)
    watched = bench.accept()
    bench.run(200)
    peer.outstanding = True
    bench.carry(watched)
    since = bench.now
    bench.until_ended(watched)
    assert watched.endings == [Ending.WRITE_STALL]
    assert 60 <= bench.now - since <= 60 + SILENCE + 3 * TICK


def test_min_rate_ends_a_peer_that_takes_bytes_in_a_slow_trickle(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch, write_stall=60, min_rate=100)
    while not reader.watched.endings:
        reader.bench.run(9)
        reader.take()
        assert reader.bench.now < 1100
    assert reader.watched.endings == [Ending.SLOW]


def test_min_rate_takes_payload_and_not_the_bytes_of_tls_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel counts encrypted bytes. It is asked only while some are on their way."""
    bench = Bench(monkeypatch, min_rate=100)
    peer = Peer(bench, monkeypatch)
    watched = bench.accept()
    for second in range(60):
        watched.count_read(100)
        watched.count_written(100)
        peer.acknowledged += 150
        peer.outstanding = second < 3.5 * PACE_SECONDS
        bench.run(1)
    assert not watched.endings


@given(
    st.lists(st.tuples(st.floats(0, 3), st.lists(st.floats(0.01, 1.5), max_size=6)), min_size=1, max_size=8),
    st.floats(0.11, 2),
)
def test_any_pattern_of_progress_ends_in_time_and_never_early(
    connections: list[tuple[float, list[float]]], limit: float
) -> None:
    """Each connection opens after a while, then carries a byte after each pause until it is ended."""
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(patch, idle_timeout=limit)
        steps: list[tuple[float, int]] = []
        for index, (start, pauses) in enumerate(connections):
            when = 1000 + start
            steps.append((when, index))
            for pause in pauses:
                when += pause
                steps.append((when, index))
        opened: dict[int, Watched] = {}
        last: dict[int, float] = {}
        ended: dict[int, float] = {}
        steps.sort()
        while len(ended) < len(connections):
            tick = bench.now + TICK
            while steps and steps[0][0] <= tick:
                bench.now, index = steps.pop(0)
                if index not in opened:
                    opened[index] = bench.open()
                elif index not in ended:
                    bench.carry(opened[index])
                else:
                    continue
                last[index] = bench.now
            bench.now = tick
            bench.deadlines._tick()
            for index, watched in opened.items():
                if watched.endings and index not in ended:
                    ended[index] = bench.now
                    assert limit <= ended[index] - last[index] <= limit + LATE
            assert bench.now < 1100
        assert not bench.deadlines._buckets
