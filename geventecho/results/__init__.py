"""What a run measured, in pure values: nothing here knows Locust, sockets or processes."""

from __future__ import annotations

from geventecho.results.blocks import TIMES, Block, Blocks, Record, RowKey
from geventecho.results.evidence import Evidence, HealthSecond, RowEvidence, WorkerEvidence
from geventecho.results.intervals import FLOORS, Estimate, Percentile, estimate
from geventecho.results.verdict import Verdict, judge, judge_worker

__all__ = [
    "FLOORS",
    "TIMES",
    "Block",
    "Blocks",
    "Estimate",
    "Evidence",
    "HealthSecond",
    "Percentile",
    "Record",
    "RowEvidence",
    "RowKey",
    "Verdict",
    "WorkerEvidence",
    "estimate",
    "judge",
    "judge_worker",
]
