"""Compares load generators: our EchoUser, the usual socket user, FastHttpUser.

Locust runs on one core, the cheapest server for what it speaks on another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.contenders import BENCH, BenchError, running
from bench.figures import Spread
from bench.tables import table

__all__ = ["LoadBench"]

Marks = dict[str, dict[str, float]]
PAYLOAD: Final = 1024  # bytes
LONGEST_RUN: Final = 180.0  # seconds


@dataclass(frozen=True)
class Generator:
    """A load generator and the cheapest server there is for it."""

    name: str
    locustfile: Path
    server: str
    host: str
    options: tuple[str, ...] = ()


OURS: Final = Generator(
    "geventecho EchoUser",
    BENCH.parent / "loadtests" / "locustfile.py",
    "c_epoll",
    "tcp://127.0.0.1:{port}",
    ("--payload-size", str(PAYLOAD), "--think-time", "{think_time}"),
)
OTHERS: Final = (
    Generator("usual socket user", BENCH / "load" / "usual_user.py", "c_epoll", "127.0.0.1:{port}"),
    Generator("FastHttpUser", BENCH / "load" / "http_user.py", "c_http", "http://127.0.0.1:{port}"),
)


@dataclass(frozen=True)
class Task:
    """One way to run a generator: how many users, how fast they come, how long they think, when it is measured."""

    users: int
    spawn_rate: int
    think_time: float
    settle: float
    window: float


@dataclass
class LoadBench:
    """Runs all of them in turn.

    Attributes:
        full: longer windows, and 10,000 users for memory instead of 5,000.
    """

    server_cpu: int
    locust_cpu: int
    log: Path
    rounds: int
    full: bool
    runs: list[dict[str, object]] = field(default_factory=list)

    def measure(self) -> tuple[str, list[dict[str, object]]]:
        """Tables of throughput and of memory, and the raw figures."""
        flat_out = Task(users=100, spawn_rate=100, think_time=0.0, settle=1.0, window=5.0 if self.full else 3.0)
        users = 10_000 if self.full else 5_000
        # Everybody has asked once before memory is read: they think for 5 s, and it is read after 6.
        many = Task(users=users, spawn_rate=1000, think_time=5.0, settle=6.0, window=1.0)
        return self._throughput(flat_out) + "\n" + self._memory(many), self.runs

    def _throughput(self, task: Task) -> str:
        order = [OURS]
        for other in OTHERS:
            order += [other, OURS]
        rounds = [[_rate(self._run(generator, task)) for generator in order] for _ in range(self.rounds)]
        rows = [self._row(OURS.name, [rate for row in rounds for rate in row[::2]], [])]
        for place, other in enumerate(OTHERS):
            at = 2 * place + 1
            ratios = [(row[at - 1][0] + row[at + 1][0]) / 2 / row[at][0] for row in rounds]
            rows.append(self._row(other.name, [row[at] for row in rounds], ratios))
        return f"{task.users} users flat out, {PAYLOAD} bytes each way.\n\n" + table(
            ["generator", "requests a CPU second", "ours / it", "requests/s", "busy %"], rows
        )

    @staticmethod
    def _row(name: str, rates: list[tuple[float, float, float]], ratios: list[float]) -> list[str]:
        per_core, per_second, busy = (Spread.of([rate[figure] for rate in rates]).middle for figure in range(3))
        ratio = Spread.of(ratios) if ratios else None
        words = f"{ratio.middle:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else ""
        return [name, f"{per_core:,.0f}", words, f"{per_second:,.0f}", f"{busy:.0f}"]

    def _memory(self, task: Task) -> str:
        rows = []
        for generator in (OURS, *OTHERS):
            marks = self._run(generator, task)
            start, spawned, begin, end = (marks[name] for name in ("start", "spawned", "begin", "end"))
            seconds, cpu = spawned["at"] - start["at"], spawned["cpu"] - start["cpu"]
            each = (begin["resident_kib"] - start["resident_kib"]) / task.users
            rows.append(
                [
                    generator.name,
                    f"{spawned['users'] / seconds:,.0f}",
                    f"{cpu / task.users * 1e6:,.0f}",
                    f"{each:.1f}",
                    f"{end['failures']:,.0f}",
                ]
            )
        words = (
            f"{task.users:,} users at {task.spawn_rate:,} a second in one process, thinking {task.think_time:g} s.\n\n"
        )
        return words + table(
            ["generator", "users spawned a second", "CPU µs a spawned user", "KiB a user", "failures"], rows
        )

    def _run(self, generator: Generator, task: Task) -> Marks:
        program = (str(BENCH / "build" / generator.server), "0")
        with (
            running(program, cpu=self.server_cpu, log=self.log) as server,
            tempfile.TemporaryDirectory() as folder,
            self.log.open("ab") as log,
        ):
            output = Path(folder) / "marks.json"
            done = subprocess.run(
                ["taskset", "-c", str(self.locust_cpu), *_command(generator, task, server.port)],
                env=_environment(task, output),
                cwd=BENCH.parent,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                timeout=LONGEST_RUN,
                check=False,
            )
            if not output.exists():
                raise BenchError(f"{generator.name}: locust ended with status {done.returncode}; see {self.log}")
            marks: Marks = json.loads(output.read_text())
        self.runs.append({"generator": generator.name, "task": task.__dict__, "marks": marks})
        return marks


def _command(generator: Generator, task: Task, port: int) -> list[str]:
    values: dict[str, Any] = {"port": port, "think_time": task.think_time}
    files = f"{BENCH / 'load' / 'window.py'},{generator.locustfile}"
    run = [
        "--headless",
        "--skip-log",
        "--only-summary",
        "--users",
        str(task.users),
        "--spawn-rate",
        str(task.spawn_rate),
    ]
    own = [option.format(**values) for option in generator.options]
    return [sys.executable, "-m", "locust", "-f", files, "--host", generator.host.format(**values), *run, *own]


def _environment(task: Task, output: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(BENCH.parent),
        "BENCH_PAYLOAD": str(PAYLOAD),
        "BENCH_THINK_TIME": str(task.think_time),
        "BENCH_SETTLE": str(task.settle),
        "BENCH_WINDOW": str(task.window),
        "BENCH_OUTPUT": str(output),
    }


def _rate(marks: Marks) -> tuple[float, float, float]:
    """Requests a CPU second, requests a second, and how busy the generator's core was in per cent."""
    begin, end = marks["begin"], marks["end"]
    requests, seconds, cpu = (end[name] - begin[name] for name in ("requests", "at", "cpu"))
    if end["failures"] or not requests:
        raise BenchError(f"{end['failures']:.0f} failures in {requests:.0f} requests")
    return requests / cpu, requests / seconds, cpu / seconds * 100
