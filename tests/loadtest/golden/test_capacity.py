"""Golden test of a rate above the capacity of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loadtest.golden.runs import GoldenRun, KnownServer, plan

RATE = 60
LENGTH = 40


@pytest.mark.long
def test_a_rate_above_the_capacity_is_unsteady(tmp_path: Path) -> None:
    """The capacity is five sixths of the rate. Operations under way at the end are counted as aborted."""
    capacity = RATE / 1.2
    options = (*plan(RATE, LENGTH), "--tcp-request-timeout", "60", "--stop-timeout", "0")
    with (
        KnownServer(delay=1 / capacity, one_by_one=True) as server,
        GoldenRun(tmp_path / "run", server.target, *options, users=RATE * LENGTH // 4) as run,
    ):
        found = run.measured()
    assert "echo: p50 rose" in found.reasons
    assert "the operations under way rose by" in found.reasons
    assert found.status == "unsteady"
    account = found.account
    assert account["planned"] == RATE * LENGTH
    assert account["sent"] == len(server.arrivals)
    assert account["aborted"] == pytest.approx((RATE - capacity) * LENGTH, rel=0.3)
    assert found.row()["ok"] == account["sent"] - account["aborted"]
