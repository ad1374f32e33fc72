"""Whether the numbers of a run can be believed, and if not, why.

The thresholds and where they come from are in docs/verdict.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from geventecho.histogram import Histogram
from geventecho.results.blocks import RowKey
from geventecho.results.evidence import Evidence, HealthSecond, RowEvidence, WorkerEvidence
from geventecho.results.steadiness import trend

__all__ = ["Verdict", "judge", "judge_worker"]

TRUSTED: Final = "trusted"
INCOMPLETE: Final = "incomplete"
GENERATOR_BOUND: Final = "generator-bound"
UNSTEADY: Final = "unsteady"
TOO_FEW_SAMPLES: Final = "too-few-samples"
ORDER: Final = (INCOMPLETE, GENERATOR_BOUND, UNSTEADY, TOO_FEW_SAMPLES)
"""If several hold, the first counts."""

DELAY_SHARE: Final = 0.1
"""Of a row's p99, the part that the generator's own p99 may have."""
DELAY_ALLOWED: Final = 0.001
"""Seconds of delay that are never held against it."""
PAUSE: Final = 0.25
"""Seconds for which the event loop may stand still once."""
PAUSE_COUNTS: Final = 0.02
PAUSED_SHARE: Final = 0.005
"""Share of the run for which it may stand still in all, in pauses from `PAUSE_COUNTS`. With twice this the p99 is made
of pauses."""
SATURATED: Final = 0.9
"""Share of a second that the process ran or waited for a core; Locust warns of 90 % CPU."""
SATURATED_SECONDS: Final = 0.1
WAIT: Final = 0.1
"""Mean share of the time in which it was ready and had no core."""
CORES_BUSY: Final = 0.95
THROTTLED: Final = 0.01
STOLEN: Final = 0.05
RATE_MISSED: Final = 0.01
"""Share of the planned tasks that may be dropped; Nighthawk wants 99 % of the rate, too."""
WAITED: Final = 0.005
"""Share of instants that found every user busy, from which the p99 of the generator delay is the users' time."""
RISE: Final = 0.25
"""Of its median, the change of a value over a span that counts as a trend."""
RISE_ALLOWED: Final = 0.0005
"""Seconds of change of p50 that are never held against the server."""
QUEUE_RISE: Final = 0.5
QUEUE_RISE_ALLOWED: Final = 10.0
"""Operations under way that may be added over a span."""
WORKER_SHARE: Final = 0.25
"""Of the other workers' p99, the part that one worker may add to it."""
P99_FLOOR: Final = 368
"""Samples for which a two-sided 95 % interval of the p99 by order statistics exists."""
SHORTEST: Final = 10.0
"""Seconds that a run must be measured."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a run or of a worker.

    Attributes:
        status: "trusted", or the first of "incomplete", "generator-bound", "unsteady" and "too-few-samples" that holds.
        reasons: all that was found, each with figures and what to do; empty when trusted.
    """

    status: str
    reasons: tuple[str, ...]


def judge(evidence: Evidence) -> Verdict:
    """Judge a run."""
    found: dict[str, list[str]] = {status: [] for status in ORDER}
    found[INCOMPLETE] += evidence.lacking
    for worker in evidence.workers:
        found[INCOMPLETE] += [worker.lacking] if worker.lacking else []
        found[GENERATOR_BOUND] += _named(evidence, worker, _generator_reasons(evidence, worker))
    seconds = _summed(evidence.workers)
    if not found[GENERATOR_BOUND]:
        found[GENERATOR_BOUND] += _delays({(row.kind, row.name): row.times for row in evidence.rows}, seconds)
    found[UNSTEADY] += _unsteady_reasons(evidence, seconds)
    found[TOO_FEW_SAMPLES] += _few(evidence.duration, evidence.rows)
    return _verdict(found)


def judge_worker(evidence: Evidence, worker: WorkerEvidence) -> Verdict:
    """Judge one worker of a run by its own figures."""
    rows = [RowEvidence(kind, name, times, ()) for (kind, name), times in worker.times.items()]
    found = {
        INCOMPLETE: [worker.lacking] if worker.lacking else [],
        GENERATOR_BOUND: list(_generator_reasons(evidence, worker)),
        UNSTEADY: list(_rate_reasons(worker.health)) + list(_queue_reasons(evidence.steady, worker.health)),
        TOO_FEW_SAMPLES: list(_few(evidence.duration, rows)),
    }
    return _verdict(found)


