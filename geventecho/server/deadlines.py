"""Due-time buckets: first byte, idle, stalled write, minimal rate, lifetime, vanished host, idle limit of the drain.

A connection is filed under the time of its next check. A tick checks only due connections, and files them again if they
have made progress. So a message costs a timestamp and no timer. A scan of all connections would take 9 ms at once with
20,000 of them.
"""

from __future__ import annotations

import math
import random
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from gevent import get_hub

from geventecho.net import local_liveness, tcp_liveness, unread
from geventecho.server.closing import LINGER_MAX, LINGER_SECONDS
from geventecho.server.config import ServerConfig
from geventecho.server.connection import Clock, Connection, Phase
from geventecho.server.counters import Ending
from geventecho.server.rates import Pace

__all__ = ["TICK", "Deadlines"]

TICK: Final = 0.05
"""Seconds between checks. A limit is kept to within two ticks, and never early."""
SILENCE: Final = 30.0
"""Seconds of silence of a peer that has bytes to acknowledge; then its host has vanished.

The kernel's own limit (tcp(7), TCP_USER_TIMEOUT) cannot be used here or for stalled writes. It also ends peers that
answer with a closed window, and peers that open their window in steps smaller than a packet (Linux 6.18).
"""
QUIET: Final = 90.0
"""The same for a peer without bytes to acknowledge: keep-alive probes it after 60 s."""
MIN_CHECK_SECONDS: Final = 1.0
"""The shortest time between two checks of one peer, in seconds."""
FIRST_CHECK: Final = 1 / 8
"""The part of its time limit after which a peer that is owed bytes is first checked. The next check compares."""

Due = tuple[float, Ending | None]
"""When to end a connection, and the reason; or, with None, when to check its peer."""
NEVER: Final[Due] = (math.inf, None)
NEED_SILENCE: Final = frozenset((Ending.IDLE, Ending.FIRST_BYTE, Ending.DRAINED, Ending.SLOW))
"""Reasons that hold only once all input of the connection has been read."""


