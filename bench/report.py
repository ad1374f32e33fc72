"""The output of a comparison: tables (Markdown), a plot for each (SVG), every single run (JSON).

matplotlib is in the environment of the comparison (requirements.txt). Without it there are no plots.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bench.figures import summarise
from bench.quiet import Core
from bench.tables import growth_table, scenario_table
from bench.targets import targets_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from bench.figures import Measured, Summary

__all__ = ["HAS_MATPLOTLIB", "Report"]

HAS_MATPLOTLIB: bool = find_spec("matplotlib") is not None
GROWTH: tuple[int, ...] = (10, 100, 1000, 10000)  # connections


class Report:
    """The results so far. They are written anew after each scenario, so an interrupted comparison leaves its results.

    Arguments:
        output: an existing folder.
        machine: the facts of the machine, by name.
        warnings: lines above all tables.
        cpus: the cores of server and driver.
    """

    def __init__(self, output: Path, machine: dict[str, str], warnings: list[str], cpus: tuple[int, int]) -> None:
        self.output = output
        self._machine = machine
        self._warnings = warnings
        self._cpus = cpus
        self._began = [Core.now(cpu) for cpu in cpus]
        self._started = time.monotonic()
        self._results: dict[str, list[Summary]] = {}
        self._sections: list[str] = []
        self._runs: list[Measured] = []

    def add(self, kind: str, title: str, runs: list[Measured], notes: list[str]) -> None:
        """Add the runs of one scenario; notes are lines below its table."""
        name, rounds = runs[0].scenario, runs[-1].round + 1
        self._results[name] = summaries = summarise(kind, runs)
        self._runs += runs
        plot = ""
        if len(summaries) > 1:
            plot = self._plot(name, title, lambda plots: plots.scenario_plot(kind, title, summaries))
        lines = "".join(f"\n{note}\n" for note in notes)
        turns = "1 round" if rounds == 1 else f"{rounds} rounds"
        self.section(title, f"{turns}.\n\n{scenario_table(kind, summaries)}{lines}{plot}")

    def section(self, title: str, body: str) -> None:
        """Add a section with Markdown of the caller's."""
        text = _section(title, body)
        self._sections.append(text)
        print(f"\n{text}", flush=True)
        self._write()

    def targets(self) -> str:
        """The figures to reach, as far as they have been measured; empty if none has been."""
        return targets_table(self._results)

    def _write(self) -> None:
        machine = {
            **self._machine,
            "steal": self._steal(),
            "took": f"{(time.monotonic() - self._started) / 60:.0f} minutes",
        }
        head = "".join(f"- {name}: {value}\n" for name, value in machine.items())
        lines = "".join(f"- {line}\n" for line in self._warnings)
        sections = [_section("Figures to reach", self.targets())] if self.targets() else []
        sections += [*self._sections, *self._growth()]
        (self.output / "tables.md").write_text("\n".join([f"# Results\n\n{head}{lines}", *sections]))
        raw = {"machine": machine, "warnings": self._warnings, "runs": [asdict(run) for run in self._runs]}
        (self.output / "raw.json").write_text(json.dumps(raw, indent=1))

    def _steal(self) -> str:
        """The steal of both cores since the start of the comparison."""
        shares = [began.steal(Core.now(cpu)) for cpu, began in zip(self._cpus, self._began, strict=True)]
        return f"{shares[0]:.1f} % of the server's core, {shares[1]:.1f} % of the driver's"

    def _growth(self) -> list[str]:
        """A section on the growth of the cost, if a contender was run with several numbers of connections."""
        series: dict[str, list[tuple[int, float]]] = {}
        for connections in GROWTH:
            for summary in self._results.get(f"echo-1024-{connections}", []):
                cost = summary.figures["user"].middle + summary.figures["system"].middle
                series.setdefault(summary.name, []).append((connections, cost))
        series = {name: points for name, points in series.items() if len(points) > 1}
        if not series:
            return []
        title = "How cost grows with connections: server CPU a 1 KiB message"
        unit = "user + system, µs, logarithmic"
        plot = self._plot("growth", title, lambda plots: plots.growth_plot(title, unit, series))
        return [_section(title, f"User and system CPU, µs.\n\n{growth_table(series)}{plot}")]

    def _plot(self, name: str, title: str, draw: Callable[[ModuleType], str]) -> str:
        """Draw with bench.plots and write the file; returns the Markdown that shows it."""
        if not HAS_MATPLOTLIB:
            return ""
        from bench import plots  # noqa: PLC0415  # numpy starts threads, and bench.network must come before them

        (self.output / f"{name}.svg").write_text(draw(plots))
        return f"\n![{title}]({name}.svg)\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"
