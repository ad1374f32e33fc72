"""The traffic of one connection: its bytes and its times.

All times are nanoseconds of time.perf_counter_ns().
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gevent import socket

from geventecho.net import STAMP_SPACE, StampClock

__all__ = ["Traffic"]

NANOSECONDS: Final = 1_000_000_000
UNKNOWN: Final = -1
"""Stands for the arrival of a first piece if the clock was stepped."""


class Traffic:
    """The bytes of a connection, and, if they are timed, the times of its last exchange.

    There is one exchange at a time. Without stamps (Unix sockets, TLS) the arrival of a piece is the time of its read.

    Attributes:
        bytes_sent: bytes that the kernel took from us.
        bytes_received: bytes that the kernel gave us.
        is_timed: whether the times are kept.
        sent_at: the time just before the first send(2) of the exchange.
        first_at: the arrival of the first piece of its reply. A piece is the data of one recv(2).
        arrived_at: the arrival of the last piece; 0 if it is unknown because the clock of the stamps was stepped.
        read_at: the time after the read of that piece; 0 for a piece without a stamp.
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
            sock: the connected socket. All sockets but Unix sockets have stamps.
            clock: converts the stamps.

        Returns:
            The function to receive with, instead of the socket's `recv`.
        """
        self.is_timed = True
        self._clock = clock
        self._steps = clock.steps
        self._recv: Callable[..., Any]
        if sock.family == socket.AF_UNIX:  # recvmsg(2) would take descriptors that the peer passes
            self._recv = sock._sock.recv
            return self._receive
        self._recv = sock._sock.recvmsg
        return self._receive_stamped

    def timed_by_reads(self, receive: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Receive by a function without stamps from now on. TLS reads when its records need it."""
        self._recv = receive
        self.arrived_at = self.read_at = 0
        return self._receive

    def begin(self) -> None:
        """Begin an exchange. Call it just before its first send(2)."""
        self.first_at = 0
        self.sent_at = self._clock.monotonic()

    def begin_message(self) -> None:
        """Begin a message. Unlike `begin`, keep the times of a reply that another greenlet may be receiving."""
        self.sent_at = self._clock.monotonic()

    def end(self) -> None:
        """End an exchange without a reply. Call it when its last byte is sent."""
        self.first_at = self.arrived_at = self._clock.monotonic()
        self.read_at = 0

    @property
    def seconds(self) -> float:
        """Seconds from the send to the arrival of the whole reply, or to its read if the arrival is unknown."""
        is_known = self.arrived_at > self.sent_at
        return ((self.arrived_at if is_known else self.read_at) - self.sent_at) / NANOSECONDS

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
        else:  # the peer's FIN, or the kernel has only just begun to stamp
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
