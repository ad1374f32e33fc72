"""The figures of a `Result` as lines for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from geventecho.results.cells import WITHHELD, cells, fitted, lines_of, milliseconds, per_second, printable
from geventecho.results.intervals import Percentile
from geventecho.results.result import Account, Failures, GateOutcome, Result, Row, Times
from geventecho.results.server_account import ServerAccount
from geventecho.results.verdict import TRUSTED, Verdict

__all__ = ["account_lines", "table"]

WIDTH: Final = 80
SHOWN: Final = {"p50": "p50", "p99": "p99", "p99_9": "p99.9"}
"""The percentiles of the summary, with their headings."""
LABEL_WIDTH: Final = 11
COLUMN_WIDTH: Final = 23
NAME_WIDTH: Final = 40
INDENT: Final = "  "
MAX_KINDS: Final = 5
"""The most kinds of failures that have their own lines."""


def table(result: Result) -> str:
    """Return the summary that is printed at the end of a test, as lines of at most 80 columns.

    Each row of the measured part has its counts, and some percentiles in milliseconds with their intervals. A
    percentile without enough samples is a dash, with the seconds that are missing at the row's rate. If more time
    would not help, only the dash is printed.
    """
    return "\n".join(
        [
            *_rows(result),
            *(line for note in result.notes for line in _lines(note)),
            *account_lines(result.account, result.connections.peak),
            *_both_ends(result.server_account),
            *_failures(result.failures),
            *_gates(result.gates),
            *_verdict(result.verdict),
        ]
    )


def account_lines(account: Account, peak: int) -> Iterator[str]:
    """Yield the lines that account for every operation and every planned task.

    Args:
        account: the account of the whole run.
        peak: the most connects in one second.
    """
    counts = f"ok {account.ok}, failed {account.failed}, aborted {account.aborted}"
    yield from _lines(f"operations: started {account.started}, {counts}")
    if account.planned:
        sent = f"sent {account.sent} ({account.late} of them late)"
        yield from _lines(f"tasks: planned {account.planned}, {sent}, dropped {account.dropped}")
    yield from _lines(f"connects: {account.connects}, at most {peak} in one second")


def _both_ends(account: ServerAccount | None) -> Iterator[str]:
    """The equations between both ends. The verdict's reasons name the differences."""
    if account is not None:
        yield from _lines(f"both ends, by {account.url}:")
        for line in account.statements or [f"unknown: {account.unknown}"]:
            yield from _lines(line, INDENT)


def _rows(result: Result) -> Iterator[str]:
    about = f"{printable(result.target)}: measured for {result.duration_s:.1f} s"
    times = "; times in ms, with 95 % intervals" if result.rows else ""
    yield from _lines(f"{about}{times}")
    if result.rows:
        heads = "".join(f"{head:<{COLUMN_WIDTH}}" for head in SHOWN.values())
        yield f"{'ms':<{LABEL_WIDTH}}{heads}".rstrip()
    for row in result.rows:
        yield from _row(row)


def _row(row: Row) -> Iterator[str]:
    dropped = f", {row.dropped} dropped" if row.dropped else ""
    counts = f"{row.ok} ok, {row.failed} failed{dropped}, {per_second(row.rate)} good/s"
    name = fitted(printable(f"{row.type} {row.name}"), NAME_WIDTH)
    together = f"{name}: {counts}"
    yield from [together] if cells(together) <= WIDTH else [f"{name}:", *_lines(counts, INDENT)]
    yield _times("response", row.response_us, row.missing.get("response_us", {}))
    if row.service_us.mean is not None:
        yield _times("service", row.service_us, row.missing.get("service_us", {}))
    if row.ok and (row.failed or row.dropped):
        yield _times("offered", row.offered_us, row.missing.get("offered_us", {}))


def _times(label: str, times: Times, missing: Mapping[str, float]) -> str:
    shown = (fitted(_percentile(getattr(times, key), missing.get(key)), COLUMN_WIDTH - 1) for key in SHOWN)
    return f"{f'{INDENT}{label}':<{LABEL_WIDTH}}{''.join(f'{text:<{COLUMN_WIDTH}}' for text in shown)}".rstrip()


def _percentile(percentile: Percentile | None, missing: float | None) -> str:
    if percentile is None:
        return WITHHELD if missing is None else f"{WITHHELD} ({math.ceil(missing)} s more)"
    low, high = milliseconds(percentile.low), milliseconds(percentile.high)
    return f"{milliseconds(percentile.value)} [{low}, {high}]"


def _failures(failures: Sequence[Failures]) -> Iterator[str]:
    if failures:
        yield "failures:"
    for one in failures[:MAX_KINDS]:
        yield fitted(printable(f"{INDENT}{one.count} {one.type} {one.name}: {one.kind}"), WIDTH)
        if one.sample:
            yield fitted(printable(f"{INDENT}{INDENT}{one.sample}"), WIDTH)
    if others := failures[MAX_KINDS:]:
        yield f"{INDENT}{sum(one.count for one in others)} more, of {len(others)} other kinds"


def _gates(gates: Sequence[GateOutcome]) -> Iterator[str]:
    for gate in gates:
        line = f"gate {'met' if gate.met else 'NOT met'}: {gate.expression}"
        value = f" ({gate.value})" if gate.value else ""
        reason = f": {gate.reason}" if gate.reason else ""
        yield from _lines(printable(f"{line}{value}{reason}"))


def _verdict(verdict: Verdict) -> Iterator[str]:
    """The verdict's lines. No rule judges a percentile above p99."""
    yield f"verdict: {verdict.status} (up to p99)" if verdict.status == TRUSTED else f"verdict: {verdict.status}"
    for reason in verdict.reasons:
        yield from _lines(printable(reason), INDENT)


def _lines(text: str, indent: str = "") -> Iterator[str]:
    return lines_of(text, WIDTH, indent, f"{indent}{INDENT}")
