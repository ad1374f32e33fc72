"""`python -m bench.run quick|full`: runs the comparison; writes tables (Markdown), plots (SVG), raw figures (JSON)."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import scenarios
from bench.contenders import BENCH, CONTENDERS, BenchError, missing
from bench.figures import summarise
from bench.load.compare import LoadBench, tasks
from bench.machine import describe
from bench.plots import growth_plot, scenario_plot
from bench.rounds import Bench, chosen
from bench.tables import scenario_table
from bench.targets import targets_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.figures import Measured, Summary

WINDOW: Final = {"quick": 1.5, "full": 2.0}  # seconds
DESCRIPTORS: Final = 65_536
LOAD: Final = "load"  # the scenario of the load generators, which does not use the driver


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [scenario.name for scenario in scenarios.FULL]
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("set", choices=("quick", "full"), help="a choice under ten minutes, or everything")
    parser.add_argument(
        "--scenario", action="append", default=[], choices=[*names, LOAD], help="only this one; repeatable"
    )
    parser.add_argument(
        "--peer", action="append", default=[], choices=[c.name for c in CONTENDERS], help="only against this one"
    )
    parser.add_argument("--rounds", type=int, help="how often everybody has a turn (set by scenario)")
    parser.add_argument("--duration", type=float, help="seconds of one measuring window (1.5 quick, 2 full)")
    parser.add_argument("--warmup", type=float, default=0.3, help="seconds before each window (0.3)")
    parser.add_argument("--server-cpu", type=int, help="core of the server (the first)")
    parser.add_argument("--driver-cpu", type=int, help="core of the driver (the second)")
    parser.add_argument("--output", type=Path, default=BENCH / "results" / time.strftime("%Y%m%d-%H%M%S"))
    return parser.parse_args(argv)


def cores(server: int | None, driver: int | None) -> tuple[int, int]:
    """The cores of server and driver: those asked for, else the first two this process may run on."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("a comparison needs two cores: one for the server, one for the driver")
    server = allowed[0] if server is None else server
    driver = next(core for core in allowed if core != server) if driver is None else driver
    if server == driver:
        raise BenchError("server and driver must have different cores")
    return server, driver


def _raise_descriptor_limit() -> None:
    """As far as this user may; every server inherits it. Go needs three descriptors for each of 10,000 connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, DESCRIPTORS), max(hard, DESCRIPTORS)))
    except (ValueError, OSError):  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Report:
    """Everything measured so far. It is written anew after each scenario, so an interrupted run leaves what it had."""

    def __init__(self, output: Path, left_out: list[str]) -> None:
        self.output = output
        self.results: dict[str, list[Summary]] = {}
        self._machine = describe()
        self._left_out = left_out
        self._sections: list[str] = []
        self._runs: list[Measured] = []

    def add(self, kind: str, title: str, runs: list[Measured], notes: list[str]) -> None:
        """The runs of one scenario; notes are lines below its table."""
        name, rounds = runs[0].scenario, runs[-1].round + 1
        self.results[name] = summaries = summarise(kind, runs)
        self._runs += runs
        self._plot(name, scenario_plot(kind, title, summaries))
        lines = "".join(f"\n{note}\n" for note in notes)
        self._section(title, f"{rounds} rounds.\n\n{scenario_table(kind, summaries)}{lines}", name)

    def finish(self) -> None:
        if growth := self._growth():
            self._plot("growth", growth_plot("Server CPU a 1 KiB message", "user + system, µs", growth))
            self._section("How cost grows with connections", "1 KiB messages; user and system CPU.\n", "growth")
        if self.results:
            self._section("Figures to reach", targets_table(self.results), None)

    def _growth(self) -> dict[str, list[tuple[int, float]]]:
        series: dict[str, list[tuple[int, float]]] = {}
        for connections in (10, 100, 1000, 10000):
            for summary in self.results.get(f"echo-1024-{connections}", []):
                cost = summary.figures["user"].middle + summary.figures["system"].middle
                series.setdefault(summary.name, []).append((connections, cost))
        return {name: points for name, points in series.items() if len(points) > 1}

    def _plot(self, name: str, svg: str) -> None:
        (self.output / f"{name}.svg").write_text(svg)

    def _section(self, title: str, body: str, plot: str | None) -> None:
        picture = f"\n![{title}]({plot}.svg)\n" if plot else ""
        self._sections.append(f"## {title}\n\n{body}{picture}")
        print(f"\n{title}\n\n{body}", flush=True)
        head = "\n".join(f"- {name}: {value}" for name, value in self._machine.items())
        notes = "".join(f"- {line}\n" for line in self._left_out)
        (self.output / "tables.md").write_text("\n".join([f"# Results\n\n{head}\n{notes}", *self._sections]))
        raw = {"machine": self._machine, "runs": [asdict(run) for run in self._runs]}
        (self.output / "raw.json").write_text(json.dumps(raw, indent=1))


def _run(options: argparse.Namespace) -> Report:
    server_cpu, driver_cpu = cores(options.server_cpu, options.driver_cpu)
    duration = options.duration or WINDOW[options.set]
    options.output.mkdir(parents=True, exist_ok=True)
    log = options.output / "servers.log"
    bench = Bench(server_cpu, driver_cpu, duration, options.warmup, log)
    report = Report(options.output, missing())
    for line in missing():
        print(line, flush=True)
    every = scenarios.QUICK if options.set == "quick" else scenarios.FULL
    known = {scenario.name: scenario for scenario in (*scenarios.FULL, *every)}  # a quick one in place of its full one
    names = options.scenario or [*(scenario.name for scenario in every), LOAD]
    for name in names:
        if name == LOAD:
            for task in tasks(full=options.set == "full"):
                load = LoadBench(server_cpu, driver_cpu, log)
                report.add(task.kind, task.title(), load.measure(task, options.rounds or task.rounds), [])
        else:
            scenario = known[name]
            rounds = options.rounds or scenario.rounds
            runs, failed = bench.measure(scenario, chosen(scenario, options.peer), rounds)
            report.add(scenario.kind, scenario.title, runs, failed)
    report.finish()
    return report


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    _raise_descriptor_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # not without stopping the server
    began = time.monotonic()
    try:
        report = _run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"{time.monotonic() - began:.0f} seconds; tables, plots and raw figures are in {report.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
