"""Runs a load generator against the server of known latency and compares what both say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bench.contenders import BENCH, BOUND, BenchError, running
from bench.quiet import Watch
from bench.truth import PERCENTS, Truth, exponential_distance, unevenness

__all__ = ["OURS", "USUAL", "Case", "Load", "Mode", "Observed"]

Mode = Literal["even", "poisson", "closed"]
OURS: Final = "geventecho"
USUAL: Final = "usual user"
PAYLOAD: Final = 1024  # bytes
SPAWN_RATE: Final = 100  # users a second
SETTLE: Final = 3.0  # seconds between the last user's coming and the window
SEED: Final = "1"  # of the delays, and of Poisson arrivals
LONGEST_RUN: Final = 300.0  # seconds


@dataclass(frozen=True)
class Case:
    """What a generator is made to do.

    Attributes:
        generator: OURS or USUAL.
        mode: "even" and "poisson", a rate of arrivals; "closed", users that think.
        delay: of the server, as its option has it.
        users: how many.
        rate: requests a second.
    """

    generator: str
    mode: Mode
    delay: str
    users: int
    rate: float


@dataclass(frozen=True)
class Observed:
    """One run. Times are in microseconds, those of percentiles in the order of PERCENTS.

    Attributes:
        busy: per cent of a core that the generator had.
        rate: requests a second that the server got.
        true: percentiles of the server's record.
        reported: those that the generator reports, by the name of the time.
        arrivals: how far the arrivals are from the plan: `exponential_distance` or `unevenness`; None without a plan.
        taken: per cent of a core's time that others had, on the worse core.
    """

    busy: float
    rate: float
    true: list[float]
    reported: dict[str, list[float]]
    arrivals: float | None
    taken: float


@dataclass(frozen=True)
class Load:
    """Where cases are run.

    Attributes:
        server_cpu: the core of the server.
        locust_cpu: the core of Locust.
        log: what both write to stderr.
    """

    server_cpu: int
    locust_cpu: int
    log: Path

    def run(self, case: Case, window: float) -> Observed:
        """Measure for `window` seconds.

        Raises:
            BenchError: a request failed, or one of the two programs did.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            record = folder / "record"
            options = ("--size", str(PAYLOAD), "--delay", case.delay, "--seed", SEED, "--record", str(record))
            program = (str(BENCH / "build" / "c_latency"), *options)
            with running(program, cpu=self.server_cpu, log=self.log) as server:
                watch = Watch(server, self.server_cpu, self.locust_cpu)
                marks = self._locust(case, window, server.port, folder)
                taken = watch.taken()["taken"]
            begin, end = marks["begin"], marks["end"]
            truth = Truth.read(record, int(begin["epoch"] * 1e9), int(end["epoch"] * 1e9))
        if end["failures"]:
            raise BenchError(f"{case.generator}: {end['failures']:.0f} requests failed; see {self.log}")
        return _observed(case, marks, truth, taken)

    def _locust(self, case: Case, window: float, port: int, folder: Path) -> dict[str, dict[str, float]]:
        output = folder / "marks.json"
        with self.log.open("ab") as log:
            done = subprocess.run(
                [*BOUND, "taskset", "-c", str(self.locust_cpu), *_command(case, port)],
                env={
                    **os.environ,
                    "PYTHONPATH": str(BENCH.parent),
                    "BENCH_PAYLOAD": str(PAYLOAD),
                    "BENCH_WAIT": "constant" if case.mode == "closed" else "constant_pacing",
                    "BENCH_THINK_TIME": str(_think_time(case)),
                    "BENCH_SETTLE": str(SETTLE),
                    "BENCH_WINDOW": str(window),
                    "BENCH_PARTS": "1",
                    "BENCH_OUTPUT": str(output),
                },
                cwd=BENCH.parent,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                timeout=LONGEST_RUN,
                check=False,
            )
        if not output.exists():
            raise BenchError(f"{case.generator}: locust ended with status {done.returncode}; see {self.log}")
        marks: dict[str, dict[str, float]] = json.loads(output.read_text())
        return marks


def _think_time(case: Case) -> float:
    """The seconds that a user of a closed run waits, or from one request to the next in an open one."""
    period = case.users / case.rate
    return period if case.mode != "closed" else max(period - _median(case.delay), 0.0)


def _median(delay: str) -> float:
    return float(delay.split(":")[1]) / 1e6


def _command(case: Case, port: int) -> list[str]:
    target, file = f"127.0.0.1:{port}", BENCH / "load" / "usual_user.py"
    own: list[Any] = []
    if case.generator == OURS:
        target, file = f"tcp://{target}", BENCH.parent / "loadtests" / "locustfile.py"
        own = ["--tcp-payload-size", PAYLOAD]
        if case.mode == "closed":
            own += ["--tcp-think-time", _think_time(case)]
        else:
            own += ["--tcp-arrival-rate", case.rate, "--tcp-arrivals", case.mode, "--tcp-seed", SEED]
    files = f"{BENCH / 'load' / 'window.py'},{file}"
    run = ["--headless", "--only-summary", "--users", case.users, "--spawn-rate", SPAWN_RATE]
    command = [sys.executable, "-m", "locust", "-f", files, "--host", target, *run, *own]
    return [str(part) for part in command]


def _observed(case: Case, marks: dict[str, dict[str, float]], truth: Truth, taken: float) -> Observed:
    begin, end = marks["begin"], marks["end"]
    seconds = end["at"] - begin["at"]
    distances = truth.distances()
    arrivals = None
    if case.mode != "closed":
        measure = exponential_distance if case.mode == "poisson" else unevenness
        arrivals = measure(distances, case.rate)
    return Observed(
        busy=100 * (end["cpu"] - begin["cpu"]) / seconds,
        rate=len(truth.times) / seconds,
        true=[truth.percentile(percent) for percent in PERCENTS],
        reported={"response": [end[f"p{percent:g}_ms".replace(".", "_")] * 1e3 for percent in PERCENTS]},
        arrivals=arrivals,
        taken=taken,
    )
