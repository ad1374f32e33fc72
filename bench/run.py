"""`python -m bench.run quick|full|tls`: runs the comparison; writes tables (Markdown), plots (SVG), figures (JSON)."""

from __future__ import annotations

import argparse
import math
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import anatomy, bottleneck, scenarios
from bench.bottleneck import DRIVER
from bench.contenders import CONTENDERS, OURS, BenchError, missing
from bench.load.compare import LOCKSTEP, LoadBench, tasks
from bench.machine import cores, describe, share_a_core
from bench.network import PACED, congestion_control, separate
from bench.publish import RESULTS, TLS_RESULTS
from bench.quiet import NOISE, REPEATS
from bench.report import HAS_MATPLOTLIB, Report
from bench.rounds import Bench, chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.load.compare import Task
    from bench.scenarios import Scenario

DESCRIPTORS: Final = 65_536
LOAD: Final = "load"  # the load generators, which do not use the driver
PROFILE: Final = "profile"
SETS: Final = {"quick": scenarios.QUICK, "full": scenarios.FULL, "tls": scenarios.TLS}
ROUNDS: Final = {"quick": 1, "full": 2, "tls": 1}  # of the driver's own check
MAX_REPEATS: Final = {"quick": 12, "full": 60, "tls": 40}
LONGEST: Final = 30.0  # seconds of a window, or before it: the longest run ends well before the driver's time limit


def _number(kind: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    """An argument type: a number from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            whole = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r}: give {whole} from {least:g} to {most:g}")
        return value

    return parse


def _core(text: str) -> int:
    """An argument type: a core this process may run on."""
    allowed = {str(cpu): cpu for cpu in sorted(os.sched_getaffinity(0))}
    if text not in allowed:
        raise argparse.ArgumentTypeError(f"{text!r}: this process may run on {', '.join(allowed)}")
    return allowed[text]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [scenario.name for scenario in (*scenarios.FULL, *scenarios.TLS)]
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("set", choices=SETS, help="some scenarios (about eleven minutes), all without TLS, or TLS")
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        choices=[*names, DRIVER, LOAD, LOCKSTEP.kind, PROFILE],
        help="only this scenario; repeatable",
    )
    parser.add_argument(
        "--peer", action="append", default=[], choices=[c.name for c in CONTENDERS], help="only this peer; repeatable"
    )
    parser.add_argument("--rounds", type=_number(int, 1, 100), help="turns of each contender (set by scenario)")
    parser.add_argument(
        "--duration", type=_number(float, 0.01, LONGEST), default=1.5, help="seconds of one measuring window (1.5)"
    )
    parser.add_argument(
        "--warmup", type=_number(float, 0, LONGEST), default=0.3, help="seconds before each window (0.3)"
    )
    parser.add_argument("--server-cpu", type=_core, help="core of the server (the first)")
    parser.add_argument("--driver-cpu", type=_core, help="core of the driver (the second)")
    parser.add_argument(
        "--repeats",
        type=_number(int, 0, 10_000),
        help="the most runs that are made again because they were not quiet (12 quick, 60 full, 40 tls)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="a folder for tables, plots and raw figures (bench/results/DATE-TIME, bench/results/tls/DATE-TIME)",
    )
    options = parser.parse_args(argv)
    if options.output is None:
        options.output = (TLS_RESULTS if options.set == "tls" else RESULTS) / time.strftime("%Y%m%d-%H%M%S")
    if options.server_cpu is not None and options.server_cpu == options.driver_cpu:
        parser.error("--server-cpu and --driver-cpu: server and driver must have different cores")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output: {error}")
    return options


def _raise_descriptor_limit() -> None:
    """Raise it as far as this user may; servers inherit it. Go needs 3 descriptors for each of 10,000 connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, DESCRIPTORS), max(hard, DESCRIPTORS)))
    except (ValueError, OSError):  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True)
class Step:
    """A measurement, and about the seconds that it takes."""

    name: str
    seconds: float
    run: Callable[[], None]


