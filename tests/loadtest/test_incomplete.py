"""A worker that dies or does not answer: the run goes to its end, and is not a success."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, peers
from tests.support.locust_process import LOCUSTFILES, EchoServerProcess, LocustRun
from tests.support.timing import SCALE, wait_until

BUSY = ("--headless", "-u", "20", "-r", "20", "--tcp-think-time", "0.1")


def last_lines(run: LocustRun, number: int) -> str:
    return "\n".join(run.log.rstrip().splitlines()[-number:])


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)])
def test_a_worker_that_is_lost_makes_the_run_incomplete(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = ("--tcp-json", str(path), "--tcp-fail-on-verdict")
    with LocustRun(tmp_path, *BUSY, "--processes", "2", "-t", "6", "--tcp-arrival-rate", "200", *options) as run:
        run.wait_for_log(r"TCP +echo +[1-9]\d\d")
        worker = run.workers()[0]
        worker.send_signal(number)
        assert run.wait(60 * SCALE) == 6, run.log
        assert run.family() == []
    assert "Traceback" not in run.log
    # The master sees the same after both signals: no heartbeat and no answer.
    assert re.search(
        r"incomplete: worker [01] \(\S+\) was lost: no heartbeat\. "
        r"Operations after the last report are not counted \(exit code 6\)$",
        last_lines(run, 1),
    ), run.log
    assert run.log.count("loadtest: incomplete: ") == 1
    started, ok, failed, aborted = map(
        int, re.findall(r"operations: started (\d+), ok (\d+), failed (\d+), aborted (\d+)\n", run.log)[0]
    )
    assert started >= ok + failed + aborted > 100
    # The last report of the lost worker counts, and adds up. No other worker gets its part of the plan.
    planned, sent, dropped = map(int, re.findall(r"tasks: planned (\d+), sent (\d+) .*dropped (\d+)\n", run.log)[0])
    assert planned == sent + dropped
    assert 500 <= planned <= 1150
    assert_is_of_last_report(json.loads(path.read_text()), ok)


def assert_is_of_last_report(result: dict[str, Any], ok: int) -> None:
    """Check that the result has the lost worker's operations up to its last report, and names the worker."""
    assert sum(row["ok"] for row in result["rows"] if row["type"] != "TASK") == result["account"]["ok"] == ok
    assert result["verdict"]["status"] == "incomplete"
    (lost,) = [worker for worker in result["workers"] if worker["verdict"]["status"] == "incomplete"]
    assert lost["verdict"]["reasons"][0] == "was lost: no heartbeat"
    assert re.fullmatch(rf"worker [01] \({lost['id']}\): was lost: no heartbeat", result["verdict"]["reasons"][0])
    assert lost["ok"] > 0


@pytest.mark.long
def test_the_end_does_not_judge_operations_of_which_lost_workers_sent_no_report(tmp_path: Path) -> None:
    """The workers are killed after their users have begun, and before their first report."""
    with peers.echoes() as peer, LocustRun(
        tmp_path, *BUSY, "--processes", "2", "-t", "5", "--host", peer.target
    ) as run:  # fmt: skip
        wait_until(lambda: peer.open == 20, 20 * SCALE, "20 connections")
        for worker in run.workers():
            worker.kill()
        assert run.wait() == 6, run.log
    assert "operations: started 0, ok 0, failed 0, aborted 0\n" in run.log
    assert run.log.count("loadtest: incomplete: worker ") == 2
    assert "no operation was started" not in run.log
    assert "no answer came from" not in run.log


@pytest.mark.long
def test_a_worker_without_the_package_makes_the_run_incomplete_and_does_not_delay_the_end(tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir()
    with (
        EchoServerProcess() as server,
        LocustRun(
            tmp_path, "--master", "--expect-workers", "2", "--host", server.target, "-t", "4", *BUSY, module="locust"
        ) as master,
        LocustRun(there, "--worker", master_port=master.master_port, module="locust"),
        LocustRun(
            there, "--worker", master_port=master.master_port, module="locust", locustfile=LOCUSTFILES / "plain_user.py"
        ),
    ):
        assert master.wait(20 * SCALE) == 6, master.log
    assert "Traceback" not in master.log
    assert re.search(r"PLAIN +fire", master.log), "its requests are counted as usual"
    found = re.findall(r"incomplete: worker [01] \(\S+\) (.*?)\. Operations", master.log)
    assert found == ["runs without geventecho.loadtest, or without a TcpUser"]


def test_a_run_without_an_answer_names_the_target_and_the_most_frequent_failure(tmp_path: Path) -> None:
    with peers.refuses() as target, LocustRun(tmp_path, *BUSY, "-t", "2", "--host", target) as run:
        assert run.wait() == 1, run.log
    failed = re.findall(r"operations: started \d+, ok 0, failed (\d+), aborted \d+\n", run.log)
    assert failed
    assert re.search(
        rf"no answer came from {re.escape(target)}: failed operations: {failed[0]}; "
        rf"(operations under way at the end: \d+; )?most frequent failure \({failed[0]}\): connect: refused$",
        last_lines(run, 1),
    ), run.log


def test_a_run_without_an_answer_repeats_no_sample_and_leaves_out_a_count_of_zero(tmp_path: Path) -> None:
    options = ("--tcp-send", r"hello\r\n", "--tcp-reply-until", r"\r\n", "--tcp-expect", "^no")
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--headless", "-u", "1", "-r", "1", "-t", "2", "--tcp-think-time", "0.1", "--host", peer.target,
        *options, locustfile=ROOT / "loadtests" / "any_tcp.py",
    ) as run:  # fmt: skip
        assert run.wait() == 1, run.log
    assert "unexpected reply, first seen: b'hello" in run.log
    failed, aborted = map(int, re.findall(r"ok 1, failed (\d+), aborted ([01])\n", run.log)[0])
    under_way = "operations under way at the end: 1; " if aborted else ""  # the run may end during a request
    assert last_lines(run, 1).endswith(
        f"no answer came from {peer.target}: failed operations: {failed}; {under_way}"
        f"most frequent failure ({failed}): request: unexpected reply"
    ), run.log
