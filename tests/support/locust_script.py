"""Runs functions that use Locust, each in a process of its own: importing Locust patches a process."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support import ROOT
from tests.support.locust_process import environment
from tests.support.timing import SCALE


class Scripts:
    """Runs functions of tests/loadtest/scripts, one after the other, in forks of a process that has imported Locust."""

    def __init__(self) -> None:
        self._forker: subprocess.Popen[str] | None = None

    def run(self, function: str, *arguments: Any, seconds: float = 30.0, **options: Any) -> Any:
        """Call `module.function` of the scripts with these arguments; returns its result, passed as JSON.

        Raises:
            AssertionError: it failed, printed a traceback, or took more than `seconds`.
        """
        forker = self._forker = self._forker or self._start()
        assert forker.stdin is not None
        assert forker.stdout is not None
        with tempfile.TemporaryDirectory() as directory:
            job = {"function": function, "arguments": arguments, "options": options}
            forker.stdin.write(json.dumps(job | {"directory": directory, "seconds": seconds * SCALE}) + "\n")
            forker.stdin.flush()
            code = forker.stdout.readline().strip()
            printed = Path(directory, "log").read_text()
            assert code == "0", printed
            assert "Traceback" not in printed, printed
            return json.loads(Path(directory, "answer.json").read_text())

    def _start(self) -> subprocess.Popen[str]:
        atexit.register(self.stop)
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.support.forker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment(),
        )  # fmt: skip

    def stop(self) -> None:
        """End the process that forks."""
        if self._forker is not None:
            self._forker.communicate()
            self._forker = None


run_script = Scripts().run


def run_users(function: str, target: str, **options: Any) -> dict[str, Any]:
    """Run a script that returns the result of a `Run`; makes the checks that hold after a run with any peer."""
    result: dict[str, Any] = run_script(function, target, **options)
    assert_clean(result)
    return result


def assert_clean(result: dict[str, Any]) -> None:
    """Check that each operation was counted once, and that no socket, user or greenlet was left behind."""
    account = result["account"]
    assert account["started"] == account["ok"] + account["failed"] + account["aborted"]
    requests = sum(requests for requests, _ in result["rows"].values())
    failures = sum(failures for _, failures in result["rows"].values())
    assert result["fired"] == requests == account["ok"] + account["failed"]
    assert failures == account["failed"] == sum(result["errors"].values())
    connections = result["connections"]
    assert (connections["open"], connections["opening"]) == (0, 0)
    assert 0 <= connections["lost"] <= connections["connected"], "the rest was closed by the users"
    assert result["timed_failures"] == 0, "a failure has no response time"
    assert (result["sockets_left"], result["users_left"], result["greenlets_left"]) == (0, 0, 0)
