"""What a run measured, in pure values: nothing here knows Locust, sockets or processes."""

from __future__ import annotations

from geventecho.results.evidence import Evidence, HealthSecond, RowEvidence, WorkerEvidence
from geventecho.results.verdict import Verdict, judge, judge_worker

__all__ = ["Evidence", "HealthSecond", "RowEvidence", "Verdict", "WorkerEvidence", "judge", "judge_worker"]
