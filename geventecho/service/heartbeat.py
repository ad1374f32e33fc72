"""Updates the numbers of a process in shared memory, in its hub, four times a second.

If the hub is blocked or the process is stopped, the last heartbeat becomes old.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final

import gevent

from geventecho.server import TcpServer
from geventecho.service.lines import LineWriter
from geventecho.service.logs import LogHandler
from geventecho.service.shared_counters import Slot

__all__ = ["BEAT_SECONDS", "Heartbeat"]

BEAT_SECONDS: Final = 0.25
LAGS: Final = 4
"""Heartbeats of the last second. The metrics show the worst lag among them."""


class Heartbeat:
    """Copies the counters of a process into its slot.

    Args:
        server: counts in the slot's block.
        slot: the slot of this process.
        log: its dropped lines are counted.
        output: its dropped lines are counted.
    """

    def __init__(self, server: TcpServer, slot: Slot, log: LogHandler, output: LineWriter) -> None:
        self._server = server
        self._slot = slot
        self._lost: dict[str, LogHandler | LineWriter] = {"log_dropped": log, "output_dropped": output}
        self._before = {name: slot[name] for name in self._lost}
        self._lags: deque[float] = deque((0.0,), maxlen=LAGS)

    def start(self) -> None:
        """Copy now, and start the greenlet that copies."""
        self.beat()
        gevent.spawn(self._run)

    def beat(self) -> None:
        """Copy now."""
        slot, counts = self._slot, self._server.counters
        slot["open"] = slot["load"] = counts["open"]
        slot["opening"], slot["ending"] = counts.get("opening", 0), counts.get("ending", 0)
        for name, lines in self._lost.items():
            slot[name] = self._before[name] + lines.dropped
        slot["loop_lag_us"] = int(max(self._lags) * 1e6)
        slot["beat_ns"] = time.monotonic_ns()

    def _run(self) -> None:
        while True:
            due = time.monotonic() + BEAT_SECONDS
            gevent.sleep(BEAT_SECONDS)
            self._lags.append(max(0.0, time.monotonic() - due))
            self.beat()