def _verdict(found: Mapping[str, Sequence[str]]) -> Verdict:
    status = next((status for status in ORDER if found[status]), TRUSTED)
    return Verdict(status, tuple(reason for status in ORDER for reason in found[status]))


def _named(evidence: Evidence, worker: WorkerEvidence, reasons: Iterator[str]) -> Iterator[str]:
    for reason in reasons:
        yield f"worker {worker.name}: {reason}" if len(evidence.workers) > 1 else reason


def _generator_reasons(evidence: Evidence, worker: WorkerEvidence) -> Iterator[str]:
    health = worker.health
    if health:
        yield from _pause_reasons(health)
        yield from _processor_reasons(health)
        yield from _lag_reasons(worker)
    yield from _delays(worker.times, health)
    yield from _outlier_reasons(evidence, worker)


def _pause_reasons(health: Sequence[HealthSecond]) -> Iterator[str]:
    """The event loop stood still."""
    longest = max(second.lag for second in health)
    total = sum(second.lag for second in health if second.lag >= PAUSE_COUNTS)
    share = total / sum(second.span for second in health)
    if longest >= PAUSE or share >= PAUSED_SHARE:
        yield (
            f"the event loop stood still for up to {_time(longest)}, {share:.1%} of the time in all: the process was "
            "stopped or had too much to do; use fewer users or requests per worker, or more workers"
        )


def _processor_reasons(health: Sequence[HealthSecond]) -> Iterator[str]:
    """It had too little of a core."""
    wait = _mean(health, lambda second: second.wait)
    full = [second for second in health if second.cpu + (second.wait or 0.0) >= SATURATED]
    if len(full) >= max(2, SATURATED_SECONDS * len(health)):
        yield (
            f"the process ran or waited for a core {fmean(s.cpu + (s.wait or 0.0) for s in full):.0%} of the time in "
            f"{len(full)} of {len(health)} seconds ({fmean(s.cpu for s in full):.0%} CPU): add workers (--processes)"
        )
    core = _mean(health, lambda second: second.core)
    if wait is not None and wait >= WAIT:
        shared = f"; its cores were {core:.0%} busy" if core is not None else ""
        yield (
            f"the process was ready and had no core for {wait:.1%} of the time{shared}: leave it a core of its own, "
            "apart from the server and other programs"
        )
    throttled = _mean(health, lambda second: second.throttled)
    if throttled is not None and throttled >= THROTTLED:
        yield f"its cgroup was throttled for {throttled:.1%} of the time: give the container more CPU"
    steal = _mean(health, lambda second: second.steal)
    if steal is not None and steal >= STOLEN:
        yield f"the hypervisor took {steal:.1%} of its cores' time: use a machine with cores of its own"


def _lag_reasons(worker: WorkerEvidence) -> Iterator[str]:
    """The event loop was late again and again."""
    lag = median(second.lag for second in worker.health)
    tails = [
        tail
        for (kind, name), times in worker.times.items()
        if not RowEvidence(kind, name, times, ()).is_setup and (tail := _p99(times, "response")) is not None
    ]
    if lag > DELAY_ALLOWED and lag > DELAY_SHARE * min(tails, default=0.0):
        yield (
            f"in half of the seconds the event loop was late by {_time(lag)} or more: use fewer users or requests "
            "per worker, more workers, or a core that nobody else uses"
        )


def _delays(rows: Mapping[RowKey, Mapping[str, Histogram]], health: Sequence[HealthSecond]) -> Iterator[str]:
    """A row's times are in good part the generator's own."""
    planned = sum(second.planned for second in health)
    waited = sum(second.waited for second in health)
    for (_, name), times in rows.items():
        for delay, of in (("generator_delay", "response"), ("read_delay", "service")):
            if delay == "generator_delay" and waited > WAITED * planned:
                continue  # what delayed them was the lack of an idle user
            own, whole = _p99(times, delay), _p99(times, of)
            if own is None or whole is None or own <= DELAY_ALLOWED or own <= DELAY_SHARE * whole:
                continue
            yield (
                f"{name}: the p99 of the {delay.replace('_', ' ')} is {_time(own)}, and that of the {of} time "
                f"{_time(whole)}: the generator is too slow; use fewer requests per worker, or more workers"
            )


