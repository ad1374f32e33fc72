"""Due-time buckets: first byte, idle, stalled write, least rate, lifetime, a vanished host, and the drain's idle limit.

A connection is filed under the time of its next check. A tick looks only at what is due and files anew what has made
progress since, so that a message costs a timestamp and no timer. Scanning all connections instead costs 9 ms at a
stroke with 20,000 of them.
"""

from __future__ import annotations

import math
import random
import time
from operator import itemgetter
from typing import Any, Final

from gevent import get_hub

from geventecho.net import tcp_liveness
from geventecho.server.config import ServerConfig
from geventecho.server.connection import Clock, Connection, Phase
from geventecho.server.counters import Ending
from geventecho.server.rates import Pace

__all__ = ["TICK", "Deadlines"]

TICK: Final = 0.05
"""Seconds between checks. A limit is kept to within two ticks, and never early."""
SILENCE: Final = 30.0
"""Seconds without anything from a peer that was sent something and ought to acknowledge it; then its host has vanished.

The kernel's own limit (tcp(7), TCP_USER_TIMEOUT) cannot serve here: it also ends a peer that answers and has no room.
"""
QUIET: Final = 90.0
"""The same for a peer that was sent nothing: keep-alive asks it after 60 s."""
SOONEST: Final = 1.0
"""The least time between two questions to the kernel about one peer, in seconds."""


class Deadlines:
    """Ends connections whose time has come.

    Args:
        config: the limits.
        clock: what connections stamp their progress with; moved on at each tick.
    """

    def __init__(self, config: ServerConfig, clock: Clock) -> None:
        self.clock = clock
        self._first_byte = config.first_byte_timeout
        self._lifetime = config.lifetime
        self._idle = config.idle_timeout
        self._write_stall = config.write_stall
        self._min_rate = config.min_rate
        self._drain_idle: float | None = None
        self._buckets: dict[int, set[Connection]] = {}
        self._seen = 0
        self._late = False
        self._timer: Any = None

    def start(self) -> None:
        """Begin ticking, on the calling greenlet's hub."""
        if self._timer is None:
            self.clock.now = time.monotonic()
            self._seen = int(self.clock.now / TICK)
            self._timer = get_hub().loop.timer(TICK, TICK)
            self._timer.start(self._tick)

    def stop(self) -> None:
        """Stop ticking."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def drain(self, idle: float, connections: list[Connection]) -> None:
        """From now on, end connections after `idle` seconds without a byte."""
        self._drain_idle = idle
        for connection in connections:
            self.watch(connection)

    def add(self, connection: Connection) -> None:
        """Watch a connection that was just accepted."""
        if not connection.is_local:
            # Peers that came together are not checked together. A check takes 7 us: 10,000 would hold up all others.
            connection.check_peer_at = connection.accepted_at + SILENCE * (0.5 + random.random() / 2)  # noqa: S311
        if self._min_rate is not None:
            connection.pace = Pace(self._min_rate, connection.accepted_at)
        self.watch(connection)

    def watch(self, connection: Connection) -> None:
        """File a connection under its next check; call again when it begins to owe bytes."""
        due = self._due(connection)
        if due is None:
            return
        # The stamp may be a tick old: the extra tick keeps a limit from being early.
        tick = max(int((due[0] + TICK) / TICK) + 1, self._seen + 1)
        if connection.due is None or tick < connection.due:
            if connection.due is not None:
                self.forget(connection)
            connection.due = tick
            self._buckets.setdefault(tick, set()).add(connection)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that has ended, or is to be filed anew."""
        if connection.due is not None:
            bucket = self._buckets.get(connection.due)
            if bucket is not None:
                bucket.discard(connection)
                if not bucket:
                    del self._buckets[connection.due]
            connection.due = None

    def _due(self, connection: Connection) -> tuple[float, Ending] | None:
        """When to end the connection if it makes no more progress, and why."""
        found: list[tuple[float, Ending]] = [(connection.check_peer_at, Ending.VANISHED)]
        if connection.pace is not None:
            found.append((connection.pace.due, Ending.SLOW))
        if self._first_byte is not None and not connection.has_spoken:
            found.append((connection.accepted_at + self._first_byte, Ending.FIRST_BYTE))
        if self._lifetime is not None:
            found.append((connection.accepted_at + self._lifetime, Ending.LIFETIME))
        if self._idle is not None:
            found.append((connection.last_byte_at + self._idle, Ending.IDLE))
        if self._write_stall is not None and connection.pending is not None:
            found.append((connection.last_byte_at + self._write_stall, Ending.WRITE_STALL))
        if self._drain_idle is not None:
            found.append((connection.last_byte_at + self._drain_idle, Ending.DRAINED))
        due = found[0] if len(found) == 1 else min(found, key=itemgetter(0))
        return due if due[0] < math.inf else None

    def _tick(self) -> None:
        now = time.monotonic()
        late = now - self.clock.now > 4 * TICK
        self.clock.now = now
        if late and not self._late:
            # Something held the loop. Bytes that came meanwhile are not read yet: judge after they are.
            self._late = True
            return
        self._late = False
        tick = int(now / TICK)
        for number in range(self._seen + 1, tick + 1):
            for connection in self._buckets.pop(number, ()):
                connection.due = None
                self._judge(connection, now)
        self._seen = max(tick, self._seen)

    def _judge(self, connection: Connection, now: float) -> None:
        if connection.end_reason is not None or connection.phase in (Phase.ENDING, Phase.CLOSED):
            return
        due = self._due(connection)
        if due is not None and due[0] + TICK <= now and connection.passed is not None:
            connection.ask_kernel(now)
            due = self._due(connection)
        if due is not None and due[0] + TICK <= now and self._is_over(connection, due[1], now):
            connection.end(due[1])
        else:
            self.watch(connection)

    def _is_over(self, connection: Connection, ending: Ending, now: float) -> bool:
        """Whether the connection has to end. For VANISHED and SLOW the due time only says when to check; the check sets
        the next one."""
        if ending is Ending.VANISHED:
            return self._has_vanished(connection, now)
        if ending is Ending.SLOW and connection.pace is not None:
            carried, owed = connection.carried, connection.pending is not None
            return connection.pace.is_slow(carried, now - connection.last_byte_at, now, owed=owed)
        return True

    def _has_vanished(self, connection: Connection, now: float) -> bool:
        try:
            silence, outstanding, unanswered = tcp_liveness(connection.sock)
        except OSError:  # a handler has closed it
            connection.check_peer_at = math.inf
            return False
        # The unacknowledged bytes may be a moment old, although the peer has been silent for long.
        left = QUIET - silence
        if outstanding:
            left = min(left, SILENCE - min(silence, now - connection.last_byte_at))
        connection.check_peer_at = now + min(SILENCE, max(SOONEST, left))
        return unanswered and left <= 0
