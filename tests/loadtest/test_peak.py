"""The most connects in one second: the process counts them, and a run prints the number at its end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.locust_process import ECHO_USER, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import wait_until


@pytest.mark.faults
def test_the_peak_is_that_of_the_fullest_second() -> None:
    with peers.refuses() as target:
        found = run_script("peak.connects", target)
    # The account and the event read the clock separately, so they may have a connect in different seconds. A connect
    # that the end of the run aborts fires no event.
    assert found["fullest"] - 1 <= found["peak"] <= found["fullest"] + found["aborted"] + 1
    assert found["all"] >= 300
    assert found["peak"] < found["all"] or found["seconds"] == 1


@pytest.mark.faults
def test_a_headless_run_prints_the_peak(tmp_path: Path) -> None:
    """Each connection breaks in its second echo; the reconnects are spread over some seconds."""
    users = ("-u", "40", "-r", "40", "-t", "4s", "--tcp-think-time", "0.1")
    with (
        peers.resets_after(2000) as peer,
        LocustRun(tmp_path, "--headless", *users, "--host", peer.target, locustfile=ECHO_USER) as run,
    ):
        assert run.wait() == 1
        wait_until(lambda: peer.open == 0)
    found = re.search(r"connects: (\d+), at most (\d+) in one second\n", run.log)
    assert found, run.log
    connects, peak = map(int, found.groups())
    assert connects == peer.accepted > 40
    assert connects / 10 < peak < connects