class Deadlines:
    """Ends connections whose time is over.

    Args:
        config: the limits.
        clock: the clock of the connections; each tick moves it on.
    """

    def __init__(self, config: ServerConfig, clock: Clock) -> None:
        self.clock = clock
        self._first_byte = config.first_byte_timeout
        self._handshake = math.inf if config.tls_handshake_timeout is None else config.tls_handshake_timeout
        self._header = math.inf if config.proxy_header_timeout is None else config.proxy_header_timeout
        self._lifetime = config.lifetime
        self._idle = config.idle_timeout
        self._write_stall = math.inf if config.write_stall is None else config.write_stall
        self._min_rate = config.min_rate
        self._drain_idle: float | None = None
        self._check_every = min(SILENCE, max(MIN_CHECK_SECONDS, self._write_stall))
        self._first_check_after = FIRST_CHECK * min(self._write_stall, self._idle or math.inf)
        self._buckets: dict[int, set[Connection]] = {}
        self._last_tick = 0
        self._timer: Any = None

    def start(self) -> None:
        """Begin ticking, on the calling greenlet's hub."""
        if self._timer is None:
            self.clock.start()
            self._last_tick = int(self.clock.now / TICK)
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
        self._first_check_after = min(self._first_check_after, FIRST_CHECK * idle)
        for connection in connections:
            self._file(connection)

    def add(self, connection: Connection) -> None:
        """Watch a connection that was just accepted."""
        if not connection.is_local:
            # Peers that connected together are not checked together: 10,000 checks of 7 us would delay all connections.
            connection.check_peer_at = connection.accepted_at + self._check_every * (0.5 + random.random() / 2)  # noqa: S311
        if self._min_rate is not None:
            connection.pace = Pace(self._min_rate, connection.accepted_at)
        self._file(connection)

    def watch(self, connection: Connection) -> None:
        """Watch whether the peer takes the bytes that it is owed now."""
        connection.taken = None
        self._file(connection)

    def limit_delivery(self, connection: Connection) -> None:
        """Cut an ending connection if its peer takes no byte for LINGER_SECONDS, or after LINGER_MAX."""
        if connection.pending is not None:
            connection.last_byte_at = self.clock.now
            connection.deliver_by = self.clock.now + LINGER_MAX
            self.watch(connection)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that has ended, or that is filed again."""
        if connection.due is not None:
            bucket = self._buckets.get(connection.due)
            if bucket is not None:
                bucket.discard(connection)
                if not bucket:
                    del self._buckets[connection.due]
            connection.due = None

    def _file(self, connection: Connection) -> None:
        """File a connection under its next check."""
        due, _ = self._due(connection)
        if due < math.inf:
            self._file_under(connection, due)

    def _file_under(self, connection: Connection, due: float) -> None:
        """File a connection under the first tick after this time, unless it is filed under an earlier one."""
        # The stamp may be a tick old: the extra tick keeps a limit from being early.
        tick = max(int((due + TICK) / TICK) + 1, self._last_tick + 1)
        if connection.due is None or tick < connection.due:
            self.forget(connection)
            connection.due = tick
            self._buckets.setdefault(tick, set()).add(connection)

    def _due(self, connection: Connection) -> Due:
        """When to end the connection or to check its peer, unless it makes progress."""
        last, stall, first_check_after = connection.last_byte_at, self._write_stall, self._first_check_after
        times: list[Due]
        if connection.phase is Phase.ENDING:
            if connection.pending is None or connection.deliver_by == math.inf:
                return NEVER
            stall, first_check_after = LINGER_SECONDS, FIRST_CHECK * LINGER_SECONDS
            times = [(connection.deliver_by, Ending.CUT)]
        else:
            times = [(connection.check_peer_at, None)]
            if connection.pace is not None:
                times.append((connection.pace.due, Ending.SLOW))
            if self._first_byte is not None and not connection.has_spoken:
                times.append((connection.accepted_at + self._first_byte, Ending.FIRST_BYTE))
            if connection.header_size is None:
                times.append((connection.accepted_at + self._header, Ending.PROXY_HEADER))
            elif not connection.is_secured:
                times.append((connection.accepted_at + self._handshake, Ending.HANDSHAKE))
            if self._lifetime is not None:
                times.append((connection.accepted_at + self._lifetime, Ending.LIFETIME))
            if self._idle is not None:
                times.append((last + self._idle, Ending.IDLE))
            if self._drain_idle is not None:
                times.append((last + self._drain_idle, Ending.DRAINED))
        if connection.taken is not None:
            # With a handler, bytes that the peer sends are no sign that it takes bytes.
            times.append(((connection.took_at if connection.pending is None else last) + stall, Ending.WRITE_STALL))
        elif connection.pending is not None:
            times.append((last + first_check_after, None))
        return times[0] if len(times) == 1 else min(times, key=itemgetter(0))

    def _tick(self) -> None:
        before = self.clock.now
        self.clock.move()
        now = self.clock.now
        if now - before > 2 * TICK:
            self._stamp_again(before)
        tick = int(now / TICK)
        last_tick, self._last_tick = self._last_tick, max(tick, self._last_tick)
        for number in range(last_tick + 1, tick + 1):
            for connection in self._buckets.pop(number, ()):
                connection.due = None
                self._judge(connection, now)

    def _stamp_again(self, stamp: float) -> None:
        """Move stamps of the last tick to now: something blocked the loop, and the bytes may have come just now."""
        for connection in chain.from_iterable(self._buckets.values()):
            if connection.last_byte_at == stamp:
                connection.last_byte_at = self.clock.now
            if connection.accepted_at == stamp:
                connection.accepted_at = self.clock.now

    def _judge(self, connection: Connection, now: float) -> None:
        is_ending = connection.phase is Phase.ENDING
        if connection.phase is Phase.CLOSED or (connection.end_reason is not None and not is_ending):
            return
        latest = now - TICK
        due, why = self._due(connection)
        if due <= latest:
            if why in NEED_SILENCE and _has_input(connection):
                self._file_under(connection, latest)
                return
            due, why = self._check_peer(connection, now)
        if due > latest or why is None or (why is Ending.SLOW and not _is_slow(connection, now)):
            self._file(connection)
        elif is_ending:
            connection.cut()
        else:
            connection.end(why)

    def _check_peer(self, connection: Connection, now: float) -> Due:
        """Check whether the peer's kernel answers and takes bytes; return when to check or end the connection next."""
        try:
            peer = (local_liveness if connection.is_local else tcp_liveness)(connection.sock)
        except (OSError, ValueError):  # a handler has closed the socket
            connection.check_peer_at, connection.taken = math.inf, None
            return self._due(connection)
        if not connection.is_local:
            # The unacknowledged bytes may be a moment old, although the peer has been silent for long.
            left = QUIET - peer.silence
            if peer.outstanding:
                left = min(left, SILENCE - min(peer.silence, now - connection.last_byte_at))
            if peer.unanswered and left <= 0:
                return -math.inf, Ending.VANISHED
            connection.check_peer_at = now + min(self._check_every, max(MIN_CHECK_SECONDS, left))
            if connection.passed is not None:
                connection.passed = peer.received - (connection.header_size or 0), peer.taken[0]
                connection.last_byte_at = max(connection.last_byte_at, now - peer.quiet)
        if connection.pending is None and not peer.outstanding:
            connection.taken, connection.took_at = None, now
        elif peer.taken != connection.taken:
            stalled = peer.stalled
            if stalled is None:
                # The first check has nothing to compare with. The second check comes after the rest of the limit.
                stalled = (1 - FIRST_CHECK) * self._write_stall if connection.taken is None else 0.0
            elif connection.taken is None and now - stalled < connection.took_at:
                # Its window was closed before it was owed bytes; the time of the write is unknown.
                stalled = 0.0
            # The kernel's time includes a pause of the process; the clock's does not.
            connection.took_at = max(now - stalled, self.clock.resumed_at, connection.took_at)
            connection.last_byte_at = max(connection.last_byte_at, connection.took_at)
            connection.taken = peer.taken
        due, why = self._due(connection)
        return due, Ending.VANISHED if why is Ending.WRITE_STALL and peer.unanswered else why


def _is_slow(connection: Connection, now: float) -> bool:
    """Whether a connection carries less than its minimal rate. This also sets the time of the next check."""
    if connection.pace is None:
        return False
    silent, owed = now - connection.last_byte_at, connection.pending is not None
    return connection.pace.is_slow(connection.carried, silent, now, owed=owed)


def _has_input(connection: Connection) -> bool:
    """Whether bytes have arrived that the waiting greenlet has not read yet."""
    watcher = connection.sock._read_event
    return watcher is not None and watcher.active and unread(connection.sock.fileno()) > 0
