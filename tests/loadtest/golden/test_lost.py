"""Golden tests of failed operations: they do not change the good times, and they are lost in the offered times."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.loadtest.golden.runs import GoldenRun, KnownServer, plan

DELAY = 0.1


@pytest.mark.parametrize("mode", ["open", pytest.param("closed", marks=pytest.mark.long)])
def test_half_of_the_requests_failing_leaves_the_good_times_unchanged(mode: str, tmp_path: Path) -> None:
    """Half of the requests fail at once. Among the good times they would lower the mean."""
    options = plan(60, 5) if mode == "open" else ("--tcp-think-time", "0.5", "-t", "7")
    with (
        KnownServer(delay=DELAY) as healthy,
        KnownServer(delay=DELAY, reset_every=2) as failing,
        GoldenRun(tmp_path / "healthy", healthy.target, *options, users=80) as good,
        GoldenRun(tmp_path / "failing", failing.target, *options, users=80) as half,
    ):
        whole, mixed = good.measured(), half.measured()
    row = mixed.row()
    assert row["failed"] == pytest.approx(row["ok"], abs=1)
    assert row["rate"] == pytest.approx(row["ok"] / mixed.result["duration_s"], rel=0.01)
    expected, found, offered = whole.times("response"), mixed.times("response"), mixed.times("offered")
    assert expected["p50"] >= DELAY
    assert found["p50"] == pytest.approx(expected["p50"], rel=0.1)
    assert found["mean"] >= DELAY
    assert found["p90"] < 3 * DELAY, "a user's pause before it connects again is no response time"
    assert offered["p90"] == offered["p95"] == math.inf
    assert row["failed_times"]["response_us"]["max"] > 0


@pytest.mark.long
def test_two_timeouts_in_a_hundred_are_the_offered_p99(tmp_path: Path) -> None:
    options = (*plan(100, 20), "--tcp-request-timeout", "1")
    with (
        KnownServer(delay=DELAY, silent_every=50) as server,
        GoldenRun(tmp_path / "run", server.target, *options, users=60) as run,
    ):
        found = run.measured()
    row = found.row()
    assert row["failed"] == len(server.arrivals) // 50
    assert row["ok"] + row["failed"] == len(server.arrivals) == found.account["sent"]
    good, offered = found.times("response"), found.times("offered")
    assert good["p99"] < 1, "a timeout is no response time"
    assert offered["p99"] == math.inf
    assert offered["p95"] < 1
    assert found.row()["offered_us"]["p99"]["high"] == "lost"
    assert [(failure["kind"], failure["count"]) for failure in found.result["failures"]] == [
        ("read timeout", row["failed"])
    ]
