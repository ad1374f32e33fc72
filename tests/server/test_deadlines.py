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
def test_the_first_limit_to_pass_ends_it(
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


def test_a_first_byte_frees_from_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, first_byte_timeout=1)
    talking, silent = bench.open(), bench.open()
    bench.carry(talking)
    bench.run(10)
    assert silent.endings == [Ending.FIRST_BYTE]
    assert not talking.endings


def test_a_stall_counts_only_while_something_is_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, write_stall=1)
    watched = bench.open()
    bench.run(10)
    assert not watched.endings
    bench.carry(watched)
    watched.pending = memoryview(b"owed")
    bench.deadlines.watch(watched)
    since = bench.now
    bench.run(0.8)
    bench.carry(watched)  # it took a byte
    bench.run(0.8)
    assert not watched.endings
    bench.until_ended(watched)
    assert watched.endings == [Ending.WRITE_STALL]
    assert 1.8 <= bench.now - since <= 1.8 + 4 * TICK


def test_min_rate_ends_a_trickler_and_leaves_the_idle_alone(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_drain_ends_the_idle_at_once_and_the_others_once_they_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_one_that_was_told_to_end_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1)
    told, ending, closed = bench.open(), bench.open(), bench.open()
    told.end_reason = Ending.CUT
    ending.phase = Phase.ENDING
    closed.phase = Phase.CLOSED
    bench.run(5)
    assert told.endings == ending.endings == closed.endings == []


def test_what_is_forgotten_is_never_judged_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1)
    several = [bench.open() for _ in range(100)]
    for watched in several:
        bench.deadlines.forget(watched)
        bench.deadlines.forget(watched)
    bench.run(3)
    assert not any(watched.endings for watched in several)
    assert not bench.deadlines._buckets


@pytest.mark.parametrize("limit", ["idle_timeout", "first_byte_timeout", "lifetime"])
def test_a_pause_counts_as_a_fifth_of_a_second_however_often_it_comes(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_one_whose_input_the_loop_has_yet_to_read_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1)
    watched = bench.open()
    watched.sock._read_event.active = True
    monkeypatch.setattr(deadlines, "unread", lambda _fd: 1)
    bench.run(5)
    assert not watched.endings
    watched.sock._read_event.active = False  # nobody wants to read it
    assert bench.until_ended(watched) - 1005 <= 2 * TICK


def test_what_came_while_the_loop_was_held_is_stamped_with_the_time_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback holds the loop, and the next ones of the same turn read what came meanwhile."""
    bench = Bench(monkeypatch, idle_timeout=1)
    watched = bench.open()
    bench.run(0.5)
    bench.now += 60
    bench.carry(watched)
    bench.deadlines._tick()
    since = bench.now
    assert 1 <= bench.until_ended(watched) - since <= 1 + 3 * TICK


class Reader:
    """A peer that is owed bytes, and whose kernel takes some of them whenever the test says so."""

    def __init__(self, patch: pytest.MonkeyPatch, **limits: float) -> None:
        self.bench = Bench(patch, **limits)
        self.peer = Peer(self.bench, patch)
        self.peer.outstanding = True
        self.watched = self.bench.accept()
        self.bench.carry(self.watched)
        self.watched.pending = memoryview(b"owed")
        self.bench.deadlines.watch(self.watched)

    def take(self) -> None:
        self.peer.acknowledged += 1
        self.peer.last_taken = self.bench.now


@pytest.mark.parametrize("sends_again", [False, True])
@pytest.mark.parametrize(
    ("limit", "ending"), [("write_stall", Ending.WRITE_STALL), ("idle_timeout", Ending.IDLE), ("drain", Ending.DRAINED)]
)
def test_what_the_kernel_of_a_peer_takes_is_progress(
    limit: str, ending: Ending, sends_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the socket is writable again."""
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
    # While it sends bytes again, the kernel does not tell when the peer took some: it did since the last look.
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
def test_what_the_kernel_holds_for_a_peer_is_watched_too(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler writes, and the end of an echo: nothing is pending here."""
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
    """The kernel has sent it nothing for long. That it takes nothing is known only from now on."""
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


def test_a_slow_trickle_of_acknowledgements_is_too_slow_for_a_least_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch, write_stall=60, min_rate=100)
    while not reader.watched.endings:
        reader.bench.run(9)
        reader.take()
        assert reader.bench.now < 1100
    assert reader.watched.endings == [Ending.SLOW]


@given(
    st.lists(st.tuples(st.floats(0, 3), st.lists(st.floats(0.01, 1.5), max_size=6)), min_size=1, max_size=8),
    st.floats(0.11, 2),
)
def test_any_pattern_of_progress_ends_in_time_and_never_early(
    connections: list[tuple[float, list[float]]], limit: float
) -> None:
    """Each connection opens after a while, then carries a byte after each pause, if it has not been ended before."""
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
