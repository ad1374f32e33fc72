"""Runs Locust on one core, without a browser, until the window of window.py is over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.contenders import BENCH, BOUND, BenchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Locust", "Marks"]

WINDOW: Final = BENCH / "load" / "window.py"
Marks = dict[str, dict[str, float]]
"""The figures of window.py, by the name of the mark."""


@dataclass(frozen=True)
class Locust:
    """A run of Locust.

    Attributes:
        name: of the generator, for the error.
        locustfile: with its users.
        host: of the server, in the form that the users need.
        users: their number.
        spawn_rate: new users each second.
        options: more options of Locust.
        variables: the variables of window.py and the locustfile, without BENCH_OUTPUT.
    """

    name: str
    locustfile: Path
    host: str
    users: int
    spawn_rate: int
    options: Sequence[object]
    variables: Mapping[str, object]

    def run(self, *, cpu: int, log: Path, timeout: float) -> Marks:
        """Run it on one core for at most `timeout` seconds. Its output goes to `log`.

        Raises:
            BenchError: Locust ended before the window was over.
            subprocess.TimeoutExpired: it did not end.
        """
        with tempfile.TemporaryDirectory() as folder, log.open("ab") as output:
            marks = Path(folder) / "marks.json"
            variables = {**self.variables, "BENCH_OUTPUT": marks}
            done = subprocess.run(
                [*BOUND, "taskset", "-c", str(cpu), *self._command()],
                env={
                    **os.environ,
                    "PYTHONPATH": str(BENCH.parent),
                    **{name: str(value) for name, value in variables.items()},
                },
                cwd=BENCH.parent,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
            if not marks.exists():
                raise BenchError(f"{self.name}: locust ended with status {done.returncode}; see {log}")
            read: Marks = json.loads(marks.read_text())
            return read

    def _command(self) -> list[str]:
        files = f"{WINDOW},{self.locustfile}"
        load = ["--users", self.users, "--spawn-rate", self.spawn_rate]
        command = [sys.executable, "-m", "locust", "-f", files, "--host", self.host, "--headless", "--only-summary"]
        return [str(part) for part in (*command, *load, *self.options)]
