"""The arrivals of tasks in open mode. They are planned before the test and do not depend on the server's speed.

A user that waits for each reply sends less while the server is slow. So only few requests measure the slow time
(coordinated omission). In open mode each task has a planned instant.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Arrivals", "stages_after"]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrivals of a whole test.

    Attributes:
        stages: consecutive pairs of tasks a second and length in seconds; math.inf for a stage without end.
        kind: "even" for equal distances, or "poisson" for exponential distances.
        seed: the seed of the random distances.
    """

    stages: Sequence[tuple[float, float]]
    kind: str
    seed: int | str

    def instants(self, worker: int, workers: int) -> Iterator[float]:
        """Yield the instants of one worker's tasks, in seconds from the start of the test.

        Workers take even arrivals in turn: the first worker takes the first instant, the second worker the second, and
        so on. So the arrivals of all workers together are even. Poisson arrivals of several workers add up to Poisson
        arrivals.

        Args:
            worker: the number of the worker, from 0.
            workers: the number of workers.
        """
        return self._poisson(worker, workers) if self.kind == "poisson" else self._even(worker, workers)

    def _even(self, worker: int, workers: int) -> Iterator[float]:
        begun, number = 0.0, 0  # the start of the stage, and the number of its first instant
        for rate, seconds in self.stages:
            first = (worker - number) % workers
            if math.isinf(seconds):
                yield from (begun + place / rate for place in itertools.count(first, workers))
            count = math.ceil(rate * seconds - 1e-9)  # 1.1 * 50 is a little more than 55
            yield from (begun + place / rate for place in range(first, count, workers))
            begun, number = begun + seconds, number + count

    def _poisson(self, worker: int, workers: int) -> Iterator[float]:
        draw = random.Random(f"{self.seed}/{worker}").expovariate  # noqa: S311
        begun = 0.0
        for rate, seconds in self.stages:
            # A new draw at the start of a stage is correct: the exponential distribution is memoryless.
            at, end = begun + draw(rate / workers), begun + seconds
            while at < end:
                yield at
                at += draw(rate / workers)
            begun = end


def stages_after(stages: Sequence[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Return the stages that remain after a number of seconds, each with its rate and its remaining seconds."""
    left = []
    for rate, lasts in stages:
        if lasts > seconds:
            left.append((rate, lasts - seconds))
        seconds = max(0.0, seconds - lasts)
    return left
