"""The reports of all processes of one test, added up by the master or by the only process.

A collection joins the record, the parts of the test and the verdict. It does not know how reports arrive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from geventecho.results.blocks import OTHER, Block, Record, RowKey
from geventecho.results.evidence import Evidence, HealthSecond, RowEvidence, WorkerEvidence
from geventecho.results.facts import Facts
from geventecho.results.figures import TASK, good_rate, missing_where_time_helps, rows_of, worker_of
from geventecho.results.memory import Memory
from geventecho.results.points import Points
from geventecho.results.result import SCHEMA, Account, Connections, Failures, Part, Rate, Result, Row, Stage, Worker
from geventecho.results.series import Series
from geventecho.results.timeline import Span, Timeline
from geventecho.results.verdict import Verdict, judge, judge_worker

__all__ = ["Collection"]

TLS_ROW: Final = ("TCP", "tls")
"""The row of TLS handshakes: those with a tls:// target, and those by STARTTLS."""
TLS_NOTE: Final = "The arrival time of a TLS reply is the time of its reading: TLS replies have no kernel timestamps."
TIMER_TOLERANCE: Final = 0.1
"""Seconds by which the timer of the test's end may fire early."""
MAX_STAGES: Final = 100
MAX_SILENCE: Final = 10
"""Seconds for which the figures of a running test wait for a silent worker."""
MAX_STAGE_ROWS: Final = 2_000
"""The most rows of all stages. A row takes some milliseconds, and some kilobytes in the JSON file."""


@dataclass(slots=True)
class WorkerSums:
    """The reports of one worker, added up.

    Attributes:
        rows: the rows of the measured part, each as one block.
        health: the health in the whole test.
    """

    rows: dict[RowKey, Block] = field(default_factory=dict)
    health: list[HealthSecond] = field(default_factory=list)


