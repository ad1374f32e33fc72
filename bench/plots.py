"""Plots by matplotlib, as SVG: bars for a scenario, lines for the growth of the cost with connections.

The same figures give the same file: the ids in the file have a fixed salt, and it has no date.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bench.figures import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from bench.figures import Column, Summary

__all__ = ["growth_plot", "scenario_plot"]

mpl.rcParams.update(
    {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"], "font.size": 9}
)

# Colours that people with any kind of colour vision can tell apart (Okabe and Ito, 2008); dark and light.
OURS: Final = ("#0072b2", "#7fb8d8")
PEER: Final = ("#767676", "#bdbdbd")
LINES: Final = cycler(linestyle=["-", "--"]) * cycler(color=mpl.color_sequences["okabe_ito"])
WAITING: Final = frozenset({"p99", "connect", "neighbours"})
FAR_APART: Final = 30  # times the least waiting time; from there on the scale is logarithmic

PANELS: Final = {
    "echo": ("rate",),
    "churn": ("rate",),
    "flood": ("p99", "flood"),
    "burst": ("connect", "neighbours"),
    "driver": ("server_busy", "driver_busy"),
    "idle": ("each",),
    "load": ("per_core",),
    "users": ("each", "spawn_cpu"),
}
"""The figures drawn for each kind of scenario. Echo and churn have the CPU time of a message beside them."""


def scenario_plot(kind: str, title: str, summaries: list[Summary]) -> str:
    """A bar for each contender, ours first: the median, with the smallest and the largest value."""
    columns = [column for key in PANELS[kind] for column in COLUMNS[kind] if column.key == key]
    has_cost = kind in {"echo", "churn"}
    width = len(columns) + has_cost
    figure = Figure(figsize=(2 + 3.7 * width, 0.9 + 0.27 * len(summaries)), layout="constrained")
    panels = figure.subplots(1, width, sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=False):
        _bars(axes, column, summaries)
    if has_cost:
        _stacks(panels[-1], summaries)
    for axes in panels:
        axes.margins(x=0.25)  # space for the labels beside the bars
        axes.tick_params(bottom=False, labelbottom=False, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(summaries)), [summary.name for summary in summaries])
    panels[0].get_yticklabels()[0].set_fontweight("bold")
    panels[0].invert_yaxis()
    return _svg(figure, title)


def _bars(axes: Axes, column: Column, summaries: list[Summary]) -> None:
    spreads = [summary.figures[column.key] for summary in summaries]
    middles = [spread.middle for spread in spreads]
    ends = [[s.middle - s.low for s in spreads], [s.high - s.middle for s in spreads]]
    bars = axes.barh(range(len(spreads)), middles, xerr=ends, capsize=2, color=_colours(0, spreads))
    axes.bar_label(bars, fmt=f"{{:,.{column.decimals}f}}", padding=3)
    least = min(spread.low for spread in spreads)
    logarithmic = column.key in WAITING and 0 < least <= max(middles) / FAR_APART
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(left=10 ** math.floor(math.log10(least)))
    axes.set_xlabel(f"{column.heading}{', logarithmic' if logarithmic else ''}: median, smallest and largest")


def _stacks(axes: Axes, summaries: list[Summary]) -> None:
    """User (dark) and system (light) CPU of the server per message."""
    users, systems = ([summary.figures[key].middle for summary in summaries] for key in ("user", "system"))
    axes.barh(range(len(users)), users, color=_colours(0, users))
    bars = axes.barh(range(len(users)), systems, left=users, color=_colours(1, users))
    axes.bar_label(bars, [f"{user:.1f} + {system:.1f}" for user, system in zip(users, systems, strict=True)], padding=3)
    axes.set_xlabel("server CPU, µs a message: user (dark) + system (light)")


def _colours(shade: int, rows: Sequence[object]) -> list[str]:
    return [OURS[shade], *(PEER[shade] for _ in rows[1:])]


def growth_plot(title: str, unit: str, series: dict[str, list[tuple[int, float]]]) -> str:
    """Lines, both scales logarithmic: {name: [(connections, value), …]}."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(LINES)
    for name, points in sorted(series.items(), key=lambda item: -item[1][-1][1]):  # in the order of the lines' ends
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
    axes.set(xscale="log", yscale="log", xlabel="connections", ylabel=unit)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(visible=True, axis="y", color="#dddddd")
    figure.legend(loc="outside right upper")
    return _svg(figure, title)


def _svg(figure: Figure, title: str) -> str:
    figure.suptitle(title, weight="bold")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Title": title})
    return file.getvalue()
