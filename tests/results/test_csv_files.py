"""A result as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from geventecho.results import CSV_FILES, RUN_COLUMNS, Failures, Result, RowSeries, Series, as_json
from tests.results.samples import START, block, result, row


def read(name: str, made: Result) -> list[dict[str, str]]:
    """The lines of a file, by column."""
    text = CSV_FILES[name](as_json(made))
    assert text.count("\r\n") == text.count("\n"), "RFC 4180"
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert len({len(line) for line in lines}) == 1
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_a_row_has_all_its_counts_and_times() -> None:
    times = [100.0 + time for time in range(96)]
    echo = row([block(START + n, times, failed=4) for n in range(60)], 60)
    (found,) = read("rows", result(echo))
    assert (found["type"], found["name"], found["ok"], found["failed"], found["rate"]) == (
        "TCP", "echo", "5760", "240", "96.0"
    )  # fmt: skip
    p99 = echo.response_us.p99
    assert p99 is not None
    ends = [found[f"response_us.p99{end}"] for end in ("", ".low", ".high")]
    assert [float(end) for end in ends] == [p99.value, p99.low, p99.high]
    assert p99.low < p99.high
    assert found["response_us.p99_99"] == "", "below its floor"
    assert found["offered_us.p99"] == found["offered_us.p99.high"] == "lost"
    assert (float(found["service_us.mean"]), float(found["service_us.max"])) == (147.5, 195.0)
    assert found["first_byte_us.mean"] == ""


def test_each_point_has_a_line_for_the_run_and_one_for_each_row() -> None:
    columns: Mapping[str, Any] = {name: (float(place), None) for place, name in enumerate(RUN_COLUMNS)}
    of_row = {name: (1.5, None) for name in RowSeries.__dataclass_fields__ if name not in ("type", "name", "heat")}
    rows = tuple(RowSeries(type="TCP", name=name, heat=((3, 1), ()), **of_row) for name in ("connect", "echo"))
    series = Series(width_s=2, measured_from_s=0, at_s=(0, 2), run=columns, rows=rows)
    found = read("series", replace(result(), series=series))
    assert [(line["at_s"], line["type"], line["name"]) for line in found] == [
        (at, kind, name) for at in ("0", "2") for kind, name in (("", ""), ("TCP", "connect"), ("TCP", "echo"))
    ]
    assert (found[0]["run.users"], found[0]["run.cpu"], found[0]["row.p99_us"]) == ("0.0", "12.0", "")
    assert (found[1]["run.users"], found[1]["row.p99_us"], found[1]["row.service_p99_us"]) == ("", "1.5", "1.5")
    assert set(found[5].values()) == {"2", "TCP", "echo", ""}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_text_of_peers_is_no_formula_and_stays_in_its_cell(first: str) -> None:
    text = f'{first}cmd|" /C calc"!A0,\r\nx'
    failures = Failures("TCP", "echo", "unexpected reply", 3, text)
    (found,) = read("failures", replace(result(), failures=(failures,)))
    assert found == {"type": "TCP", "name": "echo", "kind": "unexpected reply", "count": "3", "sample": f"'{text}"}


@pytest.mark.parametrize("text", CSV_FILES.values())
def test_a_run_without_data_has_the_header_alone(text: Callable[[Mapping[str, Any]], str]) -> None:
    assert text(as_json(result())).count("\r\n") == 1
