"""Golden test: the beginning of a run is not in its figures."""

from __future__ import annotations

from pathlib import Path

from tests.loadtest.golden.runs import EMPTY, GoldenRun, KnownServer, plan

DELAY = 0.05
SLOW = 10 * DELAY


def test_a_slow_beginning_is_in_the_warm_up_alone(tmp_path: Path) -> None:
    """In the first second the delay is ten times as long. The warm-up ends half a second later."""
    options = (*plan(100, 5), "--tcp-warm-up", str(EMPTY + 1.5))
    with (
        KnownServer(delay=DELAY, slow=1.0) as server,
        GoldenRun(tmp_path / "run", server.target, *options, users=80) as run,
    ):
        found = run.measured()
    warm_up = found.row("echo", found.result["warm_up"]["rows"])
    assert warm_up["response_us"]["max"] >= SLOW * 1e6
    response = found.times("response")
    assert response["max"] < SLOW
    assert response["mean"] < SLOW / 4, "with the slow second it would be 0.28 SLOW"
    assert warm_up["ok"] + found.row()["ok"] == found.account["sent"]
    assert found.row()["ok"] >= 200
    assert 5 - 2.5 <= found.result["duration_s"] <= 5 - 1.5
