"""Runs a scenario: everybody in turn, ours before and after each peer.

A machine drifts by several per cent within minutes, so a ratio is only ever taken between runs that follow each other:
peer against the mean of our runs just before and just after it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.contenders import CONTENDERS, OURS, BenchError, running
from bench.driving import drive, hold, listen_overflows
from bench.scenarios import IDLE_CONNECTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from bench.contenders import Contender
    from bench.driving import Result
    from bench.scenarios import Scenario

__all__ = ["Bench", "Run", "chosen"]


@dataclass(frozen=True)
class Run:
    """One run of one contender.

    Attributes:
        result: the driver's object; for idle connections `resident_kib` before and after instead.
        place: which run of the round it was, from 0; ours have the even places.
    """

    scenario: str
    contender: str
    round: int
    place: int
    result: Result

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """Where and how long to run.

    Attributes:
        server_cpu: the core of the server.
        driver_cpu: the core of the driver.
        duration: seconds of the measuring window; user and system time come in steps of 10 ms, so at least 1.5.
        warmup: seconds before it.
        log: what the servers write to stderr.
    """

    server_cpu: int
    driver_cpu: int
    duration: float
    warmup: float
    log: Path

    def measure(self, scenario: Scenario, peers: tuple[Contender, ...], rounds: int) -> tuple[list[Run], list[str]]:
        """All runs of a scenario; without peers, ours alone. A peer that fails is left out: the second list says so."""
        runs: list[Run] = []
        failed: dict[str, str] = {}
        for round_ in range(rounds):
            order = _order(peers, round_)
            for place, contender in enumerate(order):
                if contender.name in failed:
                    continue
                _tell(f"{scenario.name}: round {round_ + 1}/{rounds}, {place + 1}/{len(order)}: {contender.name}")
                try:
                    runs.append(Run(scenario.name, contender.name, round_, place, self._run(scenario, contender)))
                except BenchError as error:
                    if contender is OURS:
                        raise
                    failed[contender.name] = f"{contender.name} is left out of this scenario: {error}"
        _tell("")
        return [run for run in runs if run.contender not in failed], list(failed.values())

    def _run(self, scenario: Scenario, contender: Contender) -> Result:
        with running(contender.command, cpu=self.server_cpu, log=self.log) as server:
            if scenario.kind == "idle":
                before = server.resident_kib()
                with hold(server, IDLE_CONNECTIONS, cpu=self.driver_cpu) as connections:
                    return {"connections": connections, "resident_kib": [before, server.resident_kib()]}
            window = ("--duration", str(self.duration), "--warmup", str(self.warmup))
            overflows = listen_overflows()
            result = drive(server, (*scenario.arguments, *window), cpu=self.driver_cpu)
            result["listen_overflows"] = listen_overflows() - overflows
        if result["first_failure"] and (scenario.kind != "burst" or result["failures"]["corrupt"]):
            raise BenchError(f"{contender.name}: {result['first_failure']} {result['failures']}")
        return result


def _order(peers: tuple[Contender, ...], round_: int) -> list[Contender]:
    """Ours, a peer, ours, the next peer, … and ours. Each round begins with another peer."""
    order = [OURS]
    for place in range(len(peers)):
        order += [peers[(round_ + place) % len(peers)], OURS]
    return order


def chosen(scenario: Scenario, only: list[str]) -> tuple[Contender, ...]:
    """The peers of a scenario that can run here; `only` narrows them by name."""
    return tuple(
        contender
        for contender in CONTENDERS
        if contender is not OURS
        and (scenario.peers is None or contender.name in scenario.peers)
        and (not only or contender.name in only)
        and contender.lacks() is None
    )


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
