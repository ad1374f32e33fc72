"""Pieces of Python that use Locust, each in a process of its own: importing it patches a process."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.locust_process import ROOT, environment
from tests.support.timing import SCALE

# Imports Locust once, then runs each script in a fork of itself: an interpreter with Locust takes a second to start.
# It never runs a hub, so nothing is alive twice after the fork.
FORKER = """\
import faulthandler, json, os, sys
from tests.support import harness
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(job["log"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = job["argv"]
        faulthandler.dump_traceback_later(job["seconds"], exit=True)
        with open(sys.argv[0]) as file:
            code = compile(file.read(), sys.argv[0], "exec")
        def answer(value):
            with open(job["answer"], "w") as file:
                json.dump(value, file)
        exec(code, {"__name__": "__main__", "answer": answer, "sys": sys, **vars(harness)})
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

SLEEPS = """
from geventecho.loadtest.users import task_loop as tasks
sleeps = []
sleep = tasks._sleep
def count(taskset, seconds):
    sleeps.append(seconds)
    sleep(taskset, seconds)
tasks._sleep = count
"""
"""For scripts: keeps in `sleeps` what users sleep between their tasks, in seconds."""


class Scripts:
    """Runs scripts one after the other in forks of a process that has imported Locust and tests/support/harness.py."""

    def __init__(self) -> None:
        self._forker: subprocess.Popen[str] | None = None

    def run(self, text: str, *arguments: str, directory: Path, seconds: float = 30.0) -> Any:
        """Run `text`; returns what it gave to `answer(value)`.

        Raises:
            AssertionError: it failed, printed a traceback, or was not done in time.
        """
        forker = self._forker = self._forker or self._start()
        answer, log, script = directory / "answer.json", directory / "script.log", directory / "script.py"
        answer.unlink(missing_ok=True)
        script.write_text(text)
        job = {"argv": [str(script), *arguments], "log": str(log), "answer": str(answer), "seconds": seconds * SCALE}
        assert forker.stdin is not None
        assert forker.stdout is not None
        forker.stdin.write(json.dumps(job) + "\n")
        forker.stdin.flush()
        code = forker.stdout.readline().strip()
        printed = log.read_text()
        assert code == "0", printed
        assert "Traceback" not in printed, printed
        return json.loads(answer.read_text())

    def _start(self) -> subprocess.Popen[str]:
        atexit.register(self.stop)
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", FORKER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment(),
        )  # fmt: skip

    def stop(self) -> None:
        """End the process."""
        if self._forker is not None:
            self._forker.communicate()
            self._forker = None


run_script = Scripts().run


def run_users(text: str, target: str, directory: Path) -> dict[str, Any]:
    """Run `text`, which has `target` and what loadtest/harness.py defines; returns what it answered."""
    result: dict[str, Any] = run_script("target = sys.argv[1]\n" + text, target, directory=directory)
    return result


def assert_clean(result: dict[str, Any]) -> None:
    """What must hold after every run, whatever the peer did."""
    account = result["account"]
    assert account["started"] == account["ok"] + account["failed"] + account["aborted"]
    requests = sum(requests for requests, _ in result["rows"].values())
    failures = sum(failures for _, failures in result["rows"].values())
    assert result["fired"] == requests == account["ok"] + account["failed"]
    assert failures == account["failed"] == sum(result["errors"].values())
    assert result["timed_failures"] == 0, "a failure has no response time"
    assert (result["sockets_left"], result["users_left"], result["greenlets_left"]) == (0, 0, 0)
