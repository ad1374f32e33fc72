"""Plots as SVG, drawn by hand: horizontal bars for a scenario, lines for how cost grows with connections.

Where waiting times lie far apart, their scale is logarithmic and says so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from bench.figures import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Column, Spread, Summary

__all__ = ["growth_plot", "scenario_plot"]

# Colours that people with any kind of colour vision can tell apart (Okabe and Ito, 2008).
OURS_DARK: Final = "#0072b2"
OURS_LIGHT: Final = "#7fb8d8"
PEER_DARK: Final = "#767676"
PEER_LIGHT: Final = "#bdbdbd"
LINES: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#767676",
    "#a05a00",
    "#5a3d9a",
)

LABEL_WIDTH: Final = 150
PANEL_WIDTH: Final = 360
BAR_WIDTH: Final = PANEL_WIDTH - 90
FAR_APART: Final = 30
WAITING: Final = frozenset({"p99", "connect", "neighbours"})
ROW: Final = 26
TOP: Final = 64


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
"""The figures drawn for each kind of scenario. Echoes have CPU per message beside them."""


def scenario_plot(kind: str, title: str, summaries: list[Summary]) -> str:
    """A row of bars for each contender, ours first: medians, with their smallest and largest."""
    columns = [column for key in PANELS[kind] for column in COLUMNS[kind] if column.key == key]
    lefts = [LABEL_WIDTH + place * (PANEL_WIDTH + 40) for place in range(2)]
    panels = [_bars(column, summaries, left) for column, left in zip(columns, lefts, strict=False)]
    if kind in {"echo", "churn"}:
        panels.append(_stacks(summaries, lefts[1]))
    names = [
        _text(LABEL_WIDTH - 8, TOP + ROW * row + 17, summary.name, anchor="end", bold=row == 0)
        for row, summary in enumerate(summaries)
    ]
    width = max(LABEL_WIDTH + len(panels) * (PANEL_WIDTH + 40), LABEL_WIDTH + 9 * len(title) - 130)
    return _svg(width, TOP + ROW * len(summaries) + 12, title, [*names, *panels])


def _bars(column: Column, summaries: list[Summary], left: int) -> str:
    spreads = [summary.figures[column.key] for summary in summaries]
    length, logarithmic = _scale(spreads, may_be_logarithmic=column.key in WAITING)
    scale = ", logarithmic" if logarithmic else ""
    parts = [_text(left, TOP - 10, f"{column.heading}{scale}: median, smallest and largest")]
    for row, spread in enumerate(spreads):
        top, low, high = TOP + ROW * row, left + length(spread.low), left + length(spread.high)
        parts.append(_box(left, top + 4, length(spread.middle), OURS_DARK if row == 0 else PEER_DARK))
        parts.append(_whisker(low, high, top + 13))
        parts.append(_text(high + 6, top + 17, f"{spread.middle:,.{column.decimals}f}"))
    return "".join(parts)


def _scale(spreads: list[Spread], *, may_be_logarithmic: bool) -> tuple[Callable[[float], float], bool]:
    """Turns a figure into pixels. Logarithmic, from the power of ten below the least, when medians differ much."""
    most = max(spread.high for spread in spreads) or 1.0
    least = min(spread.low for spread in spreads)
    far_apart = max(spread.middle for spread in spreads) >= FAR_APART * least
    if not (may_be_logarithmic and least > 0 and far_apart):
        return lambda value: max(value, 0.0) / most * BAR_WIDTH, False
    floor = math.floor(math.log10(least))
    return lambda value: (math.log10(value) - floor) / (math.log10(most) - floor) * BAR_WIDTH, True


def _stacks(summaries: list[Summary], left: int) -> str:
    """User (dark) and system (light) CPU of the server per message."""
    totals = [summary.figures["user"].middle + summary.figures["system"].middle for summary in summaries]
    scale = BAR_WIDTH / (max(totals) or 1.0)
    parts = [_text(left, TOP - 10, "server CPU, µs a message: user (dark) + system (light)")]
    for row, summary in enumerate(summaries):
        user, system, top = summary.figures["user"].middle, summary.figures["system"].middle, TOP + ROW * row
        dark, light = (OURS_DARK, OURS_LIGHT) if row == 0 else (PEER_DARK, PEER_LIGHT)
        parts.append(_box(left, top + 4, user * scale, dark))
        parts.append(_box(left + user * scale, top + 4, system * scale, light))
        parts.append(_text(left + (user + system) * scale + 6, top + 17, f"{user:.1f} + {system:.1f}"))
    return "".join(parts)


def growth_plot(title: str, unit: str, series: dict[str, list[tuple[int, float]]]) -> str:
    """Lines, both scales logarithmic: {name: [(connections, value), …]}."""
    width, height, left, bottom = 760, 400, 60, 350
    counts = sorted({count for points in series.values() for count, _ in points})
    values = [value for points in series.values() for _, value in points]
    least, most = min(values) / 1.1, max(values) * 1.1
    span = math.log10(counts[-1] / counts[0]) or 1.0

    def across(count: int) -> float:
        return left + math.log10(count / counts[0]) / span * 480

    def up(value: float) -> float:
        return bottom - math.log(value / least) / math.log(most / least) * (bottom - TOP)

    parts = [_text(left, TOP - 10, unit)]
    parts += [_text(across(count), bottom + 18, f"{count:,}", anchor="middle") for count in counts]
    parts.append(_text(left + 240, bottom + 38, "connections", anchor="middle"))
    for value in _round_values(least, most):
        parts.append(f'<path d="M{left} {up(value):.1f}h480" stroke="#dddddd"/>')
        parts.append(_text(left - 6, up(value) + 4, f"{value:g}", anchor="end"))
    labels = _spread_labels({name: up(points[-1][1]) for name, points in series.items()})
    for colour, (name, points) in zip(LINES, series.items(), strict=False):
        line = " ".join(f"{across(count):.1f},{up(value):.1f}" for count, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(c):.1f}" cy="{up(v):.1f}" r="3" fill="{colour}"/>' for c, v in points]
        parts.append(_text(left + 492, labels[name] + 4, name, colour=colour))
    return _svg(width, height, title, parts)


def _round_values(least: float, most: float) -> list[float]:
    """1, 2, 3, 5 and 7 times the powers of ten between two values."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    return [
        factor * 10.0**power for power in powers for factor in (1, 2, 3, 5, 7) if least <= factor * 10.0**power <= most
    ]


def _spread_labels(places: dict[str, float]) -> dict[str, float]:
    """Moves labels down until none covers another."""
    spread: dict[str, float] = {}
    last = -math.inf
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        last = spread[name] = max(place, last + 15)
    return spread


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    body = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
        f"{_text(12, 24, title, size=16, bold=True)}{body}</svg>\n"
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, size: int = 12, colour: str = "#222222"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>'
        f"{escape(text)}</text>"
    )


def _box(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="18" fill="{colour}"/>'


def _whisker(low: float, high: float, y: float) -> str:
    """Black with a white edge, to be seen on a dark bar. None for a single run."""
    if low == high:
        return ""
    line = f'd="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 4}v8M{high:.1f} {y - 4}v8" fill="none"'
    return f'<path {line} stroke="#ffffff" stroke-width="3"/><path {line} stroke="#000000"/>'
