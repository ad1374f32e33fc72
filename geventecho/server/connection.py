"""One accepted connection: its socket, its byte counts, and how it is told to end.

This file knows one socket. It knows neither the server, nor other connections, nor the content of messages.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import gevent
from gevent import get_hub, getcurrent, socket
from greenlet import greenlet

from geventecho.address import Address, SockAddr
from geventecho.net import is_broken
from geventecho.server.counters import Ending, HandshakeFailure, Traffic
from geventecho.server.rates import Meter, Pace

__all__ = [
    "LONGEST_STEP",
    "RECEIVE_SIZE",
    "Clock",
    "Connection",
    "ConnectionInfo",
    "Cut",
    "Ended",
    "HandshakeFailed",
    "Phase",
    "Raised",
]

RECEIVE_SIZE: Final = 65536
"""Bytes that one read takes at most. The process never holds more bytes of a connection."""
LONGEST_STEP: Final = 0.2
"""The longest step of the clock, in seconds. A longer time between two ticks is a pause: something blocked the loop, or
stopped the process."""


Raised = BaseException | type[BaseException]
"""An exception, or its class."""


class Ended(gevent.GreenletExit):  # type: ignore[misc]
    """Thrown into a connection's greenlet: stop reading, deliver the owed bytes, then return."""


class Cut(Ended):
    """Thrown when the time for the delivery is over: return at once."""


class HandshakeFailed(Exception):
    """Raised when a TLS handshake failed."""

    def __init__(self, why: HandshakeFailure) -> None:
        super().__init__(why.value)
        self.why = why


class Phase(enum.Enum):
    """Where a connection is in its life."""

    NEW = "new"
    OPENING = "opening"
    """Its PROXY header or its handshake is under way."""
    OPEN = "open"
    ENDING = "ending"
    CLOSED = "closed"


class Clock:
    """Seconds for which the loop has run, as of the last tick. Time limits use this clock.

    A pause counts as LONGEST_STEP, however long it is: the server sees no peer during a pause, and a peer in the same
    process, or on the same stopped machine, does nothing. Every message stamps its connection: for this, `now` costs an
    attribute and time.monotonic() a call.

    Attributes:
        now: the time.
        resumed_at: when the last pause ended, or when the clock was started.
    """

    __slots__ = ("_read_at", "now", "resumed_at")

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin at the monotonic time."""
        self.now = self.resumed_at = self._read_at = time.monotonic()

    def move(self) -> None:
        """Move on by the time since the last move."""
        before, self._read_at = self._read_at, time.monotonic()
        self.now += min(self._read_at - before, LONGEST_STEP)
        if self._read_at - before > LONGEST_STEP:
            self.resumed_at = self.now

    def read(self) -> float:
        """The time at this moment; `now` is the time of the last tick."""
        return self.now + min(time.monotonic() - self._read_at, LONGEST_STEP)


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The state of a connection at one moment.

    Attributes:
        peer: the other end.
        age: seconds since it was accepted, to within 0.05; a pause of the process counts as at most 0.2 s.
        bytes_received: bytes read from it.
        bytes_sent: bytes handed to the kernel for it.
        phase: where it is in its life.
    """

    peer: Address
    age: float
    bytes_received: int
    bytes_sent: int
    phase: Phase


