"""Locust's count of requests, cheaper.

Locust counts each request in its row and in the total. Each of the two reads the clock, rounds the response time and
calls half a dozen functions: a seventh of the cost of a flat-out user. `log_request` does it once for both. Only a
`TcpUser` counts by it, and only while it counts exactly as this Locust does.
"""

from __future__ import annotations

from functools import cache
from time import time
from typing import Any

from locust import stats
from locust.env import Environment
from locust.event import EventHook
from locust.stats import RequestStats, StatsEntry

from geventecho.loadtest.locust_internals import cache_response_times, listeners_of

__all__ = ["counter_of", "log_request"]

# The functions that count a request: a plugin may have replaced one.
STEPS = ((RequestStats, "log_request"), (StatsEntry, "log"))
# Attributes that are not compared: the link to the whole, and the times of the clock, which differ by microseconds.
NOT_COMPARED = frozenset({"stats", "start_time", "last_request_timestamp"})


def counter_of(environment: Environment) -> Any:
    """Locust's own listener to the environment's `request` event, which does nothing but count.

    Returns:
        The listener; None when `log_request` may not count in its place.
    """
    event = environment.events.request
    if environment.runner is None or type(event) is not EventHook or type(environment.stats) is not RequestStats:
        return None
    if any(getattr(owner, name).__module__ != stats.__name__ for owner, name in STEPS) or not counts_as_locust_does():
        return None
    for listener in listeners_of(event):
        if getattr(listener, "__module__", None) == "locust.runners":
            return listener
    return None


def log_request(
    counted: RequestStats, method: str, name: str, response_time: float | None, content_length: int
) -> None:
    """Count a request as `RequestStats.log_request` does.

    Args:
        counted: where.
        method: the type of its row.
        name: the name of its row.
        response_time: milliseconds; None for a failure.
        content_length: bytes of the reply.
    """
    now = time()
    second = int(now)
    rounded = None if response_time is None else stats.bucket_response_time(response_time)
    for entry in (counted.total, counted.entries[name, method]):
        last = entry.last_request_timestamp
        if last is not None and last < second and entry.use_response_times_cache:
            cache_response_times(entry, second - 1)  # type: ignore[misc]
        entry.last_request_timestamp = now
        entry.num_requests += 1
        entry.num_reqs_per_sec[second] += 1
        entry.total_content_length += content_length
        if response_time is None or rounded is None:
            entry.num_none_requests += 1
            continue
        entry.total_response_time += response_time  # type: ignore[assignment]
        least = entry.min_response_time
        if least is None or response_time < least:
            entry.min_response_time = response_time  # type: ignore[assignment]
        if response_time > entry.max_response_time:  # noqa: PLR1730 (a call)
            entry.max_response_time = response_time  # type: ignore[assignment]
        entry.response_times[rounded] += 1


@cache
def counts_as_locust_does() -> bool:
    """Count the same requests both ways and compare all that was counted: another Locust may count otherwise.

    A comparison may meet the end of a second of the clock, so three may be needed.
    """
    return any(_compare() for _ in range(3))


def _compare() -> bool:
    ours, locusts = RequestStats(), RequestStats()
    requests = [("a", 0.0, 1), ("a", 12.3456, 10), ("b", None, 0), ("b", 1234.5, 100)]
    try:
        for name, response_time, length in requests:
            log_request(ours, "TCP", name, response_time, length)
            locusts.log_request("TCP", name, response_time, length)  # type: ignore[arg-type]
            for counted in (ours, locusts):  # the next request meets another second
                for entry in (counted.total, *counted.entries.values()):
                    if entry.last_request_timestamp is not None:
                        entry.last_request_timestamp -= 1
        return _counts(ours) == _counts(locusts)
    except Exception:  # this Locust has other parts
        return False


def _counts(counted: RequestStats) -> list[dict[str, Any]]:
    entries = (counted.total, *counted.entries.values())
    return [{name: value for name, value in vars(entry).items() if name not in NOT_COMPARED} for entry in entries]
