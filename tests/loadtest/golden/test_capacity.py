"""Golden tests of a server that gets more than it can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loadtest.golden.runs import GoldenRun, KnownServer, plan

RATE = 60


@pytest.mark.parametrize("length", [pytest.param(13, id="short"), pytest.param(40, marks=pytest.mark.long, id="long")])
def test_more_than_the_server_can_do_is_unsteady(length: int, tmp_path: Path) -> None:
    """It can do five sixths of it. What is under way at the end is aborted, and not forgotten."""
    capacity = RATE / 1.2
    options = (*plan(RATE, length), "--tcp-request-timeout", "60", "--stop-timeout", "0")
    with (
        KnownServer(delay=1 / capacity, one_by_one=True) as server,
        GoldenRun(tmp_path / "run", server.target, *options, users=RATE * length // 4) as run,
    ):
        found = run.measured()
    assert "echo: p50 rose" in found.reasons
    assert length < 20 or "operations under way rose by" in found.reasons
    # In the short form other tests may take the generator's core.
    assert found.status == "unsteady" or (length < 20 and found.status == "generator-bound")
    account = found.account
    assert account["planned"] == RATE * length
    assert account["sent"] == len(server.arrivals)
    assert account["aborted"] == pytest.approx((RATE - capacity) * length, rel=0.3)
    assert found.row()["ok"] == account["sent"] - account["aborted"]
