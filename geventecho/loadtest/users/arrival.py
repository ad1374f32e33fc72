"""Many users in one process: how they arrive, and what their number does to the cycle collector."""

from __future__ import annotations

import gc
import random
from typing import Final

__all__ = ["CROWD", "Burst", "Crowd"]

BURST_RATE: Final = 1000.0
"""Connects a second that the users of one burst may cause."""


class Burst:
    """The users that Locust spawned together.

    Locust spawns floor(rate) users in one instant, then waits a second: at a rate of 1,000 there are a thousand
    connects in the same millisecond. They queue behind each other in this process, and their connect times measure
    that queue. So each user first waits for a random part of the time that the burst takes at 1,000 connects a
    second, or of one second if that is less.

    This keeps connects apart. Tasks are kept apart by `TcpUser.wait_time`: after one random wait the users of a
    burst are spread evenly over the think time.

    Attributes:
        size: users in it.
    """

    def __init__(self) -> None:
        self.size = 0

    def delay(self) -> float:
        """Return the seconds that one of its users waits before it connects."""
        return random.random() * min(1.0, self.size / BURST_RATE)  # noqa: S311


class Crowd:
    """The users of this process.

    Each stays until the test ends, and the cycle collector would go through all of them again and again: with 10,000
    users for half a second at a time, in which no user sends or receives. So before more users come, those that are
    there are hidden from it (gc.freeze). When the last one has gone, they are shown to it again.
    """

    def __init__(self) -> None:
        self._users = 0
        self._burst: Burst | None = None
        self._freezes = False
        self._frozen_before = False

    def freeze(self) -> None:
        """Hide users from the cycle collector from now on. Without this call it is left alone."""
        if not self._freezes:
            self._freezes = True
            # `locust --processes` freezes what its workers share with it, to keep them small.
            self._frozen_before = gc.get_freeze_count() > 0

    def arrive(self) -> Burst:
        """Count a user that was made, and return the burst it belongs to."""
        self._users += 1
        if self._burst is None:
            if self._freezes:
                gc.freeze()
            self._burst = Burst()
        self._burst.size += 1
        return self._burst

    def begin(self) -> None:
        """End the burst: one of its users runs, so Locust has spawned all of them."""
        self._burst = None

    def leave(self) -> None:
        """Count a user that has ended."""
        self._users -= 1
        if self._users == 0 and self._freezes:
            gc.unfreeze()
            if self._frozen_before:
                gc.collect()
                gc.freeze()


CROWD: Final = Crowd()
"""All users of this process."""
