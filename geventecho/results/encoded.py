"""A `Result` as JSON in parts, so that a reader parses and sends only the parts that it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, Self

from geventecho.results.json_file import as_json
from geventecho.results.result import Result
from geventecho.results.verdict import INCOMPLETE

__all__ = ["Encoded"]

LONG: Final = ("rows", "warm_up", "stages")
"""The keys whose values have rows."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A `Result` in parts. Each part is a JSON object.

    Attributes:
        brief: the keys that no other part has, and `now`: the last point of each column of the run's series.
        short_rows: the rows as `{"rows": [...]}`, without their distributions, which are the largest part of a result.
        long: rows, warm-up and stages.
        series: the series without their rows.
        rows: the rows of the series, by "TYPE name".
    """

    brief: bytes
    short_rows: bytes
    long: bytes
    series: bytes
    rows: Mapping[str, bytes]

    @classmethod
    def of(cls, result: Result) -> Self:
        """Encode a result."""
        plain = as_json(result)
        series = plain.pop("series")
        rows = {f"{row['type']} {row['name']}": _json(row) for row in series.pop("rows")}
        plain["now"] = {name: column[-1] if column else None for name, column in series["run"].items()}
        long = {key: plain.pop(key) for key in LONG}
        short_rows = [{key: row[key] for key in row if key != "distributions"} for row in long["rows"]]
        return cls(_json(plain), _json({"rows": short_rows}), _json(long), _json(series), rows)

    def incomplete(self, reasons: Sequence[str]) -> Self:
        """Return the result with further reasons why the run is incomplete."""
        plain = json.loads(self.brief)
        plain["verdict"] = {"status": INCOMPLETE, "reasons": [*reasons, *plain["verdict"]["reasons"]]}
        return replace(self, brief=_json(plain))

    def join(self, extra: Mapping[str, Any], row: str | None = None) -> bytes:
        """Return one object with all keys.

        Args:
            extra: further keys.
            row: the only row of the series to return, as "TYPE name"; all rows by default.
        """
        rows = self.rows.values() if row is None else [self.rows[row]] if row in self.rows else []
        series = b'%b, "rows": [%b]}' % (self.series[:-1], b", ".join(rows))
        return b'{%b, %b, %b, "series": %b}' % (_json(extra)[1:-1], self.brief[1:-1], self.long[1:-1], series)

    def short(self) -> dict[str, Any]:
        """Return the parsed result without warm-up, stages, series and distributions: enough for a table."""
        return {**json.loads(self.brief), **json.loads(self.short_rows)}

    def write(self, sink: BinaryIO) -> None:
        """Write the result to a pipe: a line of JSON with the lengths of the parts, then the parts."""
        parts = [self.brief, self.short_rows, self.long, self.series, *self.rows.values()]
        sink.write(_json([list(self.rows), list(map(len, parts))]) + b"\n")
        sink.writelines(parts)
        sink.flush()

    @classmethod
    def read(cls, source: BinaryIO) -> Self:
        """Read a result that `write` wrote.

        Raises:
            EOFError: the pipe was closed.
        """
        line = source.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        names, lengths = json.loads(line)
        data = source.read(sum(lengths))
        if len(data) < sum(lengths):
            raise EOFError
        parts, at = [], 0
        for length in lengths:
            parts.append(data[at : at + length])
            at += length
        brief, short_rows, long, series, *rows = parts
        return cls(brief, short_rows, long, series, dict(zip(names, rows, strict=True)))


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")
