"""Who was turned away, told in one line a second at most: a flood of clients must not become a flood of lines."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Final

from gevent import get_hub

__all__ = ["RefusalLog"]

logger = logging.getLogger("geventecho.server")

SECOND: Final = 1.0


class RefusalLog:
    """Adds up for a second, then tells."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._timer: Any = None

    def add(self, why: str, count: int = 1) -> None:
        """Count clients that were turned away; in the hub, it does not block."""
        self._counts[why] += count
        if self._timer is None:
            self._timer = get_hub().loop.timer(SECOND, ref=False)
            self._timer.start(self.tell)

    def tell(self) -> None:
        """Tell now what has been counted, if anything has."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self._counts:
            reasons = ", ".join(f"{why} {count}" for why, count in self._counts.items())
            self._counts.clear()
            logger.warning("clients turned away within a second: %s", reasons)
