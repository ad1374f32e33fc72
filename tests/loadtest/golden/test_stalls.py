"""Golden test of a stall of the server: each time counts from the planned instant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loadtest.golden.runs import EMPTY, EchoServerProcess, GoldenRun, plan, stop_for
from tests.support.timing import figure

RATE = 100


@pytest.mark.long
@pytest.mark.parametrize(
    ("stopped", "length", "tolerance"),
    [pytest.param(0.8, 10.0, 0.1, id="short"), pytest.param(2.0, 20.0, 0.05, id="long")],
)
def test_an_open_run_measures_the_whole_stall_of_a_server_and_a_closed_run_does_not(
    stopped: float, length: float, tolerance: float, tmp_path: Path
) -> None:
    """The p-th percentile of a run of T seconds with a stall of S is S - (1 - p) T: the stall removes no task.

    There are fewer users than tasks in the stall: the time that a task waits for a user counts, too.

    A closed run has one slow operation for each user: a user that waits for the server sends nothing meanwhile.
    """
    users, closed = 5, ("--tcp-think-time", "0.02", "-t", f"{EMPTY + length:g}")
    with (
        EchoServerProcess() as server,
        GoldenRun(tmp_path / "open", server.target, *plan(RATE, length), users=20) as many,
        GoldenRun(tmp_path / "closed", server.target, *closed, users=users) as few,
    ):
        many.wait_for_echoes()
        stall = stop_for(server.pid, stopped)
        opened, closed_ = many.measured(), few.measured()
    assert opened.account["planned"] == round(RATE * length)
    assert opened.account["sent"] == opened.row()["ok"], "no sample was made up"
    times = opened.times("response")
    assert times["p50"] < stall / 10
    assert times["p90"] < stall / 10
    assert times["p95"] == pytest.approx(stall - 0.05 * length, rel=tolerance)
    assert times["p99"] == pytest.approx(stall - 0.01 * length, rel=tolerance)
    assert times["max"] == pytest.approx(stall, rel=tolerance)
    assert times["mean"] - times["p50"] == pytest.approx(stall**2 / 2 / length, rel=3 * tolerance)

    times = closed_.times("response")
    slow = (times["mean"] - times["p50"]) * closed_.row()["ok"] / stall
    figure("slow operations of the closed run", slow)
    assert times["p99"] < stall / 10
    assert users - 1 <= slow <= 4 * users, "the noise of all operations adds to it"
    assert closed_.account["planned"] == 0
