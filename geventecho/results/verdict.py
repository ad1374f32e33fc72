"""The verdict: whether the numbers of a run can be trusted, and if not, why.

docs/why/verdict.md gives the reason for each threshold. The rules about the generator are in generator.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final

from geventecho.histogram import Histogram
from geventecho.results.blocks import RowKey
from geventecho.results.evidence import (
    P99_FLOOR,
    Evidence,
    HealthSecond,
    RowEvidence,
    RowSpan,
    WorkerEvidence,
    is_setup,
)
from geventecho.results.generator import could_not_keep_up, delay_reasons, generator_reasons, in_words
from geventecho.results.steadiness import trend

__all__ = ["INCOMPLETE", "TRUSTED", "Verdict", "judge", "judge_worker"]

TRUSTED: Final = "trusted"
INCOMPLETE: Final = "incomplete"
UNBALANCED: Final = "unbalanced"
GENERATOR_BOUND: Final = "generator-bound"
UNSTEADY: Final = "unsteady"
TOO_FEW_SAMPLES: Final = "too-few-samples"
ORDER: Final = (INCOMPLETE, UNBALANCED, GENERATOR_BOUND, UNSTEADY, TOO_FEW_SAMPLES)
"""If several statuses apply, the first of them is the run's status."""

# The load and the server.
DROPPED: Final = 0.01
MIN_DROPPED: Final = 5
NOT_DUE: Final = 0.1
NOT_DUE_ERRORS: Final = 3  # the standard deviation of Poisson arrivals is the root of their number
P50_CHANGE: Final = 0.25
ALLOWED_P50_CHANGE: Final = 0.0005
POINT_SAMPLES: Final = 20
QUEUE_GROWTH: Final = 0.5
ALLOWED_QUEUE_GROWTH: Final = 10.0

