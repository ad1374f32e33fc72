"""Deadlines under a clock of the test's own."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from geventecho.net.tcp_info import TcpLiveness
from geventecho.server import connection, deadlines
from geventecho.server.config import ServerConfig
from geventecho.server.connection import Clock, Connection, Phase
from geventecho.server.counters import Ending, Traffic
from geventecho.server.deadlines import TICK, Deadlines
from tests.support.timing import ManualTime

LATE = 0.3
"""Seconds by which a limit may be late, as the documentation promises."""


class Watched(Connection):
    """A connection without a socket. It records its endings."""

    def __init__(self, clock: Clock) -> None:
        # No reader waits for input, and the kernel does not know the descriptor.
        sock = SimpleNamespace(_read_event=SimpleNamespace(active=False), fileno=lambda: -1)
        super().__init__(sock, ("192.0.2.1", 7), clock, Traffic())
        self.phase = Phase.OPEN
        self.endings: list[Ending] = []

    def end(self, ending: Ending) -> None:
        self.end_reason = ending
        self.endings.append(ending)


class Bench(ManualTime):
    """Deadlines under a clock of the test's own."""

    def __init__(self, patch: pytest.MonkeyPatch, **limits: Any) -> None:
        super().__init__()
        patch.setattr(connection, "time", self)
        patch.setattr(deadlines, "tcp_liveness", self._tell_nothing)
        self.deadlines = Deadlines(ServerConfig(**{"write_stall": None, **limits}), Clock())
        self.deadlines.start()
        self.deadlines.stop()  # the ticks are the test's

    def _tell_nothing(self, _sock: object) -> TcpLiveness:
        """The kernel's answer where a test has no Peer: no byte is on its way."""
        return TcpLiveness(0.0, False, False, (0, 0), math.inf)

    def open(self) -> Watched:
        """A connection that its limits end, but not the silence of its peer."""
        watched = Watched(self.deadlines.clock)
        self.deadlines._file(watched)
        return watched

    def accept(self) -> Watched:
        """A connection as the registry adds it."""
        watched = Watched(self.deadlines.clock)
        self.deadlines.add(watched)
        return watched

    def carry(self, watched: Watched) -> None:
        watched.count_read(1)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.deadlines._tick()

    def until_ended(self, watched: Watched) -> float:
        while not watched.endings:
            self.run(TICK)
            assert self.now < 2000
        return self.now


class Peer:
    """The kernel's answers about a peer: `tcp_liveness` in place of the real function."""

    def __init__(self, bench: Bench, patch: pytest.MonkeyPatch) -> None:
        self.bench, self.last_answer, self.outstanding, self.unanswered = bench, bench.now, False, False
        self.acknowledged, self.room, self.last_taken = 0, 0, bench.now
        self.sends_again = False
        patch.setattr(deadlines, "tcp_liveness", self.tcp_liveness)

    def tcp_liveness(self, _sock: object) -> TcpLiveness:
        now = self.bench.now
        stalled = None if self.sends_again else now - self.last_taken
        taken = self.acknowledged, self.room
        return TcpLiveness(now - self.last_answer, self.outstanding, self.unanswered, taken, stalled)
