"""The most connects in one second: counted by the process, and told at the end of a run."""

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
    # The clock is read twice for one connect, so that at a second's border one may count for the other. One that was
    # cut off by the end of the run fired no event.
    assert found["fullest"] - 1 <= found["peak"] <= found["fullest"] + found["aborted"] + 1
    assert found["all"] >= 300
    assert found["peak"] < found["all"] or found["seconds"] == 1


@pytest.mark.faults
def test_a_headless_run_tells_the_peak(tmp_path: Path) -> None:
    """Half of a crowd's connections break, and come back over some seconds."""
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
