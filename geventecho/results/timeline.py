"""The parts of a test: its warm-up, its measured part, its stages, and the spans of unchanged load.

Instants are seconds on the clock of the blocks. A block is a whole second. A second in which one stage ends and the
next begins has the load of both, so it belongs to neither. The second in which the warm-up ends belongs to the warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, TypeVar

__all__ = ["Span", "Timeline"]

SHORTEST: Final = 10.0
"""Seconds for which a shape's users and spawn rate must not change, to be a stage."""
TICK: Final = 1.0
"""Seconds between two questions of Locust to the shape. So a stage may look shorter than it is."""

Stages = Sequence[tuple[float, float]]
"""Arrival rates with their lengths in seconds; empty if a plan ends."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a test.

    Attributes:
        first: the first whole second.
        end: the first whole second after the span.
        duration: the length in seconds; less than `end - first` at the start and the end of the test.
        users, spawn_rate: the users and the spawn rate of a shape; None without a shape.
        rate: planned tasks a second; None without a plan.
    """

    first: int
    end: int
    duration: float
    users: int | None = None
    spawn_rate: float | None = None
    rate: float | None = None


class Timeline:
    """The changes of load in a test, each with its instant.

    Args:
        now: the start of the test.
        warm_up: the length of the warm-up in seconds.
        boundaries: the set to which the timeline adds the first seconds of parts.

    Attributes:
        begun: the start of the test.
        ended: the end of the test; None while it runs.
        seen: the first second that has a block, and the second after the last block.
    """

    def __init__(self, now: float, warm_up: float, boundaries: set[int]) -> None:
        self.begun = now
        self.ended: float | None = None
        self._boundaries = boundaries
        self.seen = (int(now), int(now))
        self._restarted = -math.inf
        self._plans: list[tuple[float, Stages]] = []
        self._shapes: list[tuple[float, tuple[int, float]]] = []
        self._users: list[tuple[float, int]] = [(now, 0)]
        if warm_up:
            self.restart(now + warm_up)

    def restart(self, at: float) -> None:
        """Restart the measured part at an instant. An instant within the warm-up has no effect."""
        self._restarted = max(self._restarted, self._begin(at))

    def follow_plan(self, now: float, stages: Stages) -> None:
        """A plan begins."""
        if not self._plans:
            now = self.begun  # the first plan of a test begins with the test
        self._plans.append((now, stages))
        for at, _ in _rates([(now, stages)]):
            self._change(at)

    def follow_shape(self, now: float, users: int, spawn_rate: float) -> None:
        """A shape asks for this number of users."""
        if not self._shapes:
            now = self.begun  # the first request of a shape starts the test
        if not self._shapes or self._shapes[-1][1] != (users, spawn_rate):
            self._shapes.append((now, (users, spawn_rate)))
            self._change(now)

    def see(self, second: int) -> None:
        """Note that a second has a block. It may be outside of the test: users may end late, and clocks may differ."""
        first, end = self.seen
        self.seen = (min(first, second), max(end, second + 1))

    def count_users(self, now: float, users: int) -> None:
        """The number of running users has changed."""
        if self._users[-1][1] != users:
            self._users.append((now, users))

    @property
    def measured_from(self) -> int:
        """The first second of the measured part."""
        return max(self.seen[0], int(self._restarted)) if self._has_warm_up else self.seen[0]

    def measured(self, now: float) -> Span:
        """The measured part up to the end, or up to now; its duration is 0 while the warm-up lasts."""
        end = self._end(now)
        return self._span(self.measured_from, end, end)

    def warm_up(self, now: float) -> Span | None:
        """The part before the measured part; None without a warm-up."""
        if not self._has_warm_up:
            return None
        end = self._end(now)
        return self._span(self.seen[0], min(self.measured_from, end), end)

    def stages(self, now: float) -> list[Span]:
        """The stages of the measured part: spans with one arrival rate and with unchanged values of a shape.

        A stage has only whole seconds of its own load. A stage without such a second is left out.
        """
        end, rates = self._end(now), list(_rates(self._plans))
        cuts = sorted({at for at, _ in (*rates, *self._shapes) if at < end})
        found = []
        for start, stop in pairwise([*cuts, end]):
            rate, shape = _last(rates, start), _last(self._shapes, start)
            if (shape is None and rate is None) or (shape is not None and stop - start < SHORTEST - TICK / 2):
                continue
            first = max(self._first(start), self.measured_from)
            span = self._span(first, stop if stop >= end else math.floor(stop), end, shape, rate)
            if span.duration > 0:
                found.append(span)
        return found

    def asked(self, now: float) -> float:
        """The number of tasks that the arrival rates ask for in the measured part; 0 without an arrival rate."""
        measured, rates = self.measured(now), list(_rates(self._plans))
        begun, end = max(measured.first, self.begun), self._end(now)
        stops = [*(at for at, _ in rates[1:]), math.inf]
        return sum(
            (rate or 0.0) * max(0.0, min(stop, end) - max(start, begun))
            for (start, rate), stop in zip(rates, stops, strict=False)
        )

    def steady(self, now: float) -> list[tuple[int, int]]:
        """The spans of the measured part without a change of users or rate, as [first second, end)."""
        measured = self.measured(now)
        changes = {at for at, _ in (*self._users, *_rates(self._plans))}
        inside = {at for at in changes if measured.first < at < measured.end}
        spans = pairwise(sorted(inside | {measured.first, measured.end}))
        whole = ((math.ceil(start), math.floor(stop)) for start, stop in spans)
        return [(first, end) for first, end in whole if first < end]

    def _begin(self, at: float) -> int:
        second = self._first(at)
        self._boundaries.add(second)
        return second

    def _change(self, at: float) -> None:
        """Note that the load changes at an instant."""
        self._boundaries.add(math.floor(at))
        self._begin(at)

    def _first(self, at: float) -> int:
        """The first second of a part that begins at an instant."""
        return self.seen[0] if at <= self.begun else math.ceil(at)

    @property
    def _has_warm_up(self) -> bool:
        return self._restarted > self.begun

    def _end(self, now: float) -> float:
        return now if self.ended is None else self.ended

    def _span(
        self,
        first: int,
        stop: float,
        end: float,
        shape: tuple[int, float] | None = None,
        rate: float | None = None,
    ) -> Span:
        """A part from a whole second to an instant `stop`, at most the end of the test."""
        after = max(first, math.ceil(stop))
        duration = max(0.0, min(after, end) - max(first, self.begun))
        if stop >= end and self.ended is not None:
            after = max(after, self.seen[1])
        users, spawn_rate = shape or (None, None)
        return Span(first, after, duration, users, spawn_rate, rate)


def _rates(plans: Sequence[tuple[float, Stages]]) -> Iterator[tuple[float, float | None]]:
    """Yield (start, rate) of all stages of the plans, and (end, None) if a plan ends before the next plan begins."""
    nexts = [*(at for at, _ in plans[1:]), math.inf]
    for (begun, stages), next_plan in zip(plans, nexts, strict=False):
        starts = accumulate((seconds for _, seconds in stages), initial=begun)
        rates = (*(rate for rate, _ in stages), None)
        yield from ((at, rate) for at, rate in zip(starts, rates, strict=True) if at < next_plan)


def _last(changes: Iterable[tuple[float, T]], at: float) -> T | None:
    """The value of the last change up to an instant; None before the first change."""
    value = None
    for when, changed in changes:
        if when <= at:
            value = changed
    return value
