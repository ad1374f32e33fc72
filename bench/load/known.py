"""Runs a load generator against the server of known latency and compares the times of both."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from bench.contenders import BENCH, BenchError, running
from bench.load.headless import Locust
from bench.quiet import Watch
from bench.truth import PERCENTS, Truth, exponential_distance, unevenness

__all__ = ["OURS", "USUAL", "Case", "Load", "Mode", "Observed", "Plan"]

Mode = Literal["even", "poisson", "closed"]
OURS: Final = "geventecho"
USUAL: Final = "usual user"
PAYLOAD: Final = 1024  # bytes
SPAWN_RATE: Final = 100  # users a second
SETTLE: Final = 3.0  # seconds between the start of the last user and the measured part
SEED: Final = "1"  # of the delays, and of Poisson arrivals
LONGEST_RUN: Final = 300.0  # seconds


@dataclass(frozen=True)
class Case:
    """The work of one run.

    Attributes:
        generator: OURS or USUAL.
        mode: "even" and "poisson", a rate of arrivals; "closed", users with think time.
        delay: of the server, in the form of its option.
        users: their number.
        rate: requests a second.
    """

    generator: str
    mode: Mode
    delay: str
    users: int
    rate: float

    @property
    def warm_up(self) -> float:
        """Seconds from the start of the test to the measured part."""
        return math.ceil(self.users / SPAWN_RATE) + SETTLE


@dataclass(frozen=True)
class Plan:
    """A plan of arrivals beside the real ones.

    Attributes:
        planned, sent: the instants that fell due, and the tasks that began, in the whole run.
        received: the messages that the server got in the whole run.
        distance: of the arrivals in the measured part from the plan: `exponential_distance` or `unevenness`.
    """

    planned: int
    sent: int
    received: int
    distance: float


@dataclass(frozen=True)
class Observed:
    """One run. Times are in microseconds, and percentiles in the order of PERCENTS.

    Attributes:
        busy: per cent of a core that the generator used.
        rate: requests a second that the server got in the measured part.
        taken: per cent of a core's time that other processes and the host took, on the worse core.
        true: percentiles of the server's record.
        reported: percentiles that the generator reports, by the name of the time; infinite where it has none.
        delays: p99 of the generator's own delays, as it reports them, by the name of the delay.
        verdict: of the generator on the run.
        plan: None in a closed run, and for a generator without a plan.
    """

    busy: float
    rate: float
    taken: float
    true: list[float]
    reported: dict[str, list[float]]
    delays: dict[str, float] = field(default_factory=dict)
    verdict: str = ""
    plan: Plan | None = None


@dataclass(frozen=True)
class Load:
    """The cores and the log of runs.

    Attributes:
        server_cpu: the core of the server.
        locust_cpu: the core of Locust.
        log: the stderr of the server and the output of Locust.
    """

    server_cpu: int
    locust_cpu: int
    log: Path

    def run(self, case: Case, window: float) -> Observed:
        """Measure for `window` seconds.

        Raises:
            BenchError: a request failed, or the server or the generator did.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            options = (
                "--size",
                str(PAYLOAD),
                "--delay",
                case.delay,
                "--seed",
                SEED,
                "--record",
                str(folder / "record"),
            )
            program = (str(BENCH / "build" / "c_latency"), *options)
            with running(program, cpu=self.server_cpu, log=self.log) as server:
                watch = Watch(server, self.server_cpu, self.locust_cpu)
                locust = _locust(case, window, server.port, folder)
                marks = locust.run(cpu=self.locust_cpu, log=self.log, timeout=LONGEST_RUN)
                taken = watch.taken()["taken"]
            if failures := marks["end"]["failures"]:
                raise BenchError(f"{case.generator}: {failures:.0f} requests failed; see {self.log}")
            begin, end = marks["begin"], marks["end"]
            busy = 100 * (end["cpu"] - begin["cpu"]) / (end["at"] - begin["at"])
            if case.generator == OURS:
                return _ours(case, folder, busy, taken)
            return _usual(folder, begin, end, busy, taken)


def _think_time(case: Case) -> float:
    """The seconds that a user waits in a closed run, or that lie between its requests in an open one."""
    period = case.users / case.rate
    return period if case.mode != "closed" else max(period - float(case.delay.split(":")[1]) / 1e6, 0.0)


def _locust(case: Case, window: float, port: int, folder: Path) -> Locust:
    target, file = f"127.0.0.1:{port}", BENCH / "load" / "usual_user.py"
    own: list[object] = []
    if case.generator == OURS:
        target, file = f"tcp://{target}", BENCH.parent / "loadtests" / "locustfile.py"
        own = ["--tcp-payload-size", PAYLOAD, "--tcp-json", folder / "result", "--tcp-warm-up", case.warm_up]
        if case.mode == "closed":
            own += ["--tcp-think-time", _think_time(case)]
        else:
            own += ["--tcp-arrival-rate", case.rate, "--tcp-arrivals", case.mode, "--tcp-seed", SEED]
    variables = {
        "BENCH_PAYLOAD": PAYLOAD,
        "BENCH_WAIT": "constant" if case.mode == "closed" else "constant_pacing",
        "BENCH_THINK_TIME": _think_time(case),
        "BENCH_SETTLE": SETTLE,
        "BENCH_WINDOW": window,
        "BENCH_PARTS": 1,
    }
    return Locust(case.generator, file, target, case.users, SPAWN_RATE, own, variables)


def _usual(folder: Path, begin: dict[str, float], end: dict[str, float], busy: float, taken: float) -> Observed:
    """A run by Locust's own statistics."""
    truth = Truth.read(folder / "record", int(begin["epoch"] * 1e9), int(end["epoch"] * 1e9))
    return Observed(
        busy=busy,
        rate=len(truth.times) / (end["at"] - begin["at"]),
        taken=taken,
        true=truth.percentiles(),
        reported={"response": [end[f"p{percent:g}_ms".replace(".", "_")] * 1e3 for percent in PERCENTS]},
    )


def _ours(case: Case, folder: Path, busy: float, taken: float) -> Observed:
    """A run by the result that our load test wrote."""
    result = json.loads((folder / "result").read_text())
    row = next((row for row in result["rows"] if row["name"] == "echo"), None)
    if row is None:
        raise BenchError(f"{OURS}: the run was over before its warm-up")
    # The result counts whole seconds from the start of the test, and a reply in the second of its arrival.
    begin = datetime.fromisoformat(result["started_at"]).timestamp() + math.ceil(case.warm_up)
    seconds = result["duration_s"]
    truth = Truth.read(folder / "record", int(begin * 1e9), int((begin + seconds) * 1e9))
    plan = None
    if case.mode != "closed":
        measure = exponential_distance if case.mode == "poisson" else unevenness
        account, received = result["account"], len(Truth.read(folder / "record").times)
        plan = Plan(account["planned"], account["sent"], received, measure(truth.distances(), case.rate))
    return Observed(
        busy=busy,
        rate=len(truth.times) / seconds,
        taken=taken,
        true=truth.percentiles(),
        reported={
            name: [_value(row[f"{name}_us"], percent) for percent in PERCENTS] for name in ("service", "response")
        },
        delays={name: _value(row[f"{name}_delay_us"], 99) for name in ("generator", "read")},
        verdict=result["verdict"]["status"],
        plan=plan,
    )


def _value(times: dict[str, Any], percent: float) -> float:
    """A percentile of a result; infinite if there is none, or if it is that of a request without a reply."""
    percentile = times[f"p{percent:g}".replace(".", "_")]
    return percentile["value"] if percentile and percentile["value"] != "lost" else math.inf
