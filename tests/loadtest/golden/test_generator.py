"""Golden tests of a generator that stands still: its delay is measured, and not taken for a delay of the server."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.loadtest.golden.runs import EchoServerProcess, GoldenRun, KnownServer, plan, stop_for
from tests.support.timing import figure

RATE = 100


@pytest.mark.parametrize(
    ("length", "beside"),
    [pytest.param(5.0, 1.0, id="short"), pytest.param(20.0, 0.02, marks=pytest.mark.long, id="long")],
)
def test_a_stopped_generator_sends_late_and_the_verdict_says_so(length: float, beside: float, tmp_path: Path) -> None:
    """`beside` is the share of the tasks that may be late for another reason: other tests use the machine."""
    with EchoServerProcess() as server, GoldenRun(tmp_path / "run", server.target, *plan(RATE, length)) as run:
        run.wait_for_echoes()
        stall = stop_for(run.process.pid, 0.5)
        found = run.measured()
    account = found.account
    assert account["planned"] == round(RATE * length)
    late, planned_then = account["late"] + account["dropped"], RATE * stall
    figure("late or dropped", (late, planned_then))
    assert planned_then - 2 <= late <= planned_then + 2 + beside * account["planned"]
    assert found.status == "generator-bound", found.reasons
    assert "the event loop stood still for up to" in found.reasons
    delay, service = found.times("generator_delay"), found.times("service")
    assert delay["max"] == pytest.approx(stall, abs=0.05)
    assert delay["p99"] == pytest.approx(stall - 0.01 * length, abs=0.05)
    assert service["p99"] < delay["p99"] / 2, "the server was not slow"


@pytest.mark.long
def test_instants_that_come_too_late_are_dropped(tmp_path: Path) -> None:
    """The pause has more instants than there are users. An instant that waits too long for a user is dropped."""
    lateness, users, delay = 0.2, 5, 0.02
    options = (*plan(RATE, 4), "--tcp-max-lateness", str(lateness))
    with KnownServer(delay=delay) as server, GoldenRun(tmp_path / "run", server.target, *options, users=users) as run:
        run.wait_for_echoes()
        stall = stop_for(run.process.pid, 0.5)
        found = run.measured()
    too_old = RATE * (stall - lateness)
    assert too_old / 2 <= found.account["dropped"] <= 2 * too_old
    assert found.account["planned"] == 4 * RATE
    assert found.account["sent"] == found.row()["ok"] == len(server.arrivals)
    tasks = found.row("EchoUser")
    assert (tasks["type"], tasks["dropped"]) == ("TASK", found.account["dropped"])
    assert found.times("offered", "EchoUser")["p95"] == math.inf


@pytest.mark.long
def test_a_blocked_event_loop_delays_the_sending_and_not_the_service(tmp_path: Path) -> None:
    """One of two workers stands still for 0.1 s of each second. The verdict names this worker."""
    blocked, rate = 0.1, 200
    with (
        EchoServerProcess() as server,
        GoldenRun(
            tmp_path / "run", server.target, *plan(rate, 6), "--processes", "2",
            locustfile="blocked.py", extra={"BLOCKED": str(blocked)},
        ) as run,
    ):  # fmt: skip
        found = run.measured()
    # This worker has half of all instants, and its pauses are a tenth of the time.
    expected = blocked - 2 * 0.01
    response, service, delay = (found.times(kind) for kind in ("response", "service", "generator_delay"))
    assert delay["p99"] >= 0.8 * expected
    assert response["p99"] >= 0.9 * delay["p99"]
    assert service["p95"] < expected / 2
    assert found.status == "generator-bound"
    named = [reason for reason in found.reasons.splitlines() if "without this worker" in reason]
    assert len(named) == 1
    assert named[0].startswith("worker 0"), named