SHORTEST_RUN: Final = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a run or of a worker.

    Attributes:
        status: "trusted", or the first of "incomplete", "unbalanced", "generator-bound", "unsteady" and
            "too-few-samples" that applies.
        reasons: the reasons of all statuses that apply, in that order, each with figures and a remedy; empty when the
            run is trusted.
    """

    status: str
    reasons: tuple[str, ...]


def judge(evidence: Evidence) -> Verdict:
    """Judge a run."""
    incomplete = [*evidence.incomplete]
    generator: list[str] = []
    # A worker that started no operation has distorted no figure.
    busy = [worker for worker in evidence.workers if any(second.started for second in worker.health)]
    for worker in evidence.workers:
        name = f"worker {worker.name}: " if len(evidence.workers) > 1 else ""
        incomplete += [name + reason for reason in _incomplete_reasons(evidence, worker)]
        if worker in busy:
            generator += [name + reason for reason in generator_reasons(evidence, worker)]
    health = _summed(evidence.workers)
    times_of = {(row.kind, row.name): row.times for row in evidence.rows}
    if not generator:
        generator += delay_reasons(times_of, health)
    unsteady = [
        *(reason for row in evidence.rows for reason in _row_reasons(row, evidence.steady)),
        *_queue_reasons(evidence.steady, health),
        *_planned_reasons(evidence, health),
    ]
    _add_rate_reason(evidence.rows, busy, health, generator, unsteady)
    few = list(_sample_reasons(evidence.duration, times_of))
    return _verdict(incomplete, list(evidence.unbalanced), generator, unsteady, few)


def judge_worker(evidence: Evidence, worker: WorkerEvidence) -> Verdict:
    """Judge one worker of a run by its own figures."""
    generator = list(generator_reasons(evidence, worker))
    unsteady = list(_queue_reasons(evidence.steady, worker.health))
    _add_rate_reason(evidence.rows, [worker], worker.health, generator, unsteady)
    incomplete = list(_incomplete_reasons(evidence, worker))
    return _verdict(incomplete, [], generator, unsteady, list(_sample_reasons(evidence.duration, worker.times)))


def _verdict(*reasons: list[str]) -> Verdict:
    """The verdict for the reasons: one list for each status of `ORDER`."""
    found = dict(zip(ORDER, reasons, strict=True))
    status = next((status for status in ORDER if found[status]), TRUSTED)
    return Verdict(status, tuple(reason for status in ORDER for reason in found[status]))


def _incomplete_reasons(evidence: Evidence, worker: WorkerEvidence) -> Iterator[str]:
    if worker.incomplete:
        yield worker.incomplete
    if not worker.health and evidence.duration >= SHORTEST_RUN:
        yield "it sent no health figures: is the same version of geventecho installed there?"


def _planned_reasons(evidence: Evidence, health: Sequence[HealthSecond]) -> Iterator[str]:
    """Fewer tasks fell due than the rate asks for."""
    asked, planned = evidence.asked, sum(second.planned for second in health)
    if health and planned < (1 - NOT_DUE) * asked - NOT_DUE_ERRORS * math.sqrt(asked):
        yield (
            f"only {planned:,} of the {asked:,.0f} tasks of the arrival rate fell due: a worker had no user, or ended "
            "early; give each worker at least one user"
        )


def _add_rate_reason(
    rows: Sequence[RowEvidence],
    workers: Sequence[WorkerEvidence],
    health: Sequence[HealthSecond],
    generator: list[str],
    unsteady: list[str],
) -> None:
    """Add a reason if planned tasks were dropped, to the list of the side that caused the drops.

    A task is dropped when no user is free. That alone does not show whether the generator or the server was too slow.
    """
    planned = sum(second.planned for second in health)
    dropped = sum(second.dropped for second in health)
    if dropped < MIN_DROPPED or dropped <= DROPPED * planned:
        return
    seconds = sum(second.span for second in health)
    rates = f"offered {planned / seconds:,.0f} tasks/s, achieved {(planned - dropped) / seconds:,.0f} tasks/s"
    if cause := _failure_cause(rows, health):
        unsteady.insert(0, f"{rates}: {cause}")
    elif any(could_not_keep_up(worker) for worker in workers):
        generator.append(f"{rates}: the generator could not keep up")
    else:
        unsteady.insert(
            0, f"{rates}: all users were busy; the server is slower than the rate, or there are too few users"
        )


def _failure_cause(rows: Sequence[RowEvidence], health: Sequence[HealthSecond]) -> str:
    """The sentence that says how failures kept the users from their tasks; "" if they did not."""
    connects = [row for row in rows if is_setup((row.kind, row.name))]
    failed = sum(row.failed for row in connects)
    tried = failed + sum(row.times["response"].count for row in connects if "response" in row.times)
    if failed > tried / 2:
        return f"{failed:,} of {tried:,} connects and log-ins failed; is the server up, and is the address right?"
    users = sum(second.users for second in health)
    pausing = sum(second.pausing for second in health)
    if pausing > users / 2:
        return f"users spent {pausing / users:.0%} of the time in pauses after failures; see the failures"
    return ""


def _row_reasons(row: RowEvidence, steady: Sequence[tuple[int, int]]) -> Iterator[str]:
    """The times of a row changed while the load did not."""
    for start, end in steady:
        found = trend(_points([span for span in row.spans if start <= span.start and span.end <= end]))
        if found and found.is_ordered and abs(found.change) > _allowed(found.level):
            yield (
                f"{row.name}: p50 {'rose' if found.change > 0 else 'fell'} {in_words(abs(found.per_minute))}/min for "
                f"{end - start} s of the same load: its percentiles depend more on the run's length than on the "
                f"server; {'lower the load' if found.change > 0 else 'measure later (--tcp-warm-up)'}"
            )
    medians = [p50 for _, p50 in _points(row.spans)]
    if row.is_unsteady and len(medians) > 1:
        tenths = quantiles(medians, n=10)
        # The median of an idle server drifts too, by a few per cent.
        if tenths[-1] - tenths[0] > _allowed(median(medians)):
            yield (
                f"{row.name}: its p50 varies between {in_words(tenths[0])} and {in_words(tenths[-1])} so slowly that "
                "the run is too short for an interval: measure longer"
            )


def _allowed(level: float) -> float:
    """The allowed difference between medians of the same load, in seconds."""
    return max(P50_CHANGE * level, ALLOWED_P50_CHANGE)


def _points(spans: Sequence[RowSpan]) -> list[tuple[float, float]]:
    """The medians over time, each of at least `POINT_SAMPLES` operations: medians of fewer operations scatter."""
    points: list[tuple[float, float]] = []
    count = moment = level = 0.0
    for span in spans:
        if span.p50 is not None:
            count += span.count
            moment += span.count * (span.start + span.seconds / 2)
            level += span.count * span.p50
        if count >= POINT_SAMPLES:
            points.append((moment / count, level / count))
            count = moment = level = 0.0
    return points


def _queue_reasons(steady: Sequence[tuple[int, int]], health: Sequence[HealthSecond]) -> Iterator[str]:
    """The number of operations under way rose while the load stayed the same."""
    for start, end in steady:
        within = [second for second in health if start <= second.second < end]
        found = trend([(float(second.second), float(second.in_flight)) for second in within])
        if found and found.is_ordered and found.change > max(QUEUE_GROWTH * found.level, ALLOWED_QUEUE_GROWTH):
            started = sum(second.started for second in within) / (end - start)
            ended = sum(second.ended for second in within) / (end - start)
            yield (
                f"the operations under way rose by {found.per_minute:,.0f}/min for {end - start} s of the same load "
                f"(started {started:,.0f}/s, ended {ended:,.0f}/s): lower the load"
            )


def _sample_reasons(duration: float, times_of: Mapping[RowKey, Mapping[str, Histogram]]) -> Iterator[str]:
    # Locust's timer for --run-time starts before the test: on a busy machine a run of 10 s is some hundredths short.
    if round(duration, 1) < SHORTEST_RUN:
        yield f"the measured part lasted {duration:.3g} s: measure for {SHORTEST_RUN:g} s or more"
    if not duration:
        return
    counted = [
        (times["response"].count, name) for (kind, name), times in times_of.items() if not is_setup((kind, name))
    ]
    most, name = max(counted, default=(0, ""))
    needed = f"no row has the {P99_FLOOR} good operations that a p99 needs"
    if not most:
        yield f"{needed}: only connects, TLS handshakes, greetings and log-ins succeeded"
    elif most < P99_FLOOR:
        yield f"{needed} ({name} has {most}): measure longer, or with more load"


def _summed(workers: Sequence[WorkerEvidence]) -> list[HealthSecond]:
    """The counts of all workers by second. Do not use the shares in the sums: they are those of one worker."""
    sums: dict[int, HealthSecond] = {}
    for worker in workers:
        for second in worker.health:
            sums[second.second] = second.plus(sums[second.second]) if second.second in sums else second
    return [sums[second] for second in sorted(sums)]
