"""Shared by the golden tests: a server with known replies, a run against it, and the figures of the result."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.loadtest.golden.server import Behaviour
from tests.support.locust_process import ECHO_USER, LOCUSTFILES, EchoServerProcess, LocustRun, ServerProcess
from tests.support.timing import SCALE, figure

__all__ = [
    "Behaviour", "EchoServerProcess", "GoldenRun", "KnownServer", "Measured", "distances", "plan", "stop_for",
    "unevenness",
]  # fmt: skip

SIZE = Behaviour.size
EMPTY = 2.0
"""Seconds before the first planned instant. Users that start late do not miss it, so the planned count is exact."""


def plan(rate: float, seconds: float, *, empty: float = EMPTY, kind: str = "even") -> tuple[str, ...]:
    """Options of a run that plans exactly rate times seconds tasks, and ends with the last task.

    The first stage has one instant, at its start, when no user is ready.
    """
    return ("--tcp-arrival-rate", f"{1 / empty}:{empty}s,{rate:g}:{seconds:g}s", "--tcp-arrivals", kind)


class KnownServer(ServerProcess):
    """Runs server.py. Its counts are set after the block.

    Attributes:
        arrivals: the instants at which the kernel received the requests, in ns since 1970.
        bytes_received, bytes_sent: all bytes.
    """

    arrivals: list[int]
    bytes_received: int
    bytes_sent: int

    def __init__(self, **behaviour: Any) -> None:
        super().__init__("tests.loadtest.golden.server", json.dumps(behaviour))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        vars(self).update(self.found)


class GoldenRun(LocustRun):
    """A headless Locust that loads a target and writes its result to a file.

    Args:
        directory: for its files; it is made here.
        target: the value of --host; None if the locustfile has the target.
        options: Locust's and ours.
        users: the number of users.
        locustfile: the name of a file in tests/loadtest/locustfiles; by default the echo user.
        extra: environment variables.
    """

    def __init__(
        self,
        directory: Path,
        target: str | None,
        *options: str,
        users: int = 30,
        locustfile: str = "",
        extra: dict[str, str] | None = None,
    ) -> None:
        directory.mkdir()
        self._path = directory / "result.json"
        super().__init__(
            directory,
            "--headless", "-u", str(users), "-r", str(users), "--stop-timeout", "10",
            "--tcp-payload-size", str(SIZE), "--tcp-json", str(self._path),
            *(("--host", target) if target else ()), *options,
            locustfile=LOCUSTFILES / locustfile if locustfile else ECHO_USER,
            own_server=False,
            extra=extra,
        )  # fmt: skip

    def wait_for_echoes(self) -> None:
        """Wait until Locust's table shows at least 100 echoes."""
        self.wait_for_log(r"TCP +echo +[1-9]\d\d")

    def measured(self, seconds: float = 60 * SCALE) -> Measured:
        """Wait for the end of the run, and return its result."""
        code = self.wait(seconds)
        assert code in (0, 1), self.log
        assert "Traceback" not in self.log, self.log
        return Measured(json.loads(self._path.read_text()))


class Measured:
    """A result, as --tcp-json writes it.

    Attributes:
        result: the whole result.
        account: its account.
        status, reasons: its verdict.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        self.account: dict[str, int] = result["account"]
        self.status: str = result["verdict"]["status"]
        self.reasons = "\n".join(result["verdict"]["reasons"])
        assert self.account["planned"] == self.account["sent"] + self.account["dropped"]
        assert self.account["started"] == sum(self.account[name] for name in ("ok", "failed", "aborted"))

    def row(self, name: str = "echo", rows: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The row of that name, by default of the measured part."""
        (found,) = [row for row in (self.result["rows"] if rows is None else rows) if row["name"] == name]
        return found

    def times(self, kind: str, name: str = "echo") -> dict[str, float]:
        """Percentiles, mean and max of a row's times in seconds: infinite if lost, left out if withheld."""
        found: dict[str, float] = {}
        for key, value in self.row(name)[f"{kind}_us"].items():
            number = value["value"] if isinstance(value, dict) else value
            if number is not None:
                found[key] = math.inf if number == "lost" else number / 1e6
        figure(f"{name} {kind}", {key: round(value, 5) for key, value in found.items()})
        return found


def stop_for(pid: int, seconds: float) -> float:
    """Stop a process with SIGSTOP for some seconds; returns the seconds that the stop really took."""
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)
    return time.monotonic() - begun


def distances(instants: Sequence[float]) -> list[float]:
    """The distances between neighbouring instants, in ascending order."""
    return sorted(later - earlier for earlier, later in pairwise(instants))


def unevenness(instants: Sequence[float]) -> float:
    """The coefficient of variation of the distances: 0 for even instants, 1 for a Poisson process."""
    found = distances(instants)
    mean = sum(found) / len(found)
    return math.sqrt(sum((distance - mean) ** 2 for distance in found) / len(found)) / mean
