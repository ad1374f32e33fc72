"""Workers on other machines end after their master is killed, and continue while their master is busy."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until

BUSY = ("-u", "20", "-r", "20", "--tcp-think-time", "0.1")
LIMIT = 10.0
"""Seconds within which a worker ends, according to the documentation."""
# Seconds without a heartbeat until a worker connects to its master: the package's value, and a value for quick tests.
REAL, SHORT = 7, 1
long = pytest.mark.long


@contextlib.contextmanager
def runs(directory: Path, target: str, patience: int) -> Iterator[tuple[LocustRun, LocustRun]]:
    """A master, and a worker that is started separately, as on two machines."""
    (there := directory / "there").mkdir()
    watched = LOCUSTFILES / "watched.py"
    extra = {"PATIENCE": str(patience), "BUSY": str(patience + 3)}
    with (
        LocustRun(
            directory, "--master", "--headless", "--expect-workers", "1", "--host", target, *BUSY,
            module="locust", locustfile=watched, extra=extra,
        ) as master,
        LocustRun(
            there, "--worker", master_port=master.master_port, module="locust", locustfile=watched, extra=extra
        ) as worker,
    ):  # fmt: skip
        yield master, worker


@pytest.mark.parametrize(
    ("number", "patience"),
    [
        (signal.SIGKILL, SHORT),
        pytest.param(signal.SIGKILL, REAL, marks=long),
        pytest.param(signal.SIGSTOP, REAL, marks=long),
    ],
)
def test_a_worker_ends_when_its_master_is_gone(number: signal.Signals, patience: int, tmp_path: Path) -> None:
    with peers.echoes() as peer, runs(tmp_path, peer.target, patience) as (master, worker):
        master.wait_for_log(r"TCP +echo +[1-9]\d\d")
        os.kill(master.process.pid, number)
        begun = time.monotonic()
        wait_until(lambda: peer.open == 0, LIMIT * SCALE, "the end of the users")
        assert time.monotonic() - begun > patience - 1, "the worker first waits for a late heartbeat"
        assert worker.wait(LIMIT * SCALE) == 6, worker.log
        assert time.monotonic() - begun < LIMIT * SCALE
        assert worker.family() == []
    assert "Traceback" not in worker.log
    assert re.search(
        r"incomplete: the master is gone: no heartbeat for \d+ seconds\. "
        r"Operations after the last report are not counted \(exit code 6\)$",
        worker.log.rstrip(),
    ), worker.log
    (fired,) = worker.fired()
    account = fired["account"]
    assert account["started"] == account["ok"] + account["failed"] + account["aborted"]
    printed = ", ".join(f"{name} {account[name]}" for name in ("started", "ok", "failed", "aborted"))
    assert f"operations: {printed}\n" in worker.log
    assert account["ok"] > 100


@pytest.mark.parametrize("patience", [SHORT, pytest.param(REAL, marks=long)])
def test_a_worker_does_not_take_a_busy_master_for_gone(patience: int, tmp_path: Path) -> None:
    with peers.echoes() as peer, runs(tmp_path, peer.target, patience) as (master, worker):
        wait_until(lambda: peer.open == 20, 30 * SCALE, "the connections of all users")
        os.kill(master.process.pid, signal.SIGUSR1)
        time.sleep(patience + 2)
        assert worker.process.poll() is None, worker.log
        master.process.send_signal(signal.SIGTERM)
        assert (master.wait(), worker.wait()) == (0, 0), master.log + worker.log
        (fired,) = worker.fired()
        assert master.counted() == {"requests": fired["ok"] + fired["failed"], "failures": 0}
    assert "is gone" not in worker.log
    assert "operations: " not in worker.log, "after an orderly end the master reports the operations"


@long
def test_a_worker_that_was_stopped_and_continued_does_not_take_its_master_for_gone(tmp_path: Path) -> None:
    with peers.echoes() as peer, runs(tmp_path, peer.target, REAL) as (master, worker):
        master.wait_for_log(r"TCP +echo +[1-9]\d\d")
        os.kill(worker.process.pid, signal.SIGSTOP)
        time.sleep(REAL + 5)
        os.kill(worker.process.pid, signal.SIGCONT)
        master.wait_for_log("self-healed")
        master.process.send_signal(signal.SIGTERM)
        # Locust's master has stopped the test: it had no other worker.
        assert (master.wait(), worker.wait()) == (6, 0), master.log + worker.log
    assert "is gone" not in worker.log


def test_the_long_tests_use_the_packages_heartbeat_timeout() -> None:
    assert run_script("internals.heartbeat_timeout") == REAL