class Plan:
    """Turns the arguments into steps; each adds its own part to the report."""

    def __init__(self, options: argparse.Namespace, bench: Bench, report: Report) -> None:
        self._options, self._bench, self._report = options, bench, report

    def steps(self) -> list[Step]:
        """All steps, in the order of their runs."""
        every = SETS[self._options.set]
        # The later entry of a name counts: that of the chosen set.
        known = {scenario.name: scenario for scenario in (*scenarios.FULL, *scenarios.TLS, *every)}
        own = {DRIVER: self._driver, LOAD: self._load, LOCKSTEP.kind: self._lockstep, PROFILE: self._profile}
        every_name = [scenario.name for scenario in every]
        if self._options.set != "tls":
            every_name = [DRIVER, *every_name, PROFILE, LOAD, LOCKSTEP.kind]
        names = self._options.scenario or every_name
        return [step for name in names for step in (own[name]() if name in own else [self._scenario(known[name])])]

    def _seconds(self, scenario: Scenario) -> float:
        """About the seconds of one run. A burst ends with its last connect, and memory has no window."""
        if scenario.kind in {"burst", "idle"}:
            return scenario.overhead
        return float(self._options.duration * scenario.stretch + self._options.warmup + scenario.overhead)

    def _scenario(self, scenario: Scenario) -> Step:
        peers = chosen(scenario, self._options.peer)
        rounds = min(self._options.rounds or scenario.rounds, scenario.most_rounds)

        def run() -> None:
            runs, notes = self._bench.measure(scenario, peers, rounds)
            self._report.add(scenario.kind, scenario.title, runs, notes)

        return Step(scenario.name, rounds * (1 + 2 * len(peers)) * self._seconds(scenario), run)

    def _driver(self) -> list[Step]:
        some = {OURS.name, *(self._options.peer or scenarios.MAIN_PEERS)}
        contenders = tuple(each for each in CONTENDERS if each.name in some and each.lacks() is None)
        rounds = min(self._options.rounds or 100, ROUNDS[self._options.set])

        def run() -> None:
            runs = bottleneck.slowed(self._bench, contenders, rounds)
            self._report.add(DRIVER, bottleneck.TITLE, runs, [bottleneck.NOTE])

        return [Step(DRIVER, rounds * 2 * len(contenders) * self._seconds(bottleneck.SCENARIO), run)]

    def _load(self) -> list[Step]:
        return [self._task(task) for task in tasks(full=self._options.set == "full")]

    def _lockstep(self) -> list[Step]:
        return [self._task(LOCKSTEP)]

    def _task(self, task: Task) -> Step:
        rounds = min(self._options.rounds or task.rounds, task.rounds)
        bench = LoadBench(self._bench.server_cpu, self._bench.driver_cpu, self._bench.log)

        def run() -> None:
            self._report.add(task.kind, task.title(), bench.measure(task, rounds), [])

        runs = rounds * (1 + 2 * len(task.others))
        return Step(task.kind, runs * (task.users / task.spawn_rate + task.settle + task.window + 5), run)

    def _profile(self) -> list[Step]:
        connections = (100,) if self._options.set == "quick" else (100, 1000)

        def run() -> None:
            try:
                tables = anatomy.profile(self._bench, connections)
            except BenchError as error:  # a machine without perf still makes the comparison
                tables = f"Not measured: {error}\n"
            self._report.section(anatomy.TITLE, tables)

        return [Step(PROFILE, anatomy.seconds(connections), run)]


def _warnings(cpus: tuple[int, int]) -> list[str]:
    """Move to a network of its own; returns warnings about the machine for the head of the report."""
    shared = separate()
    lines = [shared] if shared else []
    control = congestion_control()
    if control in PACED:
        lines.append(f"congestion control {control} paces loopback too: the figures contain its waiting")
    if share_a_core(*cpus):
        lines.append(f"server and driver have two threads of one core, {cpus[0]} and {cpus[1]}: they slow each other")
    if not HAS_MATPLOTLIB:
        lines.append("no plots: matplotlib is not installed")
    return [*lines, *missing()]


def _run(options: argparse.Namespace) -> int:
    """Run all steps. The report names a step that fails, and the next step follows."""
    cpus = cores(options.server_cpu, options.driver_cpu)
    warnings = _warnings(cpus)
    report = Report(options.output, describe(), warnings, cpus)
    repeats = MAX_REPEATS[options.set] if options.repeats is None else options.repeats
    bench = Bench(*cpus, options.duration, options.warmup, options.output / "servers.log", repeats)
    steps = Plan(options, bench, report).steps()
    for line in warnings:
        print(f"bench: {line}")
    minutes = max(sum(step.seconds for step in steps) / 60, 1)
    print(f"bench: about {minutes:.0f} min: {', '.join(step.name for step in steps)}")
    if repeats:
        bound = f"{REPEATS} times at most, {repeats} in all"
        print(f"bench: a run that loses over {NOISE:g} % of a core's time is made again, {bound}", flush=True)
    failed = []
    for step in steps:
        try:
            step.run()
        except Exception as error:  # no error of a step may lose the results of the others
            failed.append(step.name)
            report.section(f"{step.name}: not measured", f"{type(error).__name__}: {error}\n")
    print(f"\n{report.targets()}", flush=True)
    if failed:
        print(f"bench: not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    _raise_descriptor_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the server is stopped first
    began = time.monotonic()
    try:
        status = _run(options)
    except (BenchError, OSError) as error:  # for example a full disk
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nbench: interrupted; the figures so far are in {options.output}", file=sys.stderr)
        return 130
    print(f"{time.monotonic() - began:.0f} seconds; tables, plots and raw figures are in {options.output}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