class Collection:
    """The blocks and the health of all processes in one test, and the parts of the test.

    Args:
        now: the start of the test.
        warm_up: the length of the warm-up in seconds.
        memory: the memory of earlier results; none by default.

    Attributes:
        timeline: the parts of the test.
    """

    def __init__(self, now: float, warm_up: float, memory: Memory | None = None) -> None:
        self._record = Record()
        self._memory = memory or Memory()
        self._workers: dict[str, WorkerSums] = {}
        self._warm_up = warm_up
        self._points = Points(self._record, int(now))
        self.timeline = Timeline(now, warm_up, self._record.boundaries)

    def add(
        self,
        worker: str,
        blocks: Iterable[tuple[RowKey, Block | bytes]],
        health: Iterable[Sequence[Any]] = (),
        ahead: int = 0,
    ) -> None:
        """Add a report of a worker: its counts since its last report.

        Args:
            worker: the worker's id.
            blocks: the blocks with their rows; packed or not.
            health: the worker's samples, as it sent them.
            ahead: seconds by which the worker's clock is ahead.
        """
        part = self._workers.setdefault(worker, WorkerSums())
        for given_sample in health:
            sample = HealthSecond(*given_sample)
            sample = replace(sample, second=sample.second - ahead) if ahead else sample
            part.health.append(sample)
            self._points.add(sample)
        for row, given in blocks:
            block = Block.unpack(given) if isinstance(given, bytes) else given
            block.start -= ahead
            self.timeline.see(block.start)
            self._points.invalidate(block.start)
            self._record.add(row, block if ahead else given)
            if block.start >= self.timeline.measured_from:
                known = row if row in self._record.rows else (row[0], OTHER)
                if known not in part.rows:
                    part.rows[known] = Block(block.start)
                part.rows[known].merge(block)

    def follow_plan(self, now: float, stages: Sequence[tuple[float, float]]) -> None:
        """A plan of arrivals begins."""
        self.timeline.follow_plan(now, stages)

    def follow_shape(self, now: float, users: int, spawn_rate: float) -> None:
        """A shape asks for this number of users."""
        self.timeline.follow_shape(now, users, spawn_rate)

    def count_users(self, now: float, users: int) -> None:
        """The number of running users has changed."""
        self.timeline.count_users(now, users)

    def end(self, now: float) -> None:
        """The test ends."""
        self.timeline.ended = now

    def restart(self, now: float) -> None:
        """Restart the measured part."""
        before = self.timeline.measured_from
        self.timeline.restart(now)
        if self.timeline.measured_from != before:
            for part in self._workers.values():
                part.rows.clear()

    def result(self, now: float, facts: Facts, pause: Callable[[], None] = lambda: None) -> Result:
        """The result of the test up to its end, or up to now.

        Args:
            now: the time.
            facts: the facts of the run.
            pause: called now and then, because many rows take seconds.
        """
        self._memory.forget_unused()
        if self.timeline.ended is None:
            now = min(now, self.reported(now, facts.incomplete))
        result = self._without_gates(now, facts, pause)
        return replace(result, gates=tuple(judged(result) for judged in facts.gates))

    def _without_gates(self, now: float, facts: Facts, pause: Callable[[], None]) -> Result:
        rows, evidence = self.measured(now, pause)
        stages, left_out = self.stages(now, pause)
        findings = facts.server_account.findings if facts.server_account else ()
        verdict, workers = self.judge(now, evidence, facts.name, facts.incomplete, findings)
        warm_up = self.warm_up(now, pause)
        sums = self._sums(now, [*rows, *(warm_up.rows if warm_up else ())], facts)
        connections = self._connections(sums)
        first = connections.connects - connections.reconnects
        duration = self.timeline.measured(now).duration
        return Result(
            schema=SCHEMA,
            target=facts.target,
            argv=facts.argv,
            started_at=facts.started_at,
            duration_s=round(duration, 3),
            command=facts.command,
            environment=facts.environment,
            verdict=verdict,
            gates=(),
            account=Account(**{name: sums[name] for name in Account.__dataclass_fields__}),
            connections=connections,
            rate=good_rate(rows, duration),
            planned_rate=_per_second(self.timeline.asked(now), duration) or None,
            bytes_sent=(sent := sum(row.bytes_sent for row in rows)),
            bytes_received=(received := sum(row.bytes_received for row in rows)),
            bytes_sent_rate=_per_second(sent, duration),
            bytes_received_rate=_per_second(received, duration),
            rows=missing_where_time_helps(rows, first),
            warm_up=warm_up and replace(warm_up, rows=missing_where_time_helps(warm_up.rows, first)),
            stages=[replace(stage, rows=missing_where_time_helps(stage.rows, first)) for stage in stages],
            stages_left_out=left_out,
            workers=workers,
            failures=self._failures(facts),
            other_users=facts.other_users,
            series=self.series(now, pause),
            notes=[TLS_NOTE] if facts.target.startswith("tls://") or TLS_ROW in self._record.rows else [],
            server_account=facts.server_account,
        )

    def measured(self, now: float, pause: Callable[[], None]) -> tuple[list[Row], list[RowEvidence]]:
        """The rows of the measured part, and their evidence."""
        rows, evidence = [], []
        for row, found in rows_of(self._record, self.timeline.measured(now), pause, self._memory):
            rows.append(row)
            if row.type != TASK:
                evidence.append(found)
        return rows, evidence

    def warm_up(self, now: float, pause: Callable[[], None]) -> Part | None:
        """The part before the measured part; None without a warm-up."""
        span = self.timeline.warm_up(now)
        return Part(round(span.duration, 3), self._rows(span, pause)) if span else None

    def stages(self, now: float, pause: Callable[[], None]) -> tuple[list[Stage], int]:
        """The first stages, and the number of stages that the limits leave out."""
        spans = self.timeline.stages(now)
        found: list[Stage] = []
        for span in spans[:MAX_STAGES]:
            if sum(len(stage.rows) for stage in found) >= MAX_STAGE_ROWS:
                break
            rows = self._rows(span, pause)
            ended = sum(row.ok + row.failed for row in rows if row.type == TASK)
            found.append(
                Stage(
                    start_s=round(max(span.first, self.timeline.begun) - self.timeline.begun, 3),
                    duration_s=round(span.duration, 3),
                    users=span.users,
                    spawn_rate=span.spawn_rate,
                    rate=None if span.rate is None else Rate(span.rate, round(ended / span.duration, 3)),
                    rows=rows,
                )
            )
        return found, len(spans) - len(found)

    def judge(
        self,
        now: float,
        rows: Sequence[RowEvidence],
        names: Callable[[str], str],
        incomplete: Mapping[str, str],
        unbalanced: Sequence[str] = (),
    ) -> tuple[Verdict, list[Worker]]:
        """Judge the run and each worker.

        Args:
            now: the time.
            rows: the evidence of the rows of the measured part.
            names: returns the name of a worker by its id.
            incomplete: why a worker's numbers are incomplete, by its id.
            unbalanced: the differences between both ends.
        """
        span = self.timeline.measured(now)
        workers = {
            worker: WorkerEvidence(
                name=names(worker),
                health=[second for second in part.health if span.first <= second.second < span.end],
                times={row: block.times for row, block in part.rows.items() if row[0] != TASK},
                incomplete=incomplete.get(worker, ""),
            )
            for worker, part in self._workers.items()
        }
        evidence = Evidence(
            duration=span.duration,
            rows=rows,
            workers=list(workers.values()),
            steady=self.timeline.steady(now),
            asked=self.timeline.asked(now),
            incomplete=[f"worker {names(worker)} {why}" for worker, why in incomplete.items() if worker not in workers],
            unbalanced=unbalanced,
        )
        verdict = judge(evidence)
        if self._warm_up and not span.duration:
            reason = f"the warm-up of {self._warm_up:g} s was not over: measure longer"
            verdict = Verdict(verdict.status, (*verdict.reasons, reason))
        return verdict, [
            worker_of(worker, judge_worker(evidence, found), self._workers[worker].rows, found.health, span.duration)
            for worker, found in workers.items()
        ]

    def series(self, now: float, pause: Callable[[], None]) -> Series:
        """The figures over time, up to the end or up to now.

        The second in which the test ends is left out unless it was almost over: its rates are not those of the load.
        """
        timeline = self.timeline
        if timeline.ended is None:
            end = int(now)
        else:
            ends = (part.health[-1].second + 1 for part in self._workers.values() if part.health)
            end = min(
                max([timeline.seen[1], *ends]), max(int(timeline.ended + TIMER_TOLERANCE), int(timeline.begun) + 1)
            )
        return self._points.series(timeline.seen[0], end, timeline.measured_from, pause)

    def reported(self, now: float, incomplete: Container[str] = ()) -> float:
        """The end of the last second that all workers have reported; `now` if all workers are silent.

        Args:
            now: the time.
            incomplete: ids of lost workers. Lost workers and workers that are silent for `MAX_SILENCE` seconds are
                ignored.
        """
        if not any(part.health for part in self._workers.values()):
            return now
        begun = int(self.timeline.begun)
        ends = (
            part.health[-1].second + 1 if part.health else begun
            for worker, part in self._workers.items()
            if worker not in incomplete
        )
        return min((end for end in ends if end > now - MAX_SILENCE), default=now)

    def has_figures(self, now: float) -> bool:
        """Whether all workers have reported a second."""
        return any(part.health for part in self._workers.values()) and self.reported(now) > self.timeline.begun

    def _sums(self, now: float, rows: Iterable[Row], facts: Facts) -> Mapping[str, int]:
        """The account of the whole test. While the test runs, the account ends with the same second as the rows.

        Args:
            now: the time.
            rows: the rows of the whole test.
            facts: the facts of the run.
        """
        before = {
            worker: [second for second in part.health if second.second < now] for worker, part in self._workers.items()
        }
        health = [second for seconds in before.values() for second in seconds]
        if self.timeline.ended is not None or not health:
            return facts.sums
        sums = dict(facts.sums)
        first_connects = sums.get("connects", 0) - sums.get("reconnects", 0)
        for name in ("planned", "sent", "late", "started", "lost", "connects"):
            sums[name] = sum(getattr(second, name) for second in health)
        last = [seconds[-1] for worker, seconds in before.items() if seconds and worker not in facts.incomplete]
        for name in ("open", "opening"):
            sums[name] = sum(getattr(second, name) for second in last)
        sums["ok"] = sum(row.ok for row in rows if row.type != TASK)
        sums["failed"] = sum(row.failed for row in rows if row.type != TASK)
        sums["dropped"] = sum(row.dropped for row in rows)
        # A lost worker may have sent the blocks of its last second but not the health.
        sums["started"] = max(sums["started"], sums["ok"] + sums["failed"])
        sums["sent"] = max(sums["sent"], sum(row.ok + row.failed for row in rows if row.type == TASK))
        sums["planned"] = max(sums["planned"], sums["sent"] + sums["dropped"])
        sums["reconnects"] = max(0, sums["connects"] - first_connects)  # no second has its number of reconnects
        return sums

    def _failures(self, facts: Facts) -> list[Failures]:
        """The failures in recorded rows. Other users have no recorded rows."""
        known = self._record.rows
        return [found for found in facts.failures if (found.type, found.name) in known or (found.type, OTHER) in known]

    def _connections(self, sums: Mapping[str, int]) -> Connections:
        given = {name: sums.get(name, 0) for name in Connections.__dataclass_fields__}
        return Connections(**{**given, "peak": self._peak() or given["peak"]})

    def _peak(self) -> int:
        """The most connects within one second."""
        connects: Counter[int] = Counter()
        for part in self._workers.values():
            for sample in part.health:
                connects[sample.second] += sample.connects
        return max(connects.values(), default=0)

    def _rows(self, span: Span, pause: Callable[[], None]) -> list[Row]:
        return [row for row, _ in rows_of(self._record, span, pause, self._memory)]


def _per_second(count: float, seconds: float) -> float:
    return round(count / seconds, 3) if seconds else 0.0
