"""Results as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import COLUMNS, RATIOS

if TYPE_CHECKING:
    from bench.figures import Column, Spread, Summary

__all__ = ["scenario_table", "table"]


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rule = ["---", *("---:" for _ in headings[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows)) + "\n"


def scenario_table(kind: str, summaries: list[Summary]) -> str:
    """All contenders of one scenario: medians over the rounds; ratios with their smallest and largest."""
    columns, ratios = COLUMNS[kind], RATIOS[kind]
    headings = [
        "generator" if kind in {"load", "users"} else "server",
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


def _value(spread: Spread, column: Column) -> str:
    return f"{spread.middle:,.{column.decimals}f}"


def _ratio(spread: Spread | None, column: Column) -> str:
    if spread is None:
        return ""
    return (
        f"{spread.middle:.{column.decimals}f} ({spread.low:.{column.decimals}f} to {spread.high:.{column.decimals}f})"
    )
