"""The kernel's arrival times of the bytes of a socket, as time.perf_counter_ns() counts.

With SO_TIMESTAMPNS (socket(7)) a recvmsg(2) also returns the time at which the last segment of its bytes arrived. A
Unix socket has no stamps. The kernel begins to stamp a moment after the first socket of the machine asked for stamps.

The stamps are of CLOCK_REALTIME, which may be set while a test runs. On Linux, CLOCK_REALTIME is CLOCK_MONOTONIC plus
an offset. NTP slews both alike: only a step changes the offset (clock_settime(2), a leap second).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from time import perf_counter_ns, time_ns
from typing import Any, Final

from gevent import socket

__all__ = ["CLOCK", "STAMP_SPACE", "StampClock", "stamp_arrivals"]

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; Python does not have it
STAMP: Final = struct.Struct("@ll")  # struct timespec: seconds and nanoseconds
STAMP_SPACE: Final = socket.CMSG_SPACE(STAMP.size)
"""Bytes of ancillary data that one stamp takes."""
NANOSECONDS: Final = 1_000_000_000
CLOCK_JITTER: Final = 10_000
"""Nanoseconds of change in the offset that do not count as a step. The two clocks are read one after the other: this
takes less than 100 ns (p99), and more in a virtual machine that reads them by a system call."""
READINGS: Final = 5
"""Pairs of readings. The closest pair counts: a thread may lose its core between two readings."""


def stamp_arrivals(sock: socket.socket) -> None:
    """Make the kernel stamp the bytes that arrive at a TCP socket."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


class StampClock:
    """Converts stamps, and detects steps of the clock that made them.

    Args:
        monotonic: nanoseconds of CLOCK_MONOTONIC.
        wall: nanoseconds of CLOCK_REALTIME.

    Attributes:
        offset: `wall` minus `monotonic`.
        steps: how many steps were detected.
    """

    __slots__ = ("monotonic", "offset", "steps", "wall")

    def __init__(self, monotonic: Callable[[], int] = perf_counter_ns, wall: Callable[[], int] = time_ns) -> None:
        self.monotonic = monotonic
        self.wall = wall
        self.steps = 0
        self.offset = self._read_offset()

    def arrival(self, ancillary: list[Any], read: int) -> int:
        """Convert the stamp of a recvmsg(2) that has just returned.

        Args:
            ancillary: the ancillary data, which is one stamp.
            read: when the recvmsg(2) returned.

        Returns:
            When the bytes arrived; 0 if the stamp is later than `read`. A stamp that was made before a step and is
            converted after it may be wrong: do not use the first arrival after a change of `steps`.
        """
        # If a thread loses its core between the two readings, the change does not last. A step lasts.
        if not -CLOCK_JITTER < self.wall() - read - self.offset < CLOCK_JITTER:
            offset = self._read_offset()
            if abs(offset - self.offset) > CLOCK_JITTER:
                self.steps += 1
            self.offset = offset
        seconds, nanoseconds = STAMP.unpack(ancillary[0][2])
        arrived: int = seconds * NANOSECONDS + nanoseconds - self.offset
        return arrived if arrived <= read else 0

    def _read_offset(self) -> int:
        readings = []
        for _ in range(READINGS):
            before = self.monotonic()
            wall = self.wall()
            readings.append((self.monotonic() - before, wall - before))
        return min(readings)[1]


CLOCK: Final = StampClock()
"""The clocks of this process."""
