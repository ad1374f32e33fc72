"""The rules of the verdict that check whether the load generator distorted its own numbers.

If a request is sent late, or a worker has no core, the times are those of the generator. Each rule checks one sign of
that; docs/why/verdict.md has the measurements behind the thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Final

from geventecho.histogram import Histogram
from geventecho.results.blocks import RowKey
from geventecho.results.evidence import P99_FLOOR, Evidence, HealthSecond, WorkerEvidence, is_setup, mean_over_time

__all__ = ["could_not_keep_up", "delay_reasons", "generator_reasons", "in_words"]

# Seconds, and shares of the time. The shares of delays, of the lag and of a worker are shares of a p99.
ALLOWED_DELAY: Final = 0.002
GENERATOR_DELAY_SHARE: Final = 0.1
ALLOWED_READ_DELAY: Final = 0.005
READ_DELAY_SHARE: Final = 0.25
LAG_SHARE: Final = 0.1
LONGEST_PAUSE: Final = 0.25
SHORTEST_PAUSE: Final = 0.02
PAUSED: Final = 0.01
FULL_SECOND: Final = 0.9
FULL_SECONDS: Final = 0.25
WITHOUT_CORE: Final = 0.05
THROTTLED: Final = 0.01
STOLEN: Final = 0.05
FOUND_NO_USER: Final = 0.005
WORKER_SHARE: Final = 0.25
WORKER_PERCENTILE: Final = 97


def generator_reasons(evidence: Evidence, worker: WorkerEvidence) -> Iterator[str]:
    """Yield the reasons why a worker distorted its own numbers."""
    if worker.health:
        yield from _pause_reasons(worker.health)
        yield from _processor_reasons(worker.health)
        yield from _lag_reasons(worker)
    yield from delay_reasons(worker.times, worker.health)
    yield from _outlier_reasons(evidence, worker)


def _pause_reasons(health: Sequence[HealthSecond]) -> Iterator[str]:
    """The event loop stood still."""
    longest = max(second.lag for second in health)
    paused = sum(second.lag for second in health if second.lag >= SHORTEST_PAUSE)
    share = paused / sum(second.span for second in health)
    if longest >= LONGEST_PAUSE or share >= PAUSED:
        yield (
            f"the event loop stood still for up to {in_words(longest)}, and for {share:.1%} of the time in all: the "
            "process was stopped, or did too much at once; use fewer users per worker, or a quieter machine"
        )


def _processor_reasons(health: Sequence[HealthSecond]) -> Iterator[str]:
    """The process had too little CPU time."""
    if full := _full_seconds(health):
        yield (
            f"in {len(full)} of {len(health)} seconds the process was saturated: it ran for "
            f"{fmean(second.cpu for second in full):.0%} of the time, and waited for a core for "
            f"{fmean(second.wait or 0.0 for second in full):.0%}; add workers (--processes), or lower the load"
        )
    wait = mean_over_time(health, lambda second: second.wait)
    if wait is not None and wait >= WITHOUT_CORE:
        core = mean_over_time(health, lambda second: second.core)
        busy = f" (its cores were {core:.0%} busy)" if core is not None else ""
        yield (
            f"the process was ready to run and had no core for {wait:.1%} of the time{busy}: leave it a core that "
            "neither the server nor another program uses"
        )
    throttled = mean_over_time(health, lambda second: second.throttled)
    if throttled is not None and throttled >= THROTTLED:
        yield f"the process was throttled for {throttled:.1%} of the time: its container needs more CPU"
    steal = mean_over_time(health, lambda second: second.steal)
    if steal is not None and steal >= STOLEN:
        yield f"the hypervisor took {steal:.1%} of the time of its cores: use a machine with dedicated cores"


def _full_seconds(health: Sequence[HealthSecond]) -> list[HealthSecond]:
    """The seconds in which the process was saturated; empty if they are too few for a reason."""
    full = [second for second in health if second.cpu + (second.wait or 0.0) >= FULL_SECOND]
    return full if len(full) >= max(2, FULL_SECONDS * len(health)) else []


def could_not_keep_up(worker: WorkerEvidence) -> bool:
    """Whether the worker, and not the server, kept its users busy.

    Such a worker is saturated, or its replies wait unread for longer than the server takes to send them.
    """

    def total(kind: str) -> float:
        histograms = [times[kind] for times in worker.times.values() if kind in times]
        return sum((histogram.mean or 0.0) * histogram.count for histogram in histograms)

    return bool(_full_seconds(worker.health)) or total("read_delay") > total("service")


def _lag_reasons(worker: WorkerEvidence) -> Iterator[str]:
    """The event loop was often late."""
    lag = median(second.lag for second in worker.health)
    tails = [_p99(times, "response") for row, times in worker.times.items() if not is_setup(row)]
    shortest = min((tail for tail in tails if tail is not None), default=0.0)
    if lag > max(ALLOWED_DELAY, LAG_SHARE * shortest):
        yield (
            f"in half of the seconds the event loop was at least {in_words(lag)} late: add workers (--processes), "
            "lower the load, or leave the process a core of its own"
        )


def delay_reasons(times_of: Mapping[RowKey, Mapping[str, Histogram]], health: Sequence[HealthSecond]) -> Iterator[str]:
    """Yield a reason for each row in which the generator's delay is a large part of the times."""
    planned = sum(second.planned for second in health)
    found_no_user = sum(second.waited for second in health) > FOUND_NO_USER * planned
    for (_, name), times in times_of.items():
        delay, response = _p99(times, "generator_delay"), _p99(times, "response")
        # A task waits for a user because the users wait for the server. The generator does not cause this delay.
        if delay and response and not found_no_user and delay > max(ALLOWED_DELAY, GENERATOR_DELAY_SHARE * response):
            yield (
                f"{name}: the generator sent late (p99 {in_words(delay)}; the p99 of the response time is "
                f"{in_words(response)}): add workers (--processes), or lower the load"
            )
        delay, service = _p99(times, "read_delay"), _p99(times, "service")
        if delay and service and delay > max(ALLOWED_READ_DELAY, READ_DELAY_SHARE * service):
            yield (
                f"{name}: the generator read replies late (p99 {in_words(delay)}; the p99 of the service time is "
                f"{in_words(service)}): add workers (--processes), or lower the load"
            )


def _outlier_reasons(evidence: Evidence, worker: WorkerEvidence) -> Iterator[str]:
    """The p99 of a row is much higher with this worker than without it."""
    for row, times in worker.times.items():
        own, others = times.get("response"), Histogram()
        for other in evidence.workers:
            if other is not worker and (response := other.times.get(row, {}).get("response")) is not None:
                others.merge(response)
        if own is None or min(own.count, others.count) < P99_FLOOR:
            continue
        without, high = others.percentile(99) or 0.0, own.percentile(WORKER_PERCENTILE) or 0.0
        if high - without > max(ALLOWED_DELAY, WORKER_SHARE * without):
            others.merge(own)
            yield (
                f"{row[1]}: the p99 is {in_words(others.percentile(99) or 0.0)}, and {in_words(without)} without this "
                "worker: look at its machine and its network"
            )


def _p99(times: Mapping[str, Histogram], name: str) -> float | None:
    """The p99 of a kind of time; None with fewer samples than it needs."""
    histogram = times.get(name)
    return histogram.percentile(99) if histogram is not None and histogram.count >= P99_FLOOR else None


def in_words(seconds: float) -> str:
    """Write a time for people: three digits, in seconds or milliseconds."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
