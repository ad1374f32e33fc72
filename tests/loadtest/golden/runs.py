"""What the golden tests share: a server that is known, a run against it, and the figures of its result."""

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
    """Options of a run that plans exactly rate times seconds tasks, and ends with the last one.

    The one instant of the first stage is its beginning, when no user is ready.
    """
    return ("--tcp-arrival-rate", f"{1 / empty}:{empty}s,{rate:g}:{seconds:g}s", "--tcp-arrivals", kind)


class KnownServer(ServerProcess):
    """server.py; what it counted is there after the block.

    Attributes:
        arrivals: when the kernel received each request, in ns since 1970.
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
    """A headless Locust against a target, whose result is in a file.

    Args:
        directory: for its files; made here.
        target: of --host; None where the locustfile has it.
        options: Locust's and ours.
        users: how many.
        locustfile: a file of tests/loadtest/locustfiles, by its name; the echo user when left out.
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
        """Wait until Locust's table has hundreds of them."""
        self.wait_for_log(r"TCP +echo +[1-9]\d\d")

    def measured(self, seconds: float = 60 * SCALE) -> Measured:
        """Wait for its end, and read its result."""
        code = self.wait(seconds)
        assert code in (0, 1), self.log
        assert "Traceback" not in self.log, self.log
        return Measured(json.loads(self._path.read_text()))


class Measured:
    """A result, as --tcp-json has it.

    Attributes:
        result: the whole of it.
        account: the account.
        status, reasons: of the verdict.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        self.account: dict[str, int] = result["account"]
        self.status: str = result["verdict"]["status"]
        self.reasons = "\n".join(result["verdict"]["reasons"])
        assert self.account["planned"] == self.account["sent"] + self.account["dropped"]
        assert self.account["started"] == sum(self.account[name] for name in ("ok", "failed", "aborted"))

    def row(self, name: str = "echo", rows: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The row of that name; of the measured part if no rows are given."""
        (found,) = [row for row in (self.result["rows"] if rows is None else rows) if row["name"] == name]
        return found

    def times(self, kind: str, name: str = "echo") -> dict[str, float]:
        """Percentiles, mean and max of a row's times in seconds; infinite where lost, missing where withheld."""
        found: dict[str, float] = {}
        for key, value in self.row(name)[f"{kind}_us"].items():
            number = value["value"] if isinstance(value, dict) else value
            if number is not None:
                found[key] = math.inf if number == "lost" else number / 1e6
        figure(f"{name} {kind}", {key: round(value, 5) for key, value in found.items()})
        return found


def stop_for(pid: int, seconds: float) -> float:
    """Stop a process for so long (SIGSTOP); returns for how long it really was."""
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)
    return time.monotonic() - begun


def distances(instants: Sequence[float]) -> list[float]:
    """From each instant to the next one, ascending."""
    return sorted(later - earlier for earlier, later in pairwise(instants))


def unevenness(instants: Sequence[float]) -> float:
    """The coefficient of variation of the distances: 0 for even ones, 1 for those of a Poisson process."""
    found = distances(instants)
    mean = sum(found) / len(found)
    return math.sqrt(sum((distance - mean) ** 2 for distance in found) / len(found)) / mean
