"""Deadlines under a clock of the test's own."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from geventecho.net.tcp_info import Pulse
from geventecho.server import deadlines
from geventecho.server.config import ServerConfig
from geventecho.server.connection import Clock, Phase
from geventecho.server.counters import Ending
from geventecho.server.deadlines import TICK, Deadlines
from geventecho.server.rates import Pace

LATE = 0.3
"""Seconds by which a limit may be late: what is promised."""


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
    sock: object = None
    is_local: bool = False
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


class Peer:
    """What the kernel says of one: `pulse` in place of the real one."""

    def __init__(self, bench: Bench, patch: pytest.MonkeyPatch) -> None:
        self.bench, self.heard, self.outstanding, self.unanswered = bench, bench.now, False, False
        patch.setattr(deadlines, "pulse", self.pulse)

    def pulse(self, _sock: object) -> Pulse:
        return Pulse(self.bench.now - self.heard, self.outstanding, self.unanswered)
