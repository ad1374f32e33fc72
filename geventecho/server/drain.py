"""How a server stops: it waits for connections, ends the rest, and reports the result."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from gevent.event import Event

from geventecho.server.connection import LONGEST_STEP, Clock
from geventecho.server.counters import Counters, Ending
from geventecho.server.registry import Registry

__all__ = ["Drain", "StopReport"]

logger = logging.getLogger("geventecho.server")

FLUSH_SECONDS: Final = 1.0
"""Seconds to deliver owed bytes after the drain timeout."""
KILL_SECONDS: Final = 0.1
"""Seconds that a cut handler may take to end; then its socket is closed. The close hook has as much time."""


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a stop went.

    Attributes:
        drained: connections that ended in time.
        cut: connections that were still open at the drain timeout and were ended by it.
        bytes_lost: bytes received from these connections that could not be returned.
        bytes_discarded: bytes that came from them after the server's FIN, and were read and not returned. A peer that
            `max_rate` slows down has often sent more than the server has read by then.
    """

    drained: int = 0
    cut: int = 0
    bytes_lost: int = 0
    bytes_discarded: int = 0

    def __str__(self) -> str:
        text = f"drained {self.drained}, cut {self.cut}, bytes lost {self.bytes_lost}"
        return f"{text}, bytes discarded {self.bytes_discarded}" if self.bytes_discarded else text


class Drain:
    """Counts from the moment the listener closes.

    Args:
        registry: the connections.
        counters: the server's.
        closed: set once the last connection has ended and the close hook has returned. If the hook does not return,
            this class sets it.
    """

    def __init__(self, registry: Registry, counters: Counters, closed: Event) -> None:
        self._registry = registry
        self._counters = counters
        self._closed = closed
        self._before = self._sums()

    def run(self, idle: float, timeout: float) -> None:
        """Let the connections finish, and end the rest.

        1. A connection without a byte for `idle` seconds is ended in order, an active one goes on.
        2. After `timeout` seconds the others are ended in order too, and have a second to take their owed bytes.
        3. Open connections are closed, finished or not.

        The close hook has until then, too: after that, `run` does not wait for it.
        """
        registry = self._registry
        registry.drain(idle)
        if self._wait(timeout):
            return
        for end, seconds in ((registry.end, FLUSH_SECONDS), (registry.cut, KILL_SECONDS)):
            end()
            if self._wait(seconds):
                return
        registry.abandon()
        if not self._wait(KILL_SECONDS):
            logger.warning("the hook on_close has not returned; the stop does not wait for it any longer")
            self._closed.set()

    def _wait(self, seconds: float) -> bool:
        """Wait for the end, by a clock like that of the connections: a pause of the process counts as LONGEST_STEP."""
        clock = Clock()
        end = clock.now + seconds
        while clock.now < end and not self._closed.is_set():
            self._closed.wait(min(end - clock.now, LONGEST_STEP / 2))
            clock.move()
        return bool(self._closed.is_set())

    def report(self) -> StopReport:
        """The report so far: open connections count as cut, as if the process ended at this moment."""
        ended, cut, lost, discarded = (now - before for now, before in zip(self._sums(), self._before, strict=True))
        return StopReport(
            drained=ended - cut,
            cut=cut + len(self._registry.open),
            bytes_lost=lost + self._registry.owed(),
            bytes_discarded=discarded,
        )

    def _sums(self) -> tuple[int, int, int, int]:
        """Connections ended so far, the number of cut ones, and bytes lost and discarded so far."""
        counts = self._counters.as_dict()
        ended = sum(counts[f"ended_{ending.value}"] for ending in Ending)
        return ended, counts["ended_cut"], counts["bytes_lost"], counts["bytes_discarded"]
