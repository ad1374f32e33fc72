"""A result as CSV: its rows, its figures over time and its failures, each as the text of a file.

The columns have the names of the keys in the JSON file, see docs/reference/result-schema.md; `p99.low` and `p99.high`
are the ends of an interval. Lines end with CRLF, and text with commas, quotes or line breaks is quoted (RFC 4180).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from geventecho.results.result import PERCENTILES
from geventecho.results.series import RUN_COLUMNS, RowSeries

__all__ = ["CSV_FILES", "failures_csv", "rows_csv", "series_csv"]

COUNTS: Final = ("type", "name", "ok", "failed", "dropped", "rate", "bytes_sent", "bytes_received", "clock_steps")
TIMES: Final = ("response_us", "service_us", "generator_delay_us", "read_delay_us", "first_byte_us", "offered_us")
ROW_COLUMNS: Final = [field.name for field in fields(RowSeries) if field.name not in ("type", "name", "heat")]
FAILURES: Final = ("type", "name", "kind", "count", "sample")
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these characters for a formula."""


def rows_csv(result: Mapping[str, Any]) -> str:
    """The rows of the measured part, one line each: counts, and all times with the intervals of percentiles.

    Args:
        result: the result as `as_json` returns it, here and below.
    """
    head = [*COUNTS, *(f"{kind}.{column}" for kind in TIMES for column in _time_columns())]
    return _text(head, ([*_cells(row, COUNTS), *_times(row)] for row in result["rows"]))


def series_csv(result: Mapping[str, Any]) -> str:
    """The figures over time. Each point has a line of the run, with empty type and name, and a line of each row."""
    series = result["series"]
    run = [f"run.{column}" for column in RUN_COLUMNS]
    head = ["at_s", "type", "name", *run, *(f"row.{column}" for column in ROW_COLUMNS)]
    return _text(head, _points(series))


def failures_csv(result: Mapping[str, Any]) -> str:
    """The failures of the whole run, one line for each kind in each row."""
    return _text(FAILURES, (_cells(failures, FAILURES) for failures in result["failures"]))


CSV_FILES: Final = {"rows": rows_csv, "series": series_csv, "failures": failures_csv}
"""The functions that make the files, by the end of a file's name."""


def _text(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(map(_without_formulas, lines))
    return text.getvalue()


def _without_formulas(line: Sequence[Any]) -> list[Any]:
    """The line with a quote before each formula: names and samples may come from a peer."""
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in line]


def _cells(row: Mapping[str, Any], columns: Iterable[str]) -> list[Any]:
    return [row[column] for column in columns]


def _time_columns() -> Iterator[str]:
    for key in PERCENTILES:
        yield from (key, f"{key}.low", f"{key}.high")
    yield from ("mean", "max")


def _times(row: Mapping[str, Any]) -> Iterator[Any]:
    for kind in TIMES:
        times = row[kind] or {}
        for key in PERCENTILES:
            percentile = times.get(key) or {}
            yield from (percentile.get(end) for end in ("value", "low", "high"))
        yield from (times.get("mean"), times.get("max"))


def _points(series: Mapping[str, Any]) -> Iterator[list[Any]]:
    for point, at in enumerate(series["at_s"]):
        run_values = [series["run"][column][point] for column in RUN_COLUMNS]
        yield [at, "", "", *run_values, *("" for _ in ROW_COLUMNS)]
        for row in series["rows"]:
            row_values = [row[column][point] for column in ROW_COLUMNS]
            yield [at, row["type"], row["name"], *("" for _ in RUN_COLUMNS), *row_values]
