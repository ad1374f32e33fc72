"""All that the processes of one test report, added up by the master or by the only process.

It puts the record, the parts of the test and the judgement together, and knows nothing of how reports arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from geventecho.results.blocks import OTHER, Block, Record, RowKey
from geventecho.results.evidence import Evidence, HealthSecond, RowEvidence, WorkerEvidence
from geventecho.results.figures import TASK, rows_of, worker_of
from geventecho.results.result import Part, Rate, Row, Stage, Worker
from geventecho.results.timeline import Span, Timeline
from geventecho.results.verdict import Verdict, judge, judge_worker

__all__ = ["Collection"]

MOST_STAGES: Final = 100
MOST_STAGE_ROWS: Final = 2_000
"""A row takes some milliseconds and, in the JSON file, some kilobytes."""


@dataclass(slots=True)
class FromWorker:
    """The reports of one worker, added up.

    Attributes:
        rows: of the measured part, each as one block.
        health: of the whole test.
    """

    rows: dict[RowKey, Block] = field(default_factory=dict)
    health: list[HealthSecond] = field(default_factory=list)


class Collection:
    """The blocks and the health of all processes in one test, and the parts of the test.

    Args:
        now: the start of the test.
        warm_up: seconds.

    Attributes:
        timeline: the parts of the test.
    """

    def __init__(self, now: float, warm_up: float) -> None:
        self._record = Record()
        self._workers: dict[str, FromWorker] = {}
        self._warm_up = warm_up
        self.timeline = Timeline(now, warm_up, self._record.boundaries)

    def add(
        self,
        worker: str,
        blocks: Iterable[tuple[RowKey, Block | bytes]],
        health: Iterable[Sequence[Any]] = (),
        ahead: int = 0,
    ) -> None:
        """Add a report of a worker: its counts since the one before.

        Args:
            worker: its id.
            blocks: by row; packed or not.
            health: its samples, as they were sent.
            ahead: seconds that its clock is ahead.
        """
        part = self._workers.setdefault(worker, FromWorker())
        samples = (HealthSecond(*sample) for sample in health)
        part.health += [replace(sample, second=sample.second - ahead) for sample in samples]
        for row, given in blocks:
            block = Block.unpack(given) if isinstance(given, bytes) else given
            block.start -= ahead
            self.timeline.see(block.start)
            self._record.add(row, block if ahead else given)
            if block.start >= self.timeline.measured_from:
                known = row if row in self._record.rows else (row[0], OTHER)
                if known not in part.rows:
                    part.rows[known] = Block(block.start)
                part.rows[known].merge(block)

    def restart(self, now: float) -> None:
        """Begin the measured part anew."""
        before = self.timeline.measured_from
        self.timeline.restart(now)
        if self.timeline.measured_from != before:
            for part in self._workers.values():
                part.rows.clear()

    def measured(self, now: float, pause: Callable[[], None]) -> tuple[list[Row], list[RowEvidence]]:
        """The rows of the measured part, and the evidence in them."""
        rows, evidence = [], []
        for row, blocks in rows_of(self._record, self.timeline.measured(now), pause):
            rows.append(row)
            if row.type != TASK:
                evidence.append(RowEvidence.of(row.type, row.name, blocks, row.intervals.unsteady))
            pause()
        return rows, evidence

    def warm_up(self, now: float, pause: Callable[[], None]) -> Part | None:
        """The part before it; None where there is none."""
        span = self.timeline.warm_up(now)
        return Part(round(span.duration, 3), self._rows(span, pause)) if span else None

    def stages(self, now: float, pause: Callable[[], None]) -> tuple[list[Stage], int]:
        """The first stages, and how many more there were than may be or than have room for their rows."""
        spans = self.timeline.stages(now)
        found: list[Stage] = []
        for span in spans[:MOST_STAGES]:
            if sum(len(stage.rows) for stage in found) >= MOST_STAGE_ROWS:
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
        self, now: float, rows: Sequence[RowEvidence], names: Callable[[str], str], lacking: Mapping[str, str]
    ) -> tuple[Verdict, list[Worker]]:
        """Judge the run and each worker.

        Args:
            now: the time.
            rows: the evidence of the rows of the measured part.
            names: tells a worker's name by its id.
            lacking: by a worker's id, why its numbers are not complete.
        """
        span = self.timeline.measured(now)
        workers = {
            worker: WorkerEvidence(
                name=names(worker),
                health=[second for second in part.health if span.first <= second.second < span.end],
                times={row: block.times for row, block in part.rows.items() if row[0] != TASK},
                lacking=lacking.get(worker, ""),
            )
            for worker, part in self._workers.items()
        }
        evidence = Evidence(
            duration=span.duration,
            rows=rows,
            workers=list(workers.values()),
            steady=self.timeline.steady(now),
            asked=self.timeline.asked(now),
            lacking=[f"worker {names(worker)} {why}" for worker, why in lacking.items() if worker not in workers],
        )
        verdict = judge(evidence)
        if self._warm_up and not span.duration:
            reason = f"the warm-up of {self._warm_up:g} s was not over: measure longer"
            verdict = Verdict(verdict.status, (*verdict.reasons, reason))
        return verdict, [
            worker_of(worker, judge_worker(evidence, found), self._workers[worker].rows, found.health, span.duration)
            for worker, found in workers.items()
        ]

    def _rows(self, span: Span, pause: Callable[[], None]) -> list[Row]:
        return [row for row, _ in rows_of(self._record, span, pause)]

    @property
    def keys(self) -> set[RowKey]:
        """Type and name of each row."""
        return set(self._record.rows)
