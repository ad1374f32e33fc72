"""The planner of one process: each planned instant goes to the user that has been idle longest.

If an instant falls due while every user is busy, it waits. The next free user takes the oldest waiting instant. After
the maximal lateness an instant is dropped. An instant is never moved.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from time import perf_counter
from typing import Final
from weakref import WeakKeyDictionary

from gevent import get_hub, getcurrent
from greenlet import greenlet
from locust.env import Environment
from locust.runners import WorkerRunner

from geventecho.loadtest.measure import Account, account_of
from geventecho.loadtest.settings import given, options_of
from geventecho.net import InstantTimer

__all__ = ["Planner", "has_plan", "planner_of"]

LATE: Final = 0.001
"""A task that begins more than this many seconds after its instant counts as late."""
WAKE_AHEAD: Final = 0.0001
"""Seconds before an instant at which the hub wakes and polls the clock. An idle core takes 70 µs to run again, with
cold caches. At 100 tasks a second the median task was sent 0.17 ms late without an early wake, and 0.08 ms late with
it."""
MIN_DISTANCE: Final = 0.005
"""The hub wakes early only if the next instant is more than this many seconds away: an early wake takes 25 µs of the
core. With 0.002 s, tasks after short and long distances had different delays: the distribution of 400 Poisson arrivals
a second was off by 0.02 (Kolmogorov-Smirnov)."""


class Planner:
    """Makes users wait for planned instants.

    The account counts an instant as planned when it falls due, and as dropped until a user takes it. So planned = sent
    + dropped at every moment, even in the last report of a process that is killed.

    Args:
        account: counts the instants.

    Attributes:
        active: whether there is a plan.
    """

    def __init__(self, account: Account) -> None:
        self.active = False
        self._account = account
        self._idle: OrderedDict[greenlet, None] = OrderedDict()
        self._waiting: deque[float] = deque()
        self._dropped: list[float] = []
        self._start = 0.0
        self._instants: Iterator[float] = iter(())
        self._next = math.inf
        self._early = 0.0
        self._max_lateness = math.inf
        self._timer: InstantTimer | None = None

    def follow(self, start: float, instants: Iterator[float], max_lateness: float) -> None:
        """Follow a plan from now on. Waiting instants of the previous plan go on waiting.

        The plan begins when a user first waits for an instant. Earlier instants are not part of this process's test.

        Args:
            start: the start of the plan, as time.perf_counter() counts.
            instants: seconds from the start, ascending.
            max_lateness: seconds after which a waiting instant is dropped.
        """
        self._count_due()
        if self._idle and self._waiting:
            get_hub().loop.run_callback(self._assign_waiting)
        self.active = True
        self._start, self._instants, self._max_lateness = start, instants, max_lateness
        self._next = math.inf
        if self._timer is not None or self._idle:
            self._begin()

    def stop(self) -> None:
        """End the plan. Instants that fell due are counted, and waiting instants are dropped."""
        self._count_due()
        self.active = False
        self._next = math.inf
        self._dropped += self._waiting
        self._account.waiting -= len(self._waiting)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def take(self) -> float:
        """Wait until the calling greenlet gets an instant, and count it as sent.

        Returns:
            The instant, as time.perf_counter() counts.
        """
        if self._timer is None and self.active:
            self._begin()
        now = perf_counter()
        self._drop_late(now)
        instant = self._take_waiting() if self._waiting else self._wait(now)
        self._account.sent += 1
        if perf_counter() > instant + LATE:
            self._account.late += 1
        return instant

    def take_dropped(self) -> list[float]:
        """Return the instants that were finally dropped since the last call, as time.perf_counter() counts.

        Waiting instants are not among them, though the account counts these as dropped.
        """
        dropped, self._dropped = self._dropped, []
        return dropped

    def _wait(self, now: float) -> float:
        """Wait among the idle users.

        If an instant has fallen due, the timer is hastened. By itself the hub would check the timer only after it has
        read all replies that have arrived. On a busy generator this would be a third of the worst delays.
        """
        user = getcurrent()
        self._idle[user] = None
        if self._next <= now and self._timer is not None:
            self._timer.hasten()
        try:
            return float(get_hub().switch())
        except BaseException:
            self._idle.pop(user, None)
            raise

    def _begin(self) -> None:
        """Skip past instants, and set the timer for the next one."""
        now = perf_counter()
        self._advance()
        while self._next < now:
            self._advance()
        self._timer = self._timer or InstantTimer(self._fall_due, first=True)
        self._set(self._timer)

    def _set(self, timer: InstantTimer) -> None:
        """Set the timer for the next instant."""
        self._early = WAKE_AHEAD if self._next - perf_counter() > MIN_DISTANCE else 0.0
        timer.set(self._next - self._early)

    def _advance(self) -> None:
        self._next = self._start + next(self._instants, math.inf)

    def _take_next(self) -> float:
        """Count the next instant as planned, return it, and advance."""
        instant = self._next
        self._advance()
        self._account.planned += 1
        return instant

    def _fall_due(self) -> None:
        """Assign the instants that have fallen due. A user runs at once, until it waits for something."""
        now = perf_counter()
        while 0 < self._next - now <= self._early:
            now = perf_counter()
        while self._next <= now:
            instant = self._take_next()
            if self._idle:
                user, _ = self._idle.popitem(last=False)
                user.switch(instant)
                now = perf_counter()
            else:
                self._enqueue(instant)
        if self._timer is not None:  # a user may have stopped the test
            self._set(self._timer)

    def _assign_waiting(self) -> None:
        """Assign the instants that fell due just before the plan changed: an idle user does not take them itself."""
        while self._idle and self._waiting:
            user, _ = self._idle.popitem(last=False)
            user.switch(self._take_waiting())

    def _count_due(self) -> None:
        """Count the instants that have fallen due since the last wake of the timer."""
        now = perf_counter()
        while self._next <= now:
            self._enqueue(self._take_next())

    def _enqueue(self, instant: float) -> None:
        self._drop_late(instant)
        self._waiting.append(instant)
        self._account.dropped += 1
        self._account.waiting += 1
        self._account.waited += 1

    def _take_waiting(self) -> float:
        self._account.dropped -= 1
        self._account.waiting -= 1
        return self._waiting.popleft()

    def _drop_late(self, now: float) -> None:
        waiting, oldest = self._waiting, now - self._max_lateness
        while waiting and waiting[0] < oldest:
            self._dropped.append(waiting.popleft())
            self._account.waiting -= 1


_planners: Final[WeakKeyDictionary[Environment, Planner]] = WeakKeyDictionary()


def planner_of(environment: Environment) -> Planner:
    """The planner of this process's users in an environment."""
    planner = _planners.get(environment)
    if planner is None:
        planner = _planners[environment] = Planner(account_of(environment))
    return planner


def has_plan(environment: Environment) -> bool:
    """Whether a user that starts now follows a plan. A worker may get its users before its part of the plan."""
    awaits_part = isinstance(environment.runner, WorkerRunner) and given(options_of(environment), "arrival_rate")
    return planner_of(environment).active or bool(awaits_part)
