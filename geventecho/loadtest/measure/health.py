"""Samples of this process's health once a second, from the event loop and the operating system.

A timer ticks on the event loop. A tick is late if the loop served other users, collected garbage or waited for a core,
or if the whole process was stopped. The same delay makes requests late. A tick takes 3 us and a sample 65 us: 0.1 % of
a core, or 0.6 % if the process sleeps between ticks and must wake for each tick.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import astuple
from time import perf_counter
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from locust.env import Environment

from geventecho.loadtest.measure.account import Account, account_of
from geventecho.loadtest.measure.processor import Processor
from geventecho.loadtest.measure.seconds import second_of
from geventecho.net import InstantTimer
from geventecho.results import HealthSecond

__all__ = ["Health", "health_of"]

TICK: Final = 0.017
"""Seconds between two ticks. No even rate of requests has the same period. A shorter pause may go unnoticed."""
COUNTED: Final = ("planned", "sent", "late", "dropped", "waited", "lost", "connects")
"""Counts of the account whose increase is in a sample."""


class Health:
    """The health samples of this process.

    Args:
        account: the account of the users.
        users: a function that returns the number of users.
    """

    def __init__(self, account: Account, users: Callable[[], int]) -> None:
        self._account = account
        self._users = users
        self._samples: list[HealthSecond] = []
        self._timer: InstantTimer | None = None
        self._counts = self._counters()
        self._held: dict[str, int] = {}
        self._is_new = True

    def start(self) -> None:
        """Start sampling for a new test."""
        self.stop()
        self._samples.clear()
        self._counts = self._counters()
        self._begin()

    def hold(self) -> None:
        """Keep the present users and connections for later samples: the users are about to end."""
        self._held = self._gauges()

    def _begin(self) -> None:
        self._is_new = False
        self._held = {}
        self._processor = Processor()
        self._begun = self._next = perf_counter()
        self._suspended = _suspended_seconds()
        self._second = second_of(time.perf_counter_ns())
        self._lag = 0.0
        self._timer = InstantTimer(self._tick)
        self._plan_tick(self._timer)

    def stop(self) -> None:
        """Stop sampling, with a sample of the unfinished second."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
            self._sample(perf_counter())
            self._processor.close()

    def take(self) -> list[list[Any]]:
        """Return and forget the samples since the last call: lists of numbers, see `HealthSecond`."""
        if self._is_new and self._users():
            # The master gives users to a late worker at once. The worker may not have got the start of the test.
            self._begin()
        taken = [list(astuple(sample)) for sample in self._samples]
        self._samples.clear()
        return taken

    def _tick(self) -> None:
        now = perf_counter()
        self._lag = max(self._lag, now - self._next)
        if (second := second_of(int(now * 1e9))) != self._second:
            self._sample(now)
            self._second = second
        if self._timer is not None:
            self._plan_tick(self._timer)

    def _plan_tick(self, timer: InstantTimer) -> None:
        missed = math.floor((perf_counter() - self._next) / TICK)
        self._next += (missed + 1) * TICK
        timer.set(self._next)

    def _sample(self, now: float) -> None:
        """Make the sample of the second that began with the last sample."""
        span = max(now - self._begun, 1e-6)
        used, counts, suspended = self._processor.used(), self._counters(), _suspended_seconds()
        started, ended, *planned = (new - old for new, old in zip(counts, self._counts, strict=True))
        self._samples.append(
            HealthSecond(
                second=self._second,
                span=span,
                lag=max(self._lag, suspended - self._suspended),
                cpu=used.cpu / span,
                core=used.core,
                wait=None if used.wait is None else used.wait / span,
                throttled=None if used.throttled is None else used.throttled / span,
                steal=used.steal,
                started=started,
                ended=ended,
                **(self._held or self._gauges()),
                **dict(zip(COUNTED, planned, strict=True)),
            )
        )
        self._begun, self._counts, self._suspended, self._lag = now, counts, suspended, 0.0

    def _gauges(self) -> dict[str, int]:
        account = self._account
        return {
            "in_flight": account.started - account.ok - account.failed - account.aborted,
            "users": self._users(),
            "pausing": account.pausing,
            "open": account.open,
            "opening": account.opening,
        }

    def _counters(self) -> tuple[int, ...]:
        account = self._account
        return account.started, account.ok + account.failed, *(getattr(account, name) for name in COUNTED)


def _suspended_seconds() -> float:
    """Seconds for which the machine was suspended: CLOCK_BOOTTIME counts them, CLOCK_MONOTONIC does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


_healths: Final[WeakKeyDictionary[Environment, Health]] = WeakKeyDictionary()


def health_of(environment: Environment) -> Health:
    """The health samples of this process for an environment; each test resets them."""
    health = _healths.get(environment)
    if health is None:
        known = ref(environment)  # a strong reference in the dictionary would keep the environment alive for ever

        def users() -> int:
            environment = known()
            runner = environment.runner if environment is not None else None
            return runner.user_count if runner is not None else 0

        health = _healths[environment] = Health(account_of(environment), users)
        environment.events.test_start.add_listener(lambda **_: _healths[environment].start())
        environment.events.test_stopping.add_listener(lambda **_: _healths[environment].hold())
        environment.events.test_stop.add_listener(lambda **_: _healths[environment].stop())
    return health
