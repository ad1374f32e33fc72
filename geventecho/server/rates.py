"""How much one connection may carry, and how fast: token buckets and the minimal rate."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["PACE_SECONDS", "Meter", "Pace"]

BURST_SECONDS: Final = 0.1
"""A connection may use its rate this long in advance."""
PACE_SECONDS: Final = 10.0
"""Seconds between two checks of a connection's minimal rate."""


class Meter:
    """How much one echo connection may still receive, and how fast.

    Args:
        max_bytes: bytes in all, or None.
        max_rate: bytes a second, or None.
        max_read: the largest single read, in bytes.
    """

    __slots__ = ("_free_at", "_left", "_max_read", "_rate")

    def __init__(self, max_bytes: int | None, max_rate: int | None, max_read: int) -> None:
        self._left = max_bytes
        self._rate = max_rate
        # Reads of a tenth of a second's worth make pauses short and the stream even.
        self._max_read = max_read if max_rate is None else max(1, min(max_read, int(max_rate * BURST_SECONDS)))
        self._free_at = 0.0

    @property
    def window(self) -> int:
        """Bytes the next read may take; 0 when `max_bytes` is used up."""
        return self._max_read if self._left is None else min(self._max_read, self._left)

    def spend(self, size: int) -> float:
        """Count a read of that size; returns the seconds to wait before the next read."""
        if self._left is not None:
            self._left -= size
        if self._rate is None:
            return 0.0
        now = time.monotonic()
        self._free_at = max(self._free_at, now - BURST_SECONDS) + size / self._rate
        return max(0.0, self._free_at - now)


class Pace:
    """Whether a connection keeps a minimal rate of bytes a second, checked every PACE_SECONDS.

    Both directions count together. Only a connection in use can be slow: it is owed bytes, or it carried some and
    was not silent for half of the time since the last check. Any other connection is idle, and `idle_timeout` ends
    it. The first check of a use says nothing, because the use may have begun a moment ago. When bytes were owed and the
    peer took none, the next check covers both periods, because kernels take bytes in lumps.

    Args:
        rate: bytes a second.
        now: the time of the server's clock, in seconds.
    """

    __slots__ = ("_carried", "_rate", "_since", "_used", "due")

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._since = now
        self._carried = 0
        self._used = False
        self.due = now + PACE_SECONDS

    def is_slow(self, carried: int, silent: float, now: float, *, owed: bool) -> bool:
        """Judge the time since the last check.

        Args:
            carried: bytes in both directions since the connection began.
            silent: seconds since the last of them.
            now: the time of the server's clock, in seconds.
            owed: whether bytes wait that the peer does not take.
        """
        self.due = now + PACE_SECONDS
        new, seconds = carried - self._carried, now - self._since
        if owed and not new:
            return False
        self._carried, self._since = carried, now
        used, self._used = self._used, owed or (new > 0 and silent < PACE_SECONDS / 2)
        return used and self._used and new < self._rate * seconds
