"""Due-time buckets: each limit is kept to within two ticks, and never early."""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import assert_adds_up, dial, echo_server, ping, read_to_end
from timing import UNIT, wait_until

from geventecho import deadlines
from geventecho.config import ServerConfig
from geventecho.connection import Clock, Phase
from geventecho.counters import Ending
from geventecho.deadlines import QUIET, SILENCE, TICK, Deadlines
from geventecho.kernel import Pulse
from geventecho.limits import PACE_SECONDS, Pace

LATE = 0.3
"""Seconds by which a limit may be late: what is promised."""


class Sock:
    family = socket.AF_INET


@dataclass(eq=False)
class Stub:
    """What Deadlines knows of a connection."""

    began: float
    progress: float
    received: int = 0
    pending: memoryview | None = None
    verdict: Ending | None = None
    phase: Phase = Phase.OPEN
    due: int | None = None
    sent: int = 0
    look: float = math.inf
    pace: Pace | None = None
    sock: Sock = field(default_factory=Sock)
    endings: list[Ending] = field(default_factory=list)

    def end(self, ending: Ending) -> None:
        self.verdict = ending
        self.endings.append(ending)


class Bench:
    """Deadlines under a clock of the test's own."""

    def __init__(self, patch: pytest.MonkeyPatch, **limits: Any) -> None:
        self.now = 1000.0
        patch.setattr(time, "monotonic", lambda: self.now)
        self.deadlines = Deadlines(ServerConfig(**{"write_stall": None, **limits}), Clock())
        self.deadlines.start()
        self.deadlines.stop()  # the ticks are the test's

    def open(self) -> Stub:
        stub = Stub(began=self.now, progress=self.now)
        self.deadlines.watch(stub)  # type: ignore[arg-type]
        return stub

    def carry(self, stub: Stub) -> None:
        stub.received += 1
        stub.progress = self.deadlines.clock.now

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.deadlines._tick()

    def until_ended(self, stub: Stub) -> float:
        while not stub.endings:
            self.run(TICK)
            assert self.now < 2000
        return self.now


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
    stub = bench.open()
    assert 2 <= bench.until_ended(stub) - 1000 <= 2 + 3 * TICK
    assert stub.endings == [ending]
    bench.run(5)
    assert stub.endings == [ending]


def test_progress_extends_idle_but_not_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1, lifetime=5)
    stub = bench.open()
    while not stub.endings:
        bench.carry(stub)
        bench.run(0.5)
    assert stub.endings == [Ending.LIFETIME]
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
    stub = bench.open()
    bench.run(10)
    assert not stub.endings
    bench.carry(stub)
    stub.pending = memoryview(b"owed")
    bench.deadlines.watch(stub)  # type: ignore[arg-type]
    since = bench.now
    bench.run(0.8)
    bench.carry(stub)  # it took a byte
    bench.run(0.8)
    assert not stub.endings
    bench.until_ended(stub)
    assert stub.endings == [Ending.WRITE_STALL]
    assert 1.8 <= bench.now - since <= 1.8 + 4 * TICK


class Peer:
    """What the kernel says of one: `pulse` in place of the real one."""

    def __init__(self, bench: Bench, patch: pytest.MonkeyPatch) -> None:
        self.bench, self.heard, self.outstanding, self.unanswered = bench, bench.now, False, False
        patch.setattr(deadlines, "pulse", self.pulse)

    def pulse(self, _sock: object) -> Pulse:
        return Pulse(self.bench.now - self.heard, self.outstanding, self.unanswered)


def vanishing(patch: pytest.MonkeyPatch, **limits: Any) -> tuple[Bench, Peer, Stub]:
    bench = Bench(patch, **limits)
    peer = Peer(bench, patch)
    stub = Stub(began=bench.now, progress=bench.now)
    bench.deadlines.add(stub)  # type: ignore[arg-type]
    return bench, peer, stub


