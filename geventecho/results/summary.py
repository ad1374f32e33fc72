"""The figures of a `Result` as lines for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from geventecho.results.evidence import is_setup
from geventecho.results.intervals import Percentile
from geventecho.results.result import Result, Row, Times
from geventecho.results.verdict import TRUSTED, Verdict

__all__ = ["in_milliseconds", "is_made_once", "printable", "table", "verdict_lines"]

SHOWN: Final = {"p50": "p50", "p99": "p99", "p99_9": "p99.9"}
"""The percentiles that are shown, with their headings."""
WITHHELD: Final = "\N{EN DASH}"
LABEL_WIDTH: Final = 11
COLUMN_WIDTH: Final = 23
NAME_WIDTH: Final = 40


def table(result: Result) -> str:
    """Return the rows of the measured part: counts, and some percentiles in milliseconds with their intervals.

    A percentile without enough samples is a dash, with the seconds that are missing at the row's rate. It is a dash
    alone where more time would not help: users connect once, or nothing ended well.
    """
    heads = "".join(f"{head:<{COLUMN_WIDTH}}" for head in SHOWN.values())
    lines = [f"{'ms':<{LABEL_WIDTH}}{heads}".rstrip()]
    for row in result.rows:
        lines += _row(row, {} if is_made_once(result, row) or not row.ok else row.missing)
    return "\n".join(lines)


def verdict_lines(verdict: Verdict) -> str:
    """Return a verdict, and a line for each of its reasons. The rules look at no percentile above p99."""
    status = f"{verdict.status} (up to p99)" if verdict.status == TRUSTED else verdict.status
    return "\n  ".join(map(printable, [f"verdict: {status}", *verdict.reasons]))


def is_made_once(result: Result, row: Row) -> bool:
    """Whether each user makes the operations of a row once, so that more time brings no more of them."""
    users = sum(worker.users or 0 for worker in result.workers)
    return is_setup((row.type, row.name)) and row.ok + row.failed <= users


def printable(text: str) -> str:
    """Return a text that a peer may have made, with escapes for characters that could command a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _row(row: Row, missing: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    name = printable(f"{row.type} {row.name}")
    shown = name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"
    dropped = f", {row.dropped} dropped" if row.dropped else ""
    yield f"{shown}: {row.ok} ok, {row.failed} failed{dropped}, {_rate(row.rate)} good/s"
    yield _times("response", row.response_us, missing.get("response_us", {}))
    if row.service_us.mean is not None:
        yield _times("service", row.service_us, missing.get("service_us", {}))
    if row.failed or row.dropped:
        yield _times("offered", row.offered_us, missing.get("offered_us", {}))


def _times(label: str, times: Times, missing: Mapping[str, float]) -> str:
    cells = (_cell(getattr(times, key), missing.get(key)) for key in SHOWN)
    return f"{f'  {label}':<{LABEL_WIDTH}}{''.join(f'{cell:<{COLUMN_WIDTH}}' for cell in cells)}".rstrip()


def _cell(percentile: Percentile | None, missing: float | None) -> str:
    if percentile is None:
        return WITHHELD if missing is None else f"{WITHHELD} ({math.ceil(missing)} s more)"
    low, high = in_milliseconds(percentile.low), in_milliseconds(percentile.high)
    return f"{in_milliseconds(percentile.value)} [{low}, {high}]"


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 1000 else f"{rate:.4g}"


def in_milliseconds(microseconds: float) -> str:
    """Three significant digits, and none below a microsecond; from 10 s on in seconds."""
    if microseconds == math.inf:
        return "lost"
    milliseconds = microseconds / 1000
    if milliseconds >= 10_000:
        return f"{milliseconds / 1000:.0f}s" if milliseconds >= 999_500 else f"{milliseconds / 1000:.3g}s"
    if milliseconds >= 99.95:  # which `g` would write as "100."
        return f"{milliseconds:.0f}"
    return f"{milliseconds:#.3g}" if milliseconds >= 0.1 else f"{milliseconds:.3f}"
