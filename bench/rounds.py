"""Runs a scenario: each contender in turn, ours before and after each peer.

A machine drifts by several per cent within minutes. So a ratio is taken only between runs that follow each other: the
mean of our runs just before and just after a peer's run, and that run.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.contenders import CONTENDERS, OURS, BenchError, running
from bench.driving import drive, hold, listen_overflows
from bench.figures import Measured, figures_of
from bench.quiet import NOISE, REPEATS, Watch
from bench.scenarios import IDLE_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.contenders import Contender
    from bench.driving import Result
    from bench.scenarios import Scenario

__all__ = ["Bench", "chosen", "in_turn", "print_progress"]

BUSY: Final = 90.0  # per cent of a core; if neither side is above it, both waited for another cause


@dataclass
class Bench:
    """The cores, the times and the log of runs.

    Attributes:
        server_cpu: the core of the server.
        driver_cpu: the core of the driver.
        duration: seconds of the usual measuring window; user and system time come in steps of 10 ms, so at least 1.5.
        warmup: seconds before it.
        log: the stderr of the servers.
        repeats: the number of noisy runs that may still be made again.
    """

    server_cpu: int
    driver_cpu: int
    duration: float
    warmup: float
    log: Path
    repeats: int = 0

    def measure(
        self, scenario: Scenario, peers: tuple[Contender, ...], rounds: int
    ) -> tuple[list[Measured], list[str]]:
        """All runs of a scenario; without peers, our runs alone.

        A peer that fails is left out: the second list says so, and whether the machine was quiet.

        Raises:
            BenchError: our server failed.
        """
        runs: list[Measured] = []
        failed: dict[str, str] = {}
        for round_ in range(rounds):
            order = in_turn(OURS, peers, round_)
            for place, contender in enumerate(order):
                if contender.name in failed:
                    continue
                print_progress(
                    f"{scenario.name}: round {round_ + 1}/{rounds}, {place + 1}/{len(order)}: {contender.name}"
                )
                try:
                    result = self.run(scenario, contender)
                except (BenchError, OSError) as error:
                    if contender is OURS:
                        raise
                    failed[contender.name] = f"{contender.name} is left out of this scenario: {error}"
                    continue
                figures = figures_of(scenario.kind, result)
                runs.append(Measured(scenario.name, contender.name, round_, place, figures, result))
        print_progress("")
        runs = [run for run in runs if run.contender not in failed]
        return runs, [*failed.values(), *_failures(runs), *_noise(runs, scenario)]

    def run(self, scenario: Scenario, contender: Contender, more: tuple[str, ...] = ()) -> Result:
        """One run, or the quietest of several where the machine was not quiet; `more` arguments for the driver."""
        best = self._run(scenario, contender, more)
        for _ in range(REPEATS):
            if best["taken"] <= NOISE or self.repeats <= 0:
                break
            self.repeats -= 1
            best = min(best, self._run(scenario, contender, more), key=lambda result: float(result["taken"]))
        return best

    def _run(self, scenario: Scenario, contender: Contender, more: tuple[str, ...]) -> Result:
        command = contender.tls if scenario.tls else contender.command
        with running(command, cpu=self.server_cpu, log=self.log) as server:
            watch = Watch(server, self.server_cpu, self.driver_cpu)
            if scenario.kind == "idle":
                before = server.resident_kib()
                with hold(server, IDLE_CONNECTIONS, cpu=self.driver_cpu) as connections:
                    after = server.resident_kib()
                return {"connections": connections, "resident_kib": [before, after], **watch.taken()}
            window = ("--duration", str(self.duration * scenario.stretch), "--warmup", str(self.warmup))
            overflows = listen_overflows()
            result = drive(server, (*scenario.arguments, *window, *more), cpu=self.driver_cpu, tls=scenario.tls)
            result["listen_overflows"] = listen_overflows() - overflows
            result |= watch.taken()
        if "server" not in result:
            raise BenchError("the server ended during the run")
        if "--resume" in scenario.arguments and not result["totals"]["resumed"]:
            raise BenchError("no session was resumed")
        if result["first_failure"] and (scenario.kind != "burst" or result["failures"]["corrupt"]):
            raise BenchError(f"{result['first_failure']} {result['failures']}")
        return result


def _failures(runs: list[Measured]) -> list[str]:
    """The first reason of failed connections for each contender, in scenarios that count them as a figure."""
    reasons = {run.contender: run.raw["first_failure"] for run in reversed(runs) if run.raw.get("first_failure")}
    return [f"{name}: {reason}." for name, reason in reasons.items()]


def _noise(runs: list[Measured], scenario: Scenario) -> list[str]:
    """Notes on the state of the machine during the runs."""
    notes = []
    noisy = [run for run in runs if run.raw["taken"] > NOISE]
    if noisy:
        worst = max(noisy, key=lambda run: float(run.raw["taken"]))
        notes.append(
            f"Not quiet: in {len(noisy)} of {len(runs)} runs more than {NOISE:g} % of a core's time went to the host "
            f"(steal) or to other processes; at worst {worst.raw['taken']:.0f} % ({worst.raw['steal']:.0f} % steal)."
        )
    idle = [run for run in runs if max(run.figures.get("server_busy", 100), run.figures.get("driver_busy", 0)) < BUSY]
    if idle and scenario.kind in {"echo", "churn"}:
        names = ", ".join(dict.fromkeys(run.contender for run in idle))
        notes.append(
            f"Neither server nor driver was busy for {BUSY:g} % of the window in {len(idle)} of {len(runs)} runs "
            f"({names}): there read the ratio per server CPU second."
        )
    return notes


def in_turn(ours: Any, others: Sequence[Any], round_: int) -> list[Any]:
    """Ours, another, ours, the next, … and ours. Each round begins with a different one of the others."""
    order = [ours]
    for place in range(len(others)):
        order += [others[(round_ + place) % len(others)], ours]
    return order


def chosen(scenario: Scenario, only: list[str]) -> tuple[Contender, ...]:
    """The peers of a scenario that can run here, or those in `only`, also if the scenario usually leaves them out."""
    names = only or scenario.peers
    return tuple(
        contender
        for contender in CONTENDERS
        if contender is not OURS and (not names or contender.name in names) and contender.lacks() is None
        if contender.tls or not scenario.tls
    )


def print_progress(text: str) -> None:
    """Print the current run on stderr: one line, which a terminal overwrites. An empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
