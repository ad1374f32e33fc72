"""The end of a run: complete numbers in every output, for each way to end it, and no process left behind."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT, peers
from tests.support.locust_process import LOCUSTFILES, EchoServerProcess, LocustRun, environment
from tests.support.timing import SCALE, wait_until

WORKERS = ("--processes", "2")


def fired(run: LocustRun) -> int:
    return sum(process["ok"] + process["failed"] for process in run.fired())


def csv_total(path: Path) -> int:
    with path.open() as file:
        return next(int(row["Request Count"]) for row in csv.DictReader(file) if row["Name"] == "Aggregated")


def html_total(path: Path) -> int:
    found = re.search(r"window\.templateArgs = (\{.*?\})\s*(?:;|</script>|window)", path.read_text(), re.DOTALL)
    assert found
    rows = json.loads(found[1])["requests_statistics"]
    return next(int(row["num_requests"]) for row in rows if row["name"] == "Aggregated")


def assert_complete(run: LocustRun, processes: int) -> None:
    """Check that the master counted and wrote exactly the fired events, and that each process's account adds up."""
    assert len(run.fired()) == processes
    for process in run.fired():
        account = process["account"]
        assert account["started"] == account["ok"] + account["failed"] + account["aborted"]
        assert (account["ok"], account["failed"]) == (process["ok"], process["failed"])
    assert fired(run) > 20
    assert run.counted() == {"requests": fired(run), "failures": 0}, run.log
    assert csv_total(run.directory / "result_stats.csv") == fired(run)
    assert html_total(run.directory / "result.html") == fired(run)
    names = ("started", "ok", "failed", "aborted")
    sums = {name: sum(process["account"][name] for process in run.fired()) for name in names}
    assert "operations: " + ", ".join(f"{name} {sums[name]}" for name in names) + "\n" in run.log
    assert "Traceback" not in run.log
    assert run.family() == []


def outputs(directory: Path) -> tuple[str, ...]:
    return ("--html", str(directory / "result.html"), "--csv", str(directory / "result"))


BUSY = ("-u", "20", "-r", "20", "--tcp-think-time", "0.1")
RUN_TIME = (*BUSY, "-t", "2")
# The master still sends spawn orders while the workers report. The workers must not start users again.
RAMP_UP = ("-u", "100", "-r", "20", "-t", "2", "-s", "3", "--tcp-think-time", "0.1")
# For each ending: arguments, the number of processes with users, and the call that ends the run after some echoes.
ENDINGS: dict[str, tuple[tuple[str, ...], int, Callable[[LocustRun], None] | None]] = {
    "run time": (RUN_TIME, 1, None),
    "Ctrl-C": (BUSY, 1, lambda run: run.signal_group(signal.SIGINT)),
    "SIGTERM": (BUSY, 1, lambda run: run.process.send_signal(signal.SIGTERM)),
    "run time, 2 workers": (RUN_TIME, 2, None),
    "Ctrl-C to all, 2 workers": (BUSY, 2, lambda run: run.signal_group(signal.SIGINT)),
    "SIGTERM to the master, 2 workers": (BUSY, 2, lambda run: run.process.send_signal(signal.SIGTERM)),
    "SIGTERM to all, 2 workers": (BUSY, 2, lambda run: run.signal_group(signal.SIGTERM)),
    "run time in the ramp-up, 2 workers": (RAMP_UP, 2, None),
}
DIFFERENT = ("Ctrl-C", "SIGTERM to the master, 2 workers", "run time in the ramp-up, 2 workers")
"""Each other ending is like one of these, or like the ending of another test here."""


def wait_for_echoes(run: LocustRun) -> None:
    """Wait for a hundred echoes, which the end of the run could lose."""
    run.wait_for_log(r"TCP +echo +[1-9]\d\d")


@pytest.mark.parametrize(
    "ending", [pytest.param(name, marks=() if name in DIFFERENT else pytest.mark.long) for name in ENDINGS]
)
def test_the_numbers_are_complete_at_the_end(ending: str, tmp_path: Path) -> None:
    arguments, processes, end = ENDINGS[ending]
    workers = WORKERS if processes == 2 else ()
    with LocustRun(tmp_path, "--headless", *arguments, *workers, *outputs(tmp_path)) as run:
        if end is not None:
            wait_for_echoes(run)
            others = len(run.family()) - len(run.workers())
            assert (len(run.workers()), others) == ({1: 0, 2: 2}[processes], 3), "master, echo server, live figures"
            end(run)
        assert run.wait() == 0, run.log
        assert_complete(run, processes)


