"""Many users in one process: how they arrive, and what their number does to the cycle collector."""

from __future__ import annotations

import gc
import random
from typing import Final

__all__ = ["CROWD", "Burst", "Crowd"]

# Connects a second that one spawn may cause, see `Burst`.
BURST_RATE: Final = 1000.0


class Burst:
    """The users that were spawned at one stroke.

    Locust spawns floor(rate) users at once, then waits: at 1,000 a second, a thousand connects in the same millisecond.
    They would queue behind each other in this process, measure that queue as connect time, and go on in step. So each
    user waits first, for a random time within that which its burst takes at 1,000 a second, a second at most.
    """

    def __init__(self) -> None:
        self.size = 0

    def delay(self) -> float:
        """Seconds for one of its users to wait before it connects."""
        return random.random() * min(1.0, self.size / BURST_RATE)  # noqa: S311


class Crowd:
    """The users of this process.

    Each is there to stay until the test ends, and the cycle collector would go through all of them again and again:
    with 10,000 for half a second at a time, in which nobody sends or receives. So before more users come, those that
    are there are taken out of its sight (gc.freeze), and given back when the last one has gone.
    """

    def __init__(self) -> None:
        self._users = 0
        self._burst: Burst | None = None

    def arrive(self) -> Burst:
        """A user was made; returns the burst it belongs to."""
        self._users += 1
        if self._burst is None:
            gc.freeze()
            self._burst = Burst()
        self._burst.size += 1
        return self._burst

    def begin(self) -> None:
        """A user runs: no more will join its burst."""
        self._burst = None

    def leave(self) -> None:
        """A user has gone."""
        self._users -= 1
        if self._users == 0:
            gc.unfreeze()


CROWD: Final = Crowd()
"""All of them."""
