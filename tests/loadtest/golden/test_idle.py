"""Golden tests on a machine that does nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loadtest.golden.runs import EchoServerProcess, GoldenRun, plan
from tests.support.timing import figure

MAX_SECONDS = 0.00015
"""The generator may add this many seconds to the median response time. A timer of whole milliseconds adds 0.5 ms."""


@pytest.mark.alone
def test_a_planned_task_is_sent_at_its_instant(tmp_path: Path) -> None:
    """A disturbed run is repeated: a timer that is too coarse fails each time."""
    for attempt in range(3):
        with (
            EchoServerProcess() as server,
            GoldenRun(tmp_path / str(attempt), server.target, *plan(100, 3)) as run,
        ):  # fmt: skip
            found = run.measured()
        own = found.times("response")["p50"] - found.times("service")["p50"]
        figure("median response time less median service time", own)
        if own <= MAX_SECONDS:
            break
    assert own > 0, "the response time counts from the instant, not from the sending"
    assert own <= MAX_SECONDS