def test_the_server_received_the_bytes_of_the_counted_echoes(tmp_path: Path) -> None:
    with EchoServerProcess() as server, LocustRun(
        tmp_path, "--headless", "--host", server.target, "-t", "2", *BUSY, *outputs(tmp_path)
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
        assert_complete(run, 1)
    assert server.counters["accepted"] == server.peak == 20
    echoes, aborted = fired(run) - 20, run.fired()[0]["account"]["aborted"]
    assert 1024 * echoes <= server.counters["bytes_received"] <= 1024 * (echoes + aborted)


def test_the_numbers_are_complete_after_each_stop_in_the_web_ui(tmp_path: Path) -> None:
    with LocustRun(tmp_path, *WORKERS, *outputs(tmp_path)) as run:
        run.wait_for_ui()
        wait_until(lambda: json.loads(run.request("/worker-count")[1])["worker_count"] == 2, goal="two workers")

        def is_running() -> bool:
            stats = run.stats()
            return bool(stats["state"] == "running" and stats["stats"][-1]["num_requests"] > 100)

        for test in (1, 2):
            form = {"user_count": 20, "spawn_rate": 20, "host": run.server_target(), "tcp_think_time": "0.02"}
            assert run.swarm(**form)["success"], run.log
            if test == 1:  # the second test is stopped while it starts
                wait_until(is_running, 20 * SCALE, "requests")
            run.stop()
            assert run.counted() == {"requests": fired(run), "failures": 0}
            assert [process["tests"] for process in run.fired()] == [test, test]
            wait_until(lambda: run.stats()["stats"][-1]["num_requests"] == fired(run), goal="the same number in the UI")
            wait_until(lambda: run.stats()["state"] == "stopped", 20 * SCALE, "workers ready")
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
        assert run.family() == []


@pytest.mark.parametrize("early", [False, pytest.param(True, marks=pytest.mark.long)])
def test_no_process_outlives_a_killed_master(tmp_path: Path, early: bool) -> None:
    with LocustRun(tmp_path, "--headless", *BUSY, *WORKERS) as run:
        if early:
            wait_until(lambda: len(run.workers()) == 2, 20 * SCALE, "two workers")
        else:
            wait_for_echoes(run)
        assert len(run.workers()) == 2
        os.kill(run.process.pid, signal.SIGKILL)
        wait_until(lambda: run.family() == [], 3 * SCALE, "the end of every process")


@pytest.mark.long
def test_failures_give_exit_code_1(tmp_path: Path) -> None:
    with LocustRun(
        tmp_path, "--headless", "--host", "tcp://127.0.0.1:1", "-t", "2", *BUSY, *WORKERS, *outputs(tmp_path)
    ) as run:  # fmt: skip
        assert run.wait() == 1
        assert run.counted()["failures"] == run.counted()["requests"] == fired(run) > 0
        assert "Traceback" not in run.log
        errors = (tmp_path / "result_failures.csv").read_text().splitlines()[1:]
        assert [line.split(",")[:3] for line in errors] == [["TCP", "connect", "refused"]]


@pytest.mark.long
@pytest.mark.parametrize("workers", [pytest.param((), id="1 process"), pytest.param(WORKERS, id="2 workers")])
def test_a_run_without_an_answer_exits_with_1(workers: tuple[str, ...], tmp_path: Path) -> None:
    with peers.never_replies() as peer, LocustRun(
        tmp_path, "--headless", "--host", peer.target, "-t", "2", *BUSY, *workers
    ) as run:  # fmt: skip
        assert run.wait() == 1, run.log
    found = re.search(r"operations: started (\d+), ok (\d+), failed 0, aborted (\d+)\n", run.log)
    assert found, run.log
    started, connected, aborted = map(int, found.groups())
    assert started == connected + aborted
    assert aborted > 0
    assert "no answer came from" in run.log
    assert "Traceback" not in run.log


def test_a_run_that_ends_before_its_first_operation_exits_with_1(tmp_path: Path) -> None:
    with EchoServerProcess() as server, LocustRun(
        tmp_path, "--headless", "--host", server.target, "-t", "1", *BUSY, "Late",
        locustfile=LOCUSTFILES / "late_start.py",
    ) as run:  # fmt: skip
        assert run.wait() == 1, run.log
    assert "operations: started 0, ok 0, failed 0, aborted 0\n" in run.log
    assert "no operation was started" in run.log


@pytest.mark.parametrize(
    "workers", [pytest.param((), id="1 process"), pytest.param(WORKERS, id="2 workers", marks=pytest.mark.long)]
)
def test_locust_judges_a_run_whose_users_are_all_of_other_classes(workers: tuple[str, ...], tmp_path: Path) -> None:
    with LocustRun(
        tmp_path, "--headless", "-u", "1", "-t", "2", *workers,
        locustfile=LOCUSTFILES / "plain_beside.py", own_server=False,
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
    assert re.search(r"PLAIN +fire +[1-9]", run.log), run.log
    assert "no operation was started" not in run.log


def test_a_second_signal_ends_the_own_server_without_a_traceback() -> None:
    """timeout(1) and make both pass a SIGTERM on."""
    program = Path(__file__).parent / "programs" / "second_signal.py"
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60 * SCALE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    port = int(done.stdout.rpartition(":")[2])

    def is_refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED

    wait_until(is_refused)


@pytest.mark.long
def test_a_killed_worker_does_not_delay_the_end(tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--headless", *BUSY, *WORKERS, *outputs(tmp_path)) as run:
        wait_for_echoes(run)
        run.workers()[0].kill()
        run.process.send_signal(signal.SIGTERM)
        assert run.wait(20 * SCALE) == 6, run.log
        assert "was lost: no heartbeat" in run.log
        assert run.family() == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_apart_from_the_master_report_when_a_signal_ends_them(number: signal.Signals, tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir()
    with (
        EchoServerProcess() as server,
        LocustRun(
            tmp_path, "--master", "--headless", "--expect-workers", "2", "--host", server.target, *BUSY, module="locust"
        ) as master,
        LocustRun(there, "--worker", *WORKERS, master_port=master.master_port, module="locust") as workers,
    ):
        wait_for_echoes(master)
        workers.signal_group(number)
        workers.wait()
        assert master.wait() == 0, master.log
        assert len(workers.fired()) == 2
        assert master.counted() == {"requests": fired(workers), "failures": 0}
        assert "Traceback" not in master.log
