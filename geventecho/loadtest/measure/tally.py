"""Locust's count of requests, in bulk.

Locust counts each request in its row and in the total. Each count reads the clock, rounds the response time and calls
half a dozen functions: a seventh of the cost of a user without pauses. `Successes` instead keeps the successes of
`TcpUser`s and counts them together, at the latest when the statistics are read. It is used only if this Locust counts
exactly in the same way and rounds as `bucket` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import repeat
from operator import add, floordiv
from time import time as seconds_of_the_clock
from typing import Any, Final

from locust import stats
from locust.env import Environment
from locust.event import EventHook
from locust.stats import RequestStats, StatsEntry

from geventecho.loadtest.locust_internals import cache_response_times, listeners_of
from geventecho.loadtest.measure.precision import bucket

__all__ = ["MILLISECOND", "DeferredStats", "Successes", "counter_of"]

# The functions that count a request. A plugin may have replaced one of them.
STEPS = ((RequestStats, "log_request"), (StatsEntry, "log"))
MILLISECOND: Final = 1_000_000  # in nanoseconds
# Units for times of three digits: the unit, then the range of its times, in nanoseconds.
UNITS: Final = ((100, 0, 100_000), *((10**power, 10 ** (power + 2), 10 ** (power + 3)) for power in range(3, 15)))
# Attributes that are not compared: the reference to all statistics, and clock times, which differ by microseconds.
NOT_COMPARED = frozenset({"stats", "start_time", "last_request_timestamp"})


class DeferredStats(RequestStats):
    """Locust's statistics with deferred counts: each read first counts the operations that are kept for it.

    The load test changes the class of Locust's instance to this class.

    Attributes:
        count_deferred: counts the kept operations.
    """

    count_deferred: Callable[[], None]
    _logs = False

    @property
    def total(self) -> StatsEntry:
        """The sum of all rows."""
        total: StatsEntry = self._read("total")
        return total

    @total.setter
    def total(self, entry: StatsEntry) -> None:
        vars(self)["total"] = entry

    @property
    def entries(self) -> dict[tuple[str, str], StatsEntry]:
        """The rows, by name and type."""
        entries: dict[tuple[str, str], StatsEntry] = self._read("entries")
        return entries

    @entries.setter
    def entries(self, entries: dict[tuple[str, str], StatsEntry]) -> None:
        vars(self)["entries"] = entries

    def _read(self, name: str) -> Any:
        if not self._logs:
            self.count_deferred()
        return vars(self)[name]

    # A count of one request or one error does not need the kept operations.

    def log_request(self, *arguments: Any, **named: Any) -> None:
        """Count a request, as Locust does."""
        self._log(super().log_request, *arguments, **named)

    def log_error(self, *arguments: Any, **named: Any) -> None:
        """Count a failure, as Locust does."""
        self._log(super().log_error, *arguments, **named)

    def _log(self, log: Callable[..., None], *arguments: Any, **named: Any) -> None:
        self._logs = True
        try:
            log(*arguments, **named)
        finally:
            self._logs = False

    def clear_all(self) -> None:
        """Remove all rows."""
        self.count_deferred()
        super().clear_all()


def counter_of(environment: Environment, count_deferred: Callable[[], None]) -> Any:
    """Find Locust's own listener of the environment's `request` event, which only counts.

    Args:
        environment: Locust's environment. Its statistics become `DeferredStats` if there is such a listener.
        count_deferred: counts the kept operations by `Successes`.

    Returns:
        The listener; None if `Successes` must not count in its place.
    """
    event, counted = environment.events.request, environment.stats
    if environment.runner is None or type(event) is not EventHook or type(counted) not in (RequestStats, DeferredStats):
        return None
    if vars(stats).get("bucket_response_time") is not bucket:  # `install` was not called
        return None
    if any(getattr(owner, name).__module__ != stats.__name__ for owner, name in STEPS) or not counts_as_locust_does():
        return None
    for listener in listeners_of(event):
        if getattr(listener, "__module__", None) == "locust.runners":
            deferred: Any = counted
            deferred.__class__ = DeferredStats
            deferred.count_deferred = count_deferred
            return listener
    return None


class Successes:
    """Successes of one row within one second, which Locust's statistics will count later.

    Their times are rounded as by `bucket`, but many at once in C.

    Attributes:
        ended_at: the end of the last success, in nanoseconds.
    """

    __slots__ = ("_content_length", "_longest", "_number", "_rounded", "_shortest", "_total", "ended_at")

    def __init__(self) -> None:
        self._rounded: dict[int, Counter[int]] = {}  # times in units, by the unit in nanoseconds
        self._number = self._total = self._shortest = self._longest = self._content_length = self.ended_at = 0

    def __bool__(self) -> bool:
        return self._number > 0

    def add(self, times: Sequence[int], content_length: int, ended_at: int) -> None:
        """Add successes.

        Args:
            times: the response times, in nanoseconds.
            content_length: the bytes of all replies.
            ended_at: the end of the last success, in nanoseconds.
        """
        shortest, longest = min(times), max(times)
        for unit, low, high in UNITS:
            if low <= longest and shortest < high:
                is_all = low <= shortest and longest < high
                part = times if is_all else [time for time in times if low <= time < high]
                in_units = map(floordiv, map(add, part, repeat(unit // 2)), repeat(unit))
                self._rounded.setdefault(unit, Counter()).update(in_units)
        self._shortest = min(shortest, self._shortest) if self._number else shortest
        self._longest = max(longest, self._longest)
        self._number += len(times)
        self._total += sum(times)
        self._content_length += content_length
        self.ended_at = ended_at

    def count(self, counted: RequestStats, method: str, name: str, now: float) -> None:
        """Count all successes as `RequestStats.log_request` counts one.

        Args:
            counted: the statistics that count.
            method: the type of the row.
            name: the name of the row.
            now: the end of the last success, in seconds since the epoch.
        """
        second = int(now)
        rounded = [
            (bucket(time * unit / MILLISECOND), number)
            for unit, times in self._rounded.items()
            for time, number in times.items()
        ]
        shortest, longest, total = (time / MILLISECOND for time in (self._shortest, self._longest, self._total))
        for entry in (vars(counted)["total"], vars(counted)["entries"][name, method]):
            last = entry.last_request_timestamp
            if last is not None and last < second and entry.use_response_times_cache:
                cache_response_times(entry, second - 1)  # type: ignore[misc]
            entry.last_request_timestamp = now
            entry.num_requests += self._number
            entry.num_reqs_per_sec[second] += self._number
            entry.total_content_length += self._content_length
            entry.total_response_time += total
            known = entry.min_response_time
            entry.min_response_time = shortest if known is None else min(known, shortest)
            entry.max_response_time = max(entry.max_response_time, longest)
            times = entry.response_times
            for time, number in rounded:
                times[time] += number


@cache
def counts_as_locust_does() -> bool:
    """Whether `Successes` and this Locust count the same requests in the same way.

    A second of the clock may end during a comparison, so there are up to three comparisons.
    """
    return any(_compare() for _ in range(3))


def _compare() -> bool:
    ours, locusts = RequestStats(), RequestStats()
    requests = {"a": [0, 12_345_600, 512_000], "b": [1_234_500_000]}  # nanoseconds
    try:
        for name, times in requests.items():
            successes = Successes()
            successes.add(times, 10 * len(times), 0)
            successes.count(ours, "TCP", name, seconds_of_the_clock())
            for nanoseconds in times:
                locusts.log_request("TCP", name, nanoseconds / MILLISECOND, 10)  # type: ignore[arg-type]
            for counted in (ours, locusts):  # shift the counts, so that the next requests are in another second
                for entry in (counted.total, *counted.entries.values()):
                    if entry.last_request_timestamp is not None:
                        entry.last_request_timestamp -= 1
        return _counts(ours) == _counts(locusts)
    except Exception:  # this Locust has different parts
        return False


def _counts(counted: RequestStats) -> list[dict[str, Any]]:
    entries = (counted.total, *counted.entries.values())
    return [{name: value for name, value in vars(entry).items() if name not in NOT_COMPARED} for entry in entries]
