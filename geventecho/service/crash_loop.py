"""When a worker that ended may be replaced."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["CrashLoop"]

MIN_LIFETIME: Final = 5.0
"""A worker that ends by itself in this many seconds of its life is part of a crash loop."""
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
QUIET: Final = 30.0
"""Seconds after the last such end after which the next one is the first of a row again."""
ENDS: Final = 10
"""Ends in a row after which no worker is started any more; with the delays between them that takes 20 seconds."""


class CrashLoop:
    """Counts workers that end soon, in a row, and delays their replacement: 0.1 s, doubled each time, at most 5 s."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._not_before = 0.0
        self._last = 0.0

    def count(self, age: float) -> bool:
        """Count the end of a worker of that age in seconds, which nobody else caused; return whether it is the last."""
        last, self._last = self._last, time.monotonic()
        if self._last - last > QUIET:
            self._in_a_row = 0
        self._in_a_row = self._in_a_row + 1 if age < MIN_LIFETIME else 0
        if self._in_a_row:
            self.wait(FIRST_DELAY * 2.0 ** (self._in_a_row - 1))
        return self._in_a_row >= ENDS

    def wait(self, seconds: float = FIRST_DELAY) -> None:
        """Start no worker for that long, LONGEST_DELAY at most, or for longer if that was said before."""
        self._not_before = max(self._not_before, time.monotonic() + min(seconds, LONGEST_DELAY))

    def delay(self) -> float:
        """Seconds until a worker may be started."""
        return max(0.0, self._not_before - time.monotonic())
