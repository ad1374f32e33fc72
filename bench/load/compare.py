"""Compares load generators: our EchoUser, the usual socket user, FastHttpUser; tests that our users stay out of step.

Locust runs on one core, the cheapest server for its protocol on another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.contenders import BENCH, BenchError, running
from bench.figures import Measured
from bench.load.headless import Locust, Marks
from bench.quiet import Watch
from bench.rounds import in_turn, print_progress

__all__ = ["LOCKSTEP", "LoadBench", "Task", "tasks"]

PAYLOAD: Final = 1024  # bytes
LONGEST_RUN: Final = 180.0  # seconds


@dataclass(frozen=True)
class Generator:
    """A load generator and the cheapest server for it."""

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
    ("--tcp-payload-size", str(PAYLOAD), "--tcp-think-time", "{think_time}"),
)
OTHERS: Final = (
    Generator("usual socket user", BENCH / "load" / "usual_user.py", "c_epoll", "127.0.0.1:{port}"),
    Generator("FastHttpUser", BENCH / "load" / "http_user.py", "c_http", "http://127.0.0.1:{port}"),
)


@dataclass(frozen=True)
class Task:
    """The work of one run.

    Attributes:
        kind: "load", users that do not wait; "users", many users that mostly wait; "lockstep", whether users that wait
            get into step, and then measure the queue that they make themselves.
        users: in one process.
        spawn_rate: new users each second.
        think_time: seconds that a user waits between two requests, on average.
        settle: seconds between the start of the last user and the window.
        window: seconds measured.
        rounds: the turns of each generator.
        others: the generators to compare with ours.
        parts: the number of parts of the window, each with a median of its own.
    """

    kind: str
    users: int
    spawn_rate: int
    think_time: float
    settle: float
    window: float
    rounds: int
    others: tuple[Generator, ...] = OTHERS
    parts: int = 1

    def title(self) -> str:
        if self.kind == "lockstep":
            return f"Locust, {self.users:,} users, mean think time {self.think_time:g} s, for {self.window:g} s"
        if self.kind == "load":
            return f"Locust, {self.users} users without a wait time, 1 KiB each way"
        return f"Locust, {self.users:,} users in one process, {self.spawn_rate:,} more each second"


LOCKSTEP: Final = Task("lockstep", 1000, 100, think_time=1.0, settle=2.0, window=60.0, rounds=1, others=(), parts=4)
"""The users start over ten seconds: users that start at once begin in step, and the first quarter shows it."""


def tasks(*, full: bool) -> tuple[Task, Task]:
    """The tasks "load" and "users", quick or full. Memory is read after a request of each user: they think for 5 s."""
    load = Task("load", 100, 100, think_time=0.0, settle=1.0, window=5.0 if full else 3.0, rounds=3 if full else 2)
    many = Task("users", 10_000 if full else 3_000, 1000, think_time=5.0, settle=6.0, window=1.0, rounds=1)
    return load, many


@dataclass(frozen=True)
class LoadBench:
    """Runs all generators in turn, ours before and after each of the others.

    Attributes:
        server_cpu: the core of the server.
        locust_cpu: the core of Locust.
        log: the stderr of servers and the output of Locust.
    """

    server_cpu: int
    locust_cpu: int
    log: Path

    def measure(self, task: Task, rounds: int) -> list[Measured]:
        """All runs of a task.

        Raises:
            BenchError: a request or Locust failed.
        """
        runs = []
        for round_ in range(rounds):
            order = in_turn(OURS, task.others, round_)
            for place, generator in enumerate(order):
                print_progress(f"{task.kind}: round {round_ + 1}/{rounds}, {place + 1}/{len(order)}: {generator.name}")
                marks, taken = self._run(generator, task)
                figures = {**FIGURES[task.kind](marks), **taken}
                runs.append(Measured(task.kind, generator.name, round_, place, figures, {"marks": marks}))
        print_progress("")
        return runs

    def _run(self, generator: Generator, task: Task) -> tuple[Marks, dict[str, float]]:
        """The marks of Locust, and the time of the two cores that other processes took meanwhile."""
        program = (str(BENCH / "build" / generator.server), "0")
        with running(program, cpu=self.server_cpu, log=self.log) as server:
            watch = Watch(server, self.server_cpu, self.locust_cpu)
            locust = _locust(generator, task, server.port)
            return locust.run(cpu=self.locust_cpu, log=self.log, timeout=LONGEST_RUN), watch.taken()


def _locust(generator: Generator, task: Task, port: int) -> Locust:
    values = {"port": port, "think_time": task.think_time}
    return Locust(
        generator.name,
        generator.locustfile,
        generator.host.format(**values),
        task.users,
        task.spawn_rate,
        ["--skip-log", *(option.format(**values) for option in generator.options)],
        {
            "BENCH_PAYLOAD": PAYLOAD,
            "BENCH_THINK_TIME": task.think_time,
            "BENCH_SETTLE": task.settle,
            "BENCH_WINDOW": task.window,
            "BENCH_PARTS": task.parts,
        },
    )


def _rates(marks: Marks) -> dict[str, float]:
    begin, end = marks["begin"], marks["end"]
    requests, seconds, cpu = (end[name] - begin[name] for name in ("requests", "at", "cpu"))
    if end["failures"] or not requests:
        raise BenchError(f"{end['failures']:.0f} failures in {requests:.0f} requests")
    return {"per_core": requests / cpu, "rate": requests / seconds, "busy": cpu / seconds * 100}


def _costs(marks: Marks) -> dict[str, float]:
    start, spawned, begin, end = (marks[name] for name in ("start", "spawned", "begin", "end"))
    users = spawned["users"]
    return {
        "each": (begin["resident_kib"] - start["resident_kib"]) / users,
        "spawned": users / (spawned["at"] - start["at"]),
        "spawn_cpu": (spawned["cpu"] - start["cpu"]) / users * 1e6,
        "failed": end["failures"],
    }


def _quarters(marks: Marks) -> dict[str, float]:
    medians = {f"p50_{quarter}": marks[quarter]["p50_ms"] * 1e3 for quarter in "1234"}
    return {"growth": medians["p50_4"] / medians["p50_1"], **medians, **_rates(marks)}


FIGURES: Final = {"load": _rates, "users": _costs, "lockstep": _quarters}
