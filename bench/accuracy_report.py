"""The output of a comparison with the truth: tables (Markdown) and every single run (JSON)."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from bench.load.known import OURS, USUAL, Case, Observed
from bench.publish import TABLES
from bench.tables import table
from bench.truth import PERCENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Row", "goals_table", "plan_line", "times_lines", "write"]

MODES: Final = {"poisson": "rate, Poisson", "even": "rate, even", "closed": "think time"}
TIMES: Final = (
    "load", "generator", "time", "CPU %", "requests/s", *(f"true p{percent:g} µs" for percent in PERCENTS),
    *(f"p{percent:g}" for percent in PERCENTS), "verdict", "others %",
)  # fmt: skip
PLAN: Final = (
    "load", "CPU %", "requests/s", "planned", "sent", "received", "D", "planned to send, p99 µs",
    "arrival to read, p99 µs", "others %",
)  # fmt: skip
ALLOWED: Final = {50: {50.0: 0.01, 99.0: 0.02, 99.9: 0.05}, 75: {50.0: 0.02, 99.0: 0.05, 99.9: 0.1}}
"""The allowed relative error of a service time, by the share of a core and the percentile."""
ALLOWED_US: Final = 20.0
"""The error in microseconds that is always allowed."""
ALLOWED_DELAY_US: Final = 300.0
"""The allowed p99 from the planned instant to the send, at half of a core."""


@dataclass
class Row:
    """A case and its runs.

    Attributes:
        case: the work of each run.
        share: per cent of a core, for which the rate was chosen; None for a rate of its own.
        runs: all runs.
    """

    case: Case
    share: int | None
    runs: list[Observed] = field(default_factory=list)

    @property
    def name(self) -> str:
        mode = "pacing" if self.case.generator == USUAL and self.case.mode == "even" else MODES[self.case.mode]
        return mode if self.share is None else f"{mode}, {self.share} %"

    def median(self, figure: Callable[[Observed], float]) -> float:
        return statistics.median(figure(run) for run in self.runs)

    def ratio(self, time: str, at: int) -> float:
        """The reported value of a percentile over the true one, by its place in PERCENTS."""
        return self.median(lambda run: run.reported[time][at] / run.true[at])


def times_lines(row: Row) -> list[list[str]]:
    """A line for each time that the generator reports: medians of its runs."""
    true = [row.median(lambda run, at=at: run.true[at]) for at in range(len(PERCENTS))]  # type: ignore[misc]
    return [
        [
            row.name,
            row.case.generator,
            time,
            f"{row.median(lambda run: run.busy):.0f}",
            f"{row.median(lambda run: run.rate):,.0f}",
            *(f"{percentile:,.0f}" for percentile in true),
            *(_shown(row.ratio(time, at), 3) for at in range(len(PERCENTS))),
            ", ".join(dict.fromkeys(run.verdict for run in row.runs)),
            f"{max(run.taken for run in row.runs):.0f}",
        ]
        for time in row.runs[0].reported
    ]


def plan_line(row: Row) -> list[str]:
    """The plan and our own delays. Numbers of messages are those of all runs together."""
    plans = [run.plan for run in row.runs if run.plan is not None]
    counts = [f"{sum(getattr(plan, name) for plan in plans):,}" for name in ("planned", "sent", "received")]
    return [
        row.name,
        f"{row.median(lambda run: run.busy):.0f}",
        f"{row.median(lambda run: run.rate):,.0f}",
        *(counts if plans else ("", "", "")),
        f"{statistics.median(plan.distance for plan in plans):.3f}" if plans else "",
        *(_shown(row.median(lambda run, name=name: run.delays[name]), 0) for name in ("generator", "read")),  # type: ignore[misc]
        f"{max(run.taken for run in row.runs):.0f}",
    ]


def _shown(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}" if math.isfinite(value) else "-"


def goals_table(rows: Iterable[Row]) -> str:
    """The errors of our service times, and our own delay, beside their goals."""
    lines = []
    for row in rows:
        if row.case.generator != OURS or row.share not in ALLOWED:
            continue
        where = f"{row.case.delay}, {row.name}"
        for percent, allowed in ALLOWED[row.share].items():
            at = PERCENTS.index(percent)
            error = abs(row.ratio("service", at) - 1)
            microseconds = row.median(lambda run, at=at: abs(run.reported["service"][at] - run.true[at]))  # type: ignore[misc]
            reached = error <= allowed or microseconds <= ALLOWED_US
            measured = f"{_shown(error * 100, 2)} %, {_shown(microseconds, 0)} µs"
            wanted = f"{allowed:.0%} or {ALLOWED_US:g} µs"
            lines.append([f"{where}: service p{percent:g}", wanted, measured, "yes" if reached else "no"])
        if row.share == 50 and row.case.mode != "closed":
            delay = row.median(lambda run: run.delays["generator"])
            reached = delay <= ALLOWED_DELAY_US
            wanted = f"{ALLOWED_DELAY_US:g} µs"
            lines.append(
                [f"{where}: planned to send p99", wanted, f"{_shown(delay, 0)} µs", "yes" if reached else "no"]
            )
    return table(["figure", "at most", "measured", "reached"], lines)


def write(output: Path, rows: Sequence[Row], machine: Mapping[str, str], warnings: Sequence[str]) -> None:
    """Write all rows so far. Call it after each row: an interrupted comparison then keeps its rows."""
    remarks = [*(f"{name}: {value}" for name, value in machine.items()), *warnings]
    sections = {"Goals": goals_table(rows)}
    shared = [row for row in rows if row.share is not None]
    for delay in dict.fromkeys(row.case.delay for row in shared):
        mine = [row for row in shared if row.case.delay == delay]
        ours = [row for row in mine if row.case.generator == OURS]
        sections[f"{delay}: reported / true"] = table(list(TIMES), [line for row in mine for line in times_lines(row)])
        sections[f"{delay}: our delays"] = table(list(PLAN), [plan_line(row) for row in ours])
    if chosen := [row for row in rows if row.share is None]:
        sections["Arrivals by rate"] = table(list(PLAN), [plan_line(row) for row in chosen])
    head = "\n".join(f"- {remark}" for remark in remarks)
    parts = ["# Accuracy\n", f"{head}\n", *(f"## {title}\n\n{lines}" for title, lines in sections.items())]
    (output / TABLES).write_text("\n".join(parts))
    (output / "runs.json").write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))
