"""What a run measured, in pure values: nothing here knows Locust, sockets or processes."""

from __future__ import annotations

from geventecho.results.blocks import TIMES, Block, Blocks, Record, RowKey
from geventecho.results.evidence import Evidence, HealthSecond, RowEvidence, WorkerEvidence
from geventecho.results.verdict import Verdict, judge, judge_worker

__all__ = [
    "TIMES",
    "Block",
    "Blocks",
    "Evidence",
    "HealthSecond",
    "Record",
    "RowEvidence",
    "RowKey",
    "Verdict",
    "WorkerEvidence",
    "judge",
    "judge_worker",
]
