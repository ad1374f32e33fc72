"""The traffic of one connection: its bytes and its times.

All times are nanoseconds as time.perf_counter_ns() counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gevent import socket

from geventecho.net import STAMP_SPACE, StampClock

__all__ = ["Traffic"]

NANOSECONDS: Final = 1_000_000_000
UNKNOWN: Final = -1
"""Instead of the arrival of a first piece, where the clock was stepped."""


class Traffic:
    """The bytes of a connection, and, if they are timed, the times of its last exchange.

    There is one exchange at a time. Without stamps (Unix sockets, TLS) a piece arrives when it is read.

    Attributes:
        bytes_sent: bytes that the kernel took from us.
        bytes_received: bytes that we took from the kernel.
        is_timed: whether the times are kept.
        sent_at: just before the first send(2) of the exchange.
        first_at: when the first piece of its reply arrived. A piece is what one recv(2) returns.
        arrived_at: when the last piece arrived; 0 where that is unknown, because the clock of the stamps was stepped.
        read_at: when we had read that piece; 0 where it has no stamp.
    """

    __slots__ = (
        "_clock", "_recv", "_steps", "arrived_at", "bytes_received", "bytes_sent", "first_at", "is_timed", "read_at",
        "sent_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bytes_sent = self.bytes_received = 0
        self.is_timed = False
        self.sent_at = self.first_at = self.arrived_at = self.read_at = 0

    def timed(self, sock: socket.socket, clock: StampClock) -> Callable[[int], bytes]:
        """Keep the times from now on.

        Args:
            sock: the connected socket. Unless it is a Unix one, it has stamps.
            clock: converts them.

        Returns:
            The function to receive with, instead of the socket's `recv`.
        """
        self.is_timed = True
        self._clock = clock
        self._steps = clock.steps
        self._recv: Callable[..., Any]
        if sock.family == socket.AF_UNIX:  # there recvmsg(2) would take descriptors that the peer passes
            self._recv = sock._sock.recv
            return self._receive
        self._recv = sock._sock.recvmsg
        return self._receive_stamped

    def timed_by_reads(self, receive: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Receive by another function from now on, through which no stamps come: TLS reads as its records need it."""
        self._recv = receive
        self.arrived_at = self.read_at = 0
        return self._receive

    def begin(self) -> None:
        """Begin an exchange. Call it just before its first send(2)."""
        self.first_at = 0
        self.sent_at = self._clock.monotonic()

    def begin_message(self) -> None:
        """Begin a message. Unlike `begin` it keeps the times of a reply that another greenlet may be receiving."""
        self.sent_at = self._clock.monotonic()

    def end(self) -> None:
        """End an exchange without a reply. Call it when its last byte is sent."""
        self.first_at = self.arrived_at = self._clock.monotonic()
        self.read_at = 0

    @property
    def seconds(self) -> float:
        """From the send to the arrival of the whole reply, or to the read where the arrival is unknown."""
        known = self.arrived_at > self.sent_at
        return ((self.arrived_at if known else self.read_at) - self.sent_at) / NANOSECONDS

    def _receive_stamped(self, size: int) -> bytes:
        data: bytes
        data, ancillary, _, _ = self._recv(size, STAMP_SPACE)
        clock = self._clock
        read = clock.monotonic()
        if ancillary:
            arrived = clock.arrival(ancillary, read)
            self.read_at = read
            if self._steps != clock.steps:
                self._steps = clock.steps
                arrived = 0
        else:  # the peer's FIN, or a machine that has just begun to stamp
            arrived = read
            self.read_at = 0
        self.arrived_at = arrived
        if not self.first_at:
            self.first_at = arrived or UNKNOWN
        return data

    def _receive(self, size: int) -> bytes:
        data: bytes = self._recv(size)
        self.arrived_at = arrived = self._clock.monotonic()
        if not self.first_at:
            self.first_at = arrived
        return data