class Connection:
    """The state of one connection.

    Attributes:
        closed_alone: reasons after which close() alone ends the stream in order, or nothing does.
        can_splice: whether splice(2) may move its bytes.
        channel: reads and sends for the hub, with `recv_into` and `send`, which never wait.
        is_secured: whether there is no handshake to wait for.
        is_truncated: whether the peer ended a TLS stream without a close_notify.
        sock: its gevent socket; only the connection's own greenlet reads, writes or closes it.
        sockaddr: the peer, as accept(2) named it; or the client that a PROXY header named.
        is_local: whether its peer is a Unix socket. The address tells this faster than the socket, which makes an enum.
        header_size: bytes of its PROXY header, or 0; None until the header is read and its client is admitted.
        greenlet: the greenlet that serves it, or None before the greenlet runs.
        wake: begins that greenlet for a connection that the hub serves alone until then; else None. It is called in the
            hub, with the exception to raise in the greenlet, or None, and with `at_end` at the peer's FIN.
        accepted_at, last_byte_at: when it was accepted, and when it last carried a byte or its peer's kernel was last
            seen to take one; times are the clock's.
        clock, traffic: the server's; `traffic` adds up the bytes of all its connections.
        echoed: bytes that were read and at once sent; `read`, `written`: bytes that were read or sent otherwise.
        discarded: bytes that were read after our FIN; `discarded_at`: when the last of them came, 0 is never.
        meter: how much it may still receive and how fast, or None.
        pace: how fast it has to be, or None.
        check_peer_at: when to ask the kernel whether its peer is still there.
        passed: bytes that came in and bytes that the peer acknowledged, as the kernel last reported. A handler may
            bypass its socket object. None for an echo connection: all its bytes are counted.
        taken: `TcpLiveness.taken` of the last check, or None: no bytes were on their way then.
        took_at: when the peer's kernel was last seen to take bytes.
        deliver_by: the time until which its peer may take the owed bytes at its end.
        is_read_out: whether its handler has read its peer's FIN.
        pending: the bytes that were read and are not sent yet, while the peer takes none; else None.
        end_reason: why it was told to end, or None.
        due: the tick of its next check, or None.
    """

    __slots__ = (
        "accepted_at", "check_peer_at", "clock", "deliver_by", "discarded", "discarded_at", "due", "echoed",
        "end_reason", "greenlet", "header_size", "is_local", "is_read_out", "last_byte_at", "meter", "pace", "passed",
        "pending", "phase", "read", "sock", "sockaddr", "taken", "took_at", "traffic", "wake", "written",
    )  # fmt: skip
    closed_alone: tuple[Ending, ...] = (Ending.PEER, Ending.RESET, Ending.VANISHED)
    can_splice = True

    def __init__(self, sock: socket.socket, sockaddr: SockAddr, clock: Clock, traffic: Traffic) -> None:
        self.sock = sock
        self.sockaddr = sockaddr
        self.is_local = not isinstance(sockaddr, tuple)
        self.header_size: int | None = 0
        self.clock = clock
        self.traffic = traffic
        self.greenlet: greenlet | None = None
        self.wake: Callable[..., None] | None = None
        self.accepted_at = self.last_byte_at = clock.now
        self.echoed = self.read = self.written = self.discarded = 0
        self.discarded_at = 0.0
        self.meter: Meter | None = None
        self.pace: Pace | None = None
        self.check_peer_at = self.deliver_by = math.inf
        self.passed: tuple[int, int] | None = None
        self.taken: tuple[int, int] | None = None
        self.took_at = 0.0
        self.is_read_out = False
        self.pending: memoryview | None = None
        self.end_reason: Ending | None = None
        self.phase = Phase.NEW
        self.due: int | None = None

    def end(self, ending: Ending) -> None:
        """Tell it to end, for the first reason it is given; any greenlet or loop callback may call this."""
        if self.end_reason is None:
            self.end_reason = ending
            self.sock.hub.loop.run_callback(self._throw, Ended)

    def cut(self) -> None:
        """Tell it to return at once, also while it ends."""
        self.sock.hub.loop.run_callback(self._throw, Cut)

    def begin(self) -> None:
        """Make it ready for its first byte, in its own greenlet.

        Raises:
            HandshakeFailed: it is a TLS connection, and its handshake failed.
            Ended: it was told to end.
        """

    def receive(self, size: int) -> bytes:
        """Read up to `size` bytes; b"" at the peer's FIN.

        Raises:
            OSError: the connection broke.
            Ended: it was told to end.
        """
        # Wait also when bytes are there already: each connection that is ready gets one message in a turn of the loop.
        socket.wait(self.sock._read_event)
        data: bytes = self.sock.recv(size)
        self.count_read(len(data))
        return data

    def send(self, data: memoryview) -> None:
        """Hand bytes to the kernel. The bytes that it does not take at once are pending.

        Raises:
            OSError: the connection broke; `pending` is as it was.
        """
        try:
            sent = self.sock._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent:
            self.count_written(sent)
        self.pending = data[sent:] if sent < len(data) else None

    def flush(self) -> None:
        """Send the pending bytes as the peer takes them. After an error the rest stays pending.

        Raises:
            OSError: the connection broke.
            Ended: it was told to end.
        """
        if self.pending is None:
            return
        wait, watcher = get_hub().switch, self.sock._write_event
        watcher.start(getcurrent().switch)
        try:
            while self.pending is not None:
                wait()
                self.send(self.pending)
        finally:
            watcher.stop()

    def end_stream(self) -> None:
        """Send FIN.

        Raises:
            OSError: the connection broke.
        """
        self.sock._sock.shutdown(socket.SHUT_WR)

    def discard(self, size: int) -> bytes:
        """Read up to `size` bytes that came after our FIN, without waiting; b"" at the peer's FIN.

        Raises:
            BlockingIOError: there is nothing now.
            OSError: the connection broke.
        """
        data: bytes = self.sock._sock.recv(size)
        if data:
            self.count_discarded(len(data))
        return data

    def is_broken_by(self, error: BaseException) -> bool:
        """Whether an error of reading or writing means that the connection broke."""
        return isinstance(error, OSError) and is_broken(error)

    def announce_input(self) -> None:
        """Call the read watcher's callback soon, if there is input that the kernel does not report any more."""

    def check_flood(self) -> None:
        """End it when its peer sends only records without payload."""

    def throw(self, kind: Raised, error: BaseException | None = None, traceback: TracebackType | None = None) -> None:
        """Raise an exception in its greenlet, from the hub. gevent does so when the socket is closed from elsewhere."""
        if self.greenlet is not None:
            self.greenlet.throw(kind, error, traceback)
        elif self.wake is not None:
            self.wake(self, kind if error is None else error)

    def _throw(self, kind: type[Ended]) -> None:
        # This runs in the hub, so the connection's greenlet is suspended. If another greenlet threw, it would then wait
        # for the hub, because a raw greenlet's parent is the hub. A greenlet that has not begun reads the end reason
        # when it begins; an exception would end it without closing its socket.
        wanted = (Phase.OPENING, Phase.OPEN) if kind is Ended else (Phase.OPENING, Phase.OPEN, Phase.ENDING)
        if self.phase in wanted:
            self.throw(kind)

    @property
    def channel(self) -> Any:
        return self.sock._sock

    @property
    def is_secured(self) -> bool:
        return True

    @property
    def is_truncated(self) -> bool:
        return False

    @property
    def received(self) -> int:
        """Bytes that were read before our FIN."""
        return self.echoed + self.read

    @property
    def has_spoken(self) -> bool:
        """Whether its peer has sent anything, as far as is known."""
        return bool(self.received or (self.passed and self.passed[0]))

    @property
    def carried(self) -> int:
        """Bytes in both directions. Bytes that the kernel is known to hold for the peer do not count yet."""
        if self.passed is not None and any(self.passed):
            return sum(self.passed)
        if self.taken is None or self.is_local:
            return self.received + self.sent
        return self.received + min(self.sent, self.taken[0])  # the kernel's count has the bytes of TLS records, too

    @property
    def sent(self) -> int:
        """Bytes that were handed to the kernel."""
        return self.echoed + self.written

    @property
    def owed(self) -> int:
        """Bytes of an echo connection that were received and not yet returned."""
        return self.read - self.written

    def count_read(self, size: int) -> None:
        """Count bytes that were read, and are not sent yet."""
        self.read += size
        self.traffic.read += size
        self.last_byte_at = self.clock.now

    def count_written(self, size: int) -> None:
        """Count bytes that the kernel took."""
        self.written += size
        self.traffic.written += size
        self.last_byte_at = self.clock.now

    def count_destroyed(self, size: int) -> None:
        """Count bytes that the kernel took and will not deliver: they are owed again."""
        self.written -= size
        self.traffic.written -= size
        self.traffic.destroyed += size

    def count_discarded(self, size: int) -> None:
        """Count bytes that were read after our FIN."""
        self.discarded += size
        self.traffic.discarded += size
        self.discarded_at = self.clock.now

    def info(self) -> ConnectionInfo:
        """A snapshot."""
        age = self.clock.read() - self.accepted_at
        return ConnectionInfo(
            Address.from_sockaddr(self.sockaddr), age, self.received + self.discarded, self.sent, self.phase
        )
