"""Locust in processes of its own: importing it patches a process, and pytest's process must not be patched.

`LocustRun` is a whole Locust, through our launcher or not. `EchoServerProcess` is our server, with its counters at the
end. locust_script.py runs pieces of Python that use Locust.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from tests.support import ROOT
from tests.support.timing import SCALE, wait_until

TESTS = ROOT / "tests"
ECHO_USER = ROOT / "loadtests" / "locustfile.py"
LOCUSTFILES = TESTS / "loadtest" / "locustfiles"
COUNTING_USER = LOCUSTFILES / "counting.py"
TABLES = {"GEVENTECHO_LOADTEST_LOCUST_TABLES": "true"}
"""Has Locust print its tables every 2 seconds, in which tests see the progress of a run."""


def environment(**extra: str) -> dict[str, str]:
    """The environment of subprocesses: this process's without its options for Locust, and `extra`."""
    ours = ("LOCUST_", "GEVENTECHO_LOADTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"} | extra


def free_port() -> int:
    """A port that was free a moment ago. Locust does not report a port that it chooses, so tests choose it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LocustRun:
    """A Locust process group; the end of the block kills the processes that are left.

    Args:
        directory: for its log and results.
        arguments: of Locust.
        locustfile: the file that it runs.
        module: "geventecho.loadtest" for our launcher, "locust" for the plain one.
        own_server: whether our launcher starts an echo server when there is no --host.
        web_port: of the web UI; by default a free port.
        master_port: of the master, for the workers; by default a free port.
        descriptors: a soft limit to start with, as `ulimit -Sn` sets it.
        without: a name that this run's Locust lacks, see renamed_locust.py.
        prefix: words before the command: another command that starts it.
        extra: environment variables.

    Attributes:
        port: of the web UI.
        process: the master, or the only process.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        locustfile: Path = COUNTING_USER,
        module: str = "geventecho.loadtest",
        own_server: bool = True,
        web_port: int | None = None,
        master_port: int | None = None,
        descriptors: int | None = None,
        without: str | None = None,
        prefix: Sequence[str] = (),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.port = web_port or free_port()
        self.master_port = master_port or free_port()
        self._log = directory / "locust.log"
        if module == "geventecho.loadtest" and own_server and "--host" not in arguments:
            arguments = ("--own-server", *arguments)

        def prepare() -> None:
            # A shell has a background program ignore Ctrl-C, and the program's children inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        renamed = ("-m", "tests.support.renamed_locust", without) if without else ()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *prefix, sys.executable, *renamed, "-m", module, "-f", str(locustfile), *arguments,
                    "--web-port", str(self.port),
                    "--master-port", str(self.master_port), "--master-bind-port", str(self.master_port),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
                env=environment(**{"FIRED": str(directory), **TABLES, **(extra or {})}), preexec_fn=prepare,  # noqa: PLW1509
            )  # fmt: skip
        self._seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.family()
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)

    @property
    def log(self) -> str:
        """The output so far."""
        return self._log.read_text()

    def family(self) -> list[psutil.Process]:
        """Locust's process and all its descendants, as far as they still run."""
        with contextlib.suppress(psutil.NoSuchProcess):
            master = psutil.Process(self.process.pid)
            self._seen |= {master, *master.children(recursive=True)}
        living = []
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end between the two calls
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    living.append(process)
        return living

    def workers(self) -> list[psutil.Process]:
        """The workers in the family: they are forks, so they have the master's command line."""
        command = psutil.Process(self.process.pid).cmdline()
        return [found for found in self.family() if found.pid != self.process.pid and found.cmdline() == command]

    def wait_for_log(self, pattern: str, seconds: float = 30.0 * SCALE) -> None:
        """Wait until the pattern matches the output; a failure shows the output."""

        def printed() -> bool:
            found = re.search(pattern, self.log)
            assert found or self.process.poll() is None, "Locust ended"
            return found is not None

        try:
            wait_until(printed, seconds, pattern)
        except AssertionError as error:
            error.add_note(self.log)
            raise

    def wait(self, seconds: float = 30.0 * SCALE) -> int:
        """Wait for the end of the process; returns the exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            self.family()
            if time.monotonic() > end:
                raise AssertionError(f"Locust did not end:\n{self.log}")
            time.sleep(0.05)
        code: int = self.process.returncode
        return code

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process group, as a terminal does on Ctrl-C."""
        os.killpg(self.process.pid, number)

    def request(
        self, path: str, form: Mapping[str, str] | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Ask the web UI; returns status and body."""
        data = urllib.parse.urlencode(form).encode() if isinstance(form, Mapping) else form
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_for_ui(self) -> None:
        """Wait until the web UI answers."""

        def answers() -> bool:
            assert self.process.poll() is None, self.log
            with contextlib.suppress(OSError):
                return self.request("/")[0] == 200
            return False

        wait_until(answers, 20 * SCALE, "the web UI")

    def stats(self) -> dict[str, Any]:
        """The web UI's numbers."""
        status, body = self.request("/stats/requests")
        assert status == 200, body
        stats: dict[str, Any] = json.loads(body)
        return stats

    def swarm(self, **form: Any) -> dict[str, Any]:
        """Press the start button; returns the UI's answer."""
        status, body = self.request("/swarm", {name: str(value) for name, value in form.items()})
        assert status == 200, body
        reply: dict[str, Any] = json.loads(body)
        return reply

    def stop(self) -> None:
        """Press the stop button: a POST, until Locust 2.46 a GET."""
        status, body = self.request("/stop", {})
        if status == 405:
            status, body = self.request("/stop")
        assert status == 200, body

    def fired(self) -> list[dict[str, Any]]:
        """The events that each process with users fired, from the file that it wrote (see locustfiles/counting.py)."""
        return [json.loads(path.read_text()) for path in sorted(self.directory.glob("fired-*.json"))]

    def counted(self) -> dict[str, Any]:
        """The final counts of the master, or of the only process."""
        counted: dict[str, Any] = json.loads((self.directory / "counted.json").read_text())
        return counted

    def server_target(self) -> str:
        """The target of the launcher's own server, from the web UI's page."""
        page = self.request("/")[1]
        found = re.search(r"tcp://127\.0\.0\.1:\d+", page)
        assert found, page
        return found[0]


class ServerProcess:
    """A server in a process of its own, which ends at the end of its standard input.

    Args:
        module: the program. Its first line is its address; it prints its counts as JSON at its end.
        arguments: of the program.

    Attributes:
        target: its address.
        found: its counts, after the block.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT
        )
        assert self._process.stdout is not None
        self.target = self._process.stdout.readline().strip()
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        try:
            output = self._process.communicate(timeout=20 * SCALE)[0]
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self.found: dict[str, Any] = json.loads(output)


class EchoServerProcess(ServerProcess):
    """`EchoServer`; `counters` and `peak` (connections at once) are set after the block.

    Args:
        host: the address to listen on.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__("tests.support.echo_server_process", host)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.counters: dict[str, int] = self.found
        self.peak = self.counters.pop("peak")
