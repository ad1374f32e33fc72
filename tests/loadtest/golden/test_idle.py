"""Golden tests on a machine that has nothing else to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loadtest.golden.runs import EchoServerProcess, GoldenRun, plan

MOST = 0.00015
"""Seconds of our own in the median response time. A timer of whole milliseconds adds 0.5 ms."""


@pytest.mark.alone
def test_a_planned_task_is_sent_at_its_instant(tmp_path: Path) -> None:
    with EchoServerProcess() as server, GoldenRun(tmp_path / "run", server.target, *plan(100, 5)) as run:
        found = run.measured()
    response, service = found.times("response"), found.times("service")
    assert response["p50"] - service["p50"] <= MOST
    assert found.times("generator_delay")["p50"] <= MOST