def test_a_peer_that_acknowledges_nothing_for_thirty_seconds_has_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, peer, stub = vanishing(monkeypatch)
    bench.run(100)
    assert not stub.endings
    since = peer.heard = bench.now
    bench.carry(stub)
    peer.outstanding = peer.unanswered = True
    bench.until_ended(stub)
    assert stub.endings == [Ending.VANISHED]
    assert SILENCE <= bench.now - since <= SILENCE + 1 + 4 * TICK


def test_a_peer_that_answers_and_takes_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel asks less and less often: a minute and two may pass between two answers."""
    bench, peer, stub = vanishing(monkeypatch)
    peer.outstanding = True
    bench.run(500)
    assert not stub.endings


def test_what_was_sent_a_moment_ago_may_still_be_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that says something after a minute of silence: the silence is old, the question is new."""
    bench, peer, stub = vanishing(monkeypatch)
    bench.run(59)
    bench.carry(stub)
    since, peer.outstanding, peer.unanswered = bench.now, True, True
    bench.run(25)
    assert not stub.endings
    bench.until_ended(stub)
    assert SILENCE <= bench.now - since <= SILENCE + 1 + 4 * TICK


@pytest.mark.parametrize("talks", [False, True])
def test_an_idle_peer_that_does_not_answer_keep_alive_has_vanished(
    talks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So has one to whom a handler talks on and on."""
    bench, peer, stub = vanishing(monkeypatch)
    peer.unanswered, peer.outstanding = True, talks
    while not stub.endings:
        bench.run(1)
        if talks:
            bench.carry(stub)
    assert stub.endings == [Ending.VANISHED]
    assert QUIET <= bench.now - peer.heard <= QUIET + 2


def test_one_whose_handler_closed_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, _, stub = vanishing(monkeypatch)

    def closed(_sock: object) -> Pulse:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(deadlines, "pulse", closed)
    bench.run(500)
    assert not stub.endings
    assert not bench.deadlines._buckets


def test_min_rate_ends_a_trickler_and_leaves_the_idle_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, min_rate=100)
    Peer(bench, monkeypatch)
    trickler, idle, quick = stubs = [Stub(began=bench.now, progress=bench.now) for _ in range(3)]
    for stub in stubs:
        bench.deadlines.add(stub)  # type: ignore[arg-type]
    for _ in range(100):
        if not trickler.endings:
            bench.carry(trickler)
        quick.received += 51
        quick.sent += 51
        quick.progress = bench.deadlines.clock.now
        bench.run(1)
    assert trickler.endings == [Ending.SLOW]
    assert 2 * PACE_SECONDS - 1 < trickler.progress - trickler.began < 2 * PACE_SECONDS + 1
    assert not idle.endings
    assert not quick.endings


def test_a_drain_ends_the_idle_at_once_and_the_others_once_they_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    idle, busy = bench.open(), bench.open()
    bench.run(5)
    bench.carry(busy)
    bench.deadlines.drain(1.0, [idle, busy])  # type: ignore[list-item]
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
    told.verdict = Ending.CUT
    ending.phase = Phase.ENDING
    closed.phase = Phase.CLOSED
    bench.run(5)
    assert told.endings == ending.endings == closed.endings == []


def test_what_is_forgotten_is_never_judged_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_timeout=1)
    stubs = [bench.open() for _ in range(100)]
    for stub in stubs:
        bench.deadlines.forget(stub)  # type: ignore[arg-type]
        bench.deadlines.forget(stub)  # type: ignore[arg-type]
    bench.run(3)
    assert not any(stub.endings for stub in stubs)
    assert not bench.deadlines._buckets


def test_a_loop_that_was_held_reads_before_it_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that came meanwhile are in the kernel: the peer was not idle, the process was."""
    bench = Bench(monkeypatch, idle_timeout=1)
    stub, idle = bench.open(), bench.open()
    bench.run(0.5)
    bench.now += 60
    bench.deadlines._tick()
    assert not stub.endings
    bench.carry(stub)
    bench.run(3 * TICK)
    assert not stub.endings
    assert idle.endings == [Ending.IDLE]


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
        stubs: dict[int, Stub] = {}
        last: dict[int, float] = {}
        ended: dict[int, float] = {}
        steps.sort()
        while len(ended) < len(connections):
            tick = bench.now + TICK
            while steps and steps[0][0] <= tick:
                bench.now, index = steps.pop(0)
                if index not in stubs:
                    stubs[index] = bench.open()
                elif index not in ended:
                    bench.carry(stubs[index])
                else:
                    continue
                last[index] = bench.now
            bench.now = tick
            bench.deadlines._tick()
            for index, stub in stubs.items():
                if stub.endings and index not in ended:
                    ended[index] = bench.now
                    assert limit <= ended[index] - last[index] <= limit + LATE
            assert bench.now < 1100
        assert not bench.deadlines._buckets


# On the real clock ----------------------------------------------------------------------------------------------------


def test_every_limit_is_kept_within_three_tenths_of_a_second_and_never_early() -> None:
    """Connections that begin at different points of a tick. Lateness is the machine's too: the best of three."""
    limit = 6 * UNIT
    for option in ("idle_timeout", "first_byte_timeout", "lifetime"):
        latest = []
        for _ in range(3):
            with echo_server(**{option: limit}) as server:

                def one(delay: float, server: Any = server, option: str = option) -> float:
                    gevent.sleep(delay)
                    began = time.monotonic()
                    with dial(server) as client:
                        if option == "idle_timeout":
                            began = time.monotonic()
                            ping(client)
                        assert read_to_end(client) == b""
                        return time.monotonic() - began - limit

                late = [greenlet.get() for greenlet in [gevent.spawn(one, 0.013 * turn) for turn in range(12)]]
                wait_until(lambda server=server: not server.connection_count)  # type: ignore[misc]
                assert min(late) >= 0, f"{option} was early"
                assert server.counters[f"ended_{option.removesuffix('_timeout')}"] == 12
                assert_adds_up(server.counters)
            latest.append(max(late))
            if latest[-1] <= LATE:
                break
        assert min(latest) <= LATE, f"{option} was late by {latest}"


def test_write_stall_is_kept_within_three_tenths_of_a_second() -> None:
    limit = 6 * UNIT
    late = []
    for _ in range(3):
        with echo_server(write_stall=limit) as server, dial(server) as client:
            wait_until(lambda server=server: server.connection_count)  # type: ignore[misc]
            (connection,) = server._registry.open
            client.setblocking(False)
            while server.connection_count:
                try:
                    client.send(b"x" * 65536)
                except OSError:
                    gevent.sleep(0.002)
            ended = time.monotonic()
            late.append(ended - connection.progress - limit)
            assert server.counters["ended_write_stall"] == 1
            assert server.counters["bytes_lost"] > 0
            assert_adds_up(server.counters)
        # `progress` is stamped with the last tick, so up to a tick before the byte it stands for.
        assert late[-1] >= 0, "early"
        if late[-1] <= LATE:
            break
    assert min(late) <= LATE, late


def test_idle_ends_a_connection_whose_write_is_blocked() -> None:
    with echo_server(idle_timeout=5 * UNIT, write_stall=None) as server, dial(server) as client:
        client.settimeout(2 * UNIT)
        with pytest.raises(OSError, match="timed out"):
            client.sendall(b"x" * (64 << 20))
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_idle"] == 1
        assert server.counters["bytes_lost"] > 0
        assert_adds_up(server.counters)


def test_no_timer_ticks_while_nobody_is_connected() -> None:
    with echo_server(idle_timeout=60) as server:
        with dial(server) as client:
            ping(client)
            assert server._registry._deadlines._timer is not None
        wait_until(lambda: not server.connection_count)
        assert server._registry._deadlines._timer is None
