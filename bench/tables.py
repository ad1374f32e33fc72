"""Results as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import COLUMNS, RATIOS

if TYPE_CHECKING:
    from bench.figures import Column, Spread, Summary

__all__ = ["growth_table", "scenario_table", "table"]


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table: the first column is aligned to the left, the others to the right."""
    rule = ["---", *("---:" for _ in headings[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows)) + "\n"


def scenario_table(kind: str, summaries: list[Summary]) -> str:
    """All contenders of a scenario: medians over the rounds, and ratios with their smallest and largest value."""
    columns, ratios = COLUMNS[kind], RATIOS[kind]
    headings = [
        "generator" if kind in {"load", "users", "lockstep"} else "server",
        *(column.heading for column in (*columns[:1], *ratios, *columns[1:])),
    ]
    rows = [
        [
            summary.name,
            _value(summary.figures[columns[0].key], columns[0]),
            *(_ratio(summary.ratios.get(column.key), column) for column in ratios),
            *(_value(summary.figures[column.key], column) for column in columns[1:]),
        ]
        for summary in summaries
    ]
    return table(headings, rows)


def growth_table(series: dict[str, list[tuple[int, float]]]) -> str:
    """CPU per message by number of connections, and the ratio of the last figure to the first."""
    counts = sorted({count for points in series.values() for count, _ in points})
    rows = []
    for name, points in series.items():
        costs = dict(points)
        cells = [f"{costs[count]:.2f}" if count in costs else "" for count in counts]
        whole = costs.keys() >= {counts[0], counts[-1]}
        rows.append([name, *cells, f"{costs[counts[-1]] / costs[counts[0]]:.2f}" if whole else ""])
    return table(["server", *(f"{count:,} connections" for count in counts), "last / first"], rows)


def _value(spread: Spread, column: Column) -> str:
    return f"{spread.middle:,.{column.decimals}f}"


def _ratio(spread: Spread | None, column: Column) -> str:
    if spread is None:
        return ""
    middle, low, high = (f"{value:.{column.decimals}f}" for value in (spread.middle, spread.low, spread.high))
    return middle if low == high else f"{middle} ({low} to {high})"