def _outlier_reasons(evidence: Evidence, worker: WorkerEvidence) -> Iterator[str]:
    """A row's p99 is that of this worker: without it, the p99 is much lower."""
    for row, times in worker.times.items():
        own = times.get("response")
        others = Histogram()
        for other in evidence.workers:
            if other is not worker and "response" in other.times.get(row, {}):
                others.merge(other.times[row]["response"])
        if own is None or min(own.count, others.count) < P99_FLOOR:
            continue
        everybody = Histogram()
        everybody.merge(own)
        everybody.merge(others)
        whole, rest = everybody.percentile(99) or 0.0, others.percentile(99) or 0.0
        if whole - rest > max(DELAY_ALLOWED, WORKER_SHARE * rest):
            yield (
                f"{row[1]}: the p99 is {_time(whole)}, and {_time(rest)} without this worker: look at its machine and "
                "its network"
            )


def _unsteady_reasons(evidence: Evidence, seconds: Sequence[HealthSecond]) -> Iterator[str]:
    yield from _rate_reasons(seconds)
    for row in evidence.rows:
        for start, end in evidence.steady:
            points = [
                (span.start + span.seconds / 2, span.p50)
                for span in row.spans
                if start <= span.start and span.start + span.seconds <= end and span.p50 is not None
            ]
            found = trend(points)
            if found and found.is_ordered and abs(found.change) > max(RISE * found.level, RISE_ALLOWED):
                yield (
                    f"{row.name}: p50 {'rose' if found.change > 0 else 'fell'} {_time(abs(found.per_minute))}/min over "
                    f"{end - start} s of unchanged load: percentiles say how long the run was; lower the load"
                )
        if row.is_unsteady:
            yield (
                f"{row.name}: its response times vary so slowly that the run is too short for an interval; measure "
                "longer"
            )
    yield from _queue_reasons(evidence.steady, seconds)


def _rate_reasons(health: Sequence[HealthSecond]) -> Iterator[str]:
    """Planned tasks were not done."""
    planned = sum(second.planned for second in health)
    dropped = sum(second.dropped for second in health)
    if planned and dropped > RATE_MISSED * planned:
        span = len({second.second for second in health}) or 1
        yield (
            f"offered {planned / span:,.0f} tasks/s, achieved {(planned - dropped) / span:,.0f} tasks/s: all users "
            "were busy; the server is slower than the rate, or there are too few users"
        )


def _queue_reasons(steady: Sequence[tuple[int, int]], health: Sequence[HealthSecond]) -> Iterator[str]:
    """Ever more operations and instants wait."""
    for start, end in steady:
        within = [second for second in health if start <= second.second < end]
        waiting, points = 0, []
        for second in within:
            waiting += second.dropped
            points.append((float(second.second), float(second.in_flight + waiting)))
        found = trend(points)
        if found and found.is_ordered and found.change > max(QUEUE_RISE * found.level, QUEUE_RISE_ALLOWED):
            begun = sum(second.started for second in within) / (end - start)
            ended = sum(second.ended for second in within) / (end - start)
            yield (
                f"operations under way and instants that wait rose by {found.per_minute:,.0f}/min over {end - start} s "
                f"of unchanged load (begun {begun:,.0f}/s, ended {ended:,.0f}/s): the server gets more than it can do"
            )


def _few(duration: float, rows: Sequence[RowEvidence]) -> Iterator[str]:
    if duration < SHORTEST:
        yield f"measured for {duration:.3g} s: measure for {SHORTEST:g} s or more"
    counts = {row.name: row.times["response"].count for row in rows if not row.is_setup and "response" in row.times}
    name = max(counts, key=lambda name: counts[name], default="")
    most = counts.get(name, 0)
    if most < P99_FLOOR:
        which = f"the largest row, {name}, has {most}" if name else "no row has any"
        yield f"a p99 needs {P99_FLOOR} samples, and {which}: measure longer, or with more load"


def _summed(workers: Sequence[WorkerEvidence]) -> list[HealthSecond]:
    """The counts of all workers, second by second. What is not a count is the first worker's, and not used."""
    sums: dict[int, HealthSecond] = {}
    for worker in workers:
        for second in worker.health:
            sums[second.second] = second.plus(sums[second.second]) if second.second in sums else second
    return [sums[second] for second in sorted(sums)]


def _mean(health: Sequence[HealthSecond], of: Callable[[HealthSecond], float | None]) -> float | None:
    """The mean over the time in which it is known."""
    known = [(value, second.span) for second in health if (value := of(second)) is not None]
    return sum(value * span for value, span in known) / sum(span for _, span in known) if known else None


def _p99(times: Mapping[str, Histogram], label: str) -> float | None:
    """It is None below its floor."""
    histogram = times.get(label)
    return histogram.percentile(99) if histogram is not None and histogram.count >= P99_FLOOR else None


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
