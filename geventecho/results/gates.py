"""Gates: conditions such as `echo p99 < 5ms`, parsed and judged.

    [[type] row] [response | service | offered] metric comparison number[unit]

A gate on a percentile is met only if the whole 95 % interval of the percentile meets it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, inf
from typing import Final, NoReturn, Self, TypeAlias

from geventecho.errors import ConfigError
from geventecho.results.blocks import OTHER, RowKey
from geventecho.results.cells import milliseconds, printable
from geventecho.results.figures import TASK, TRANSACTION, is_operation
from geventecho.results.intervals import FLOORS
from geventecho.results.result import PERCENTILES, GateOutcome, Result, Row

__all__ = ["Gate", "parse_gates", "uncounted_failures"]

PERCENTILE_KEYS: Final = {key.replace("_", "."): key for key in PERCENTILES}
TIMES: Final = (*PERCENTILE_KEYS, "mean", "max")
METRICS: Final = (*TIMES, "failures", "rate")
KINDS: Final = ("response", "service", "offered")
TYPES: Final = ("TCP", TRANSACTION, TASK)

COMPARISONS: Final[dict[str, tuple[Callable[[float, float], bool], str]]] = {
    "<": (operator.lt, "below"),
    "<=": (operator.le, "at most"),
    ">": (operator.gt, "above"),
    ">=": (operator.ge, "at least"),
}
"""Each comparison with its function and its word."""

Units: TypeAlias = Mapping[str, Fraction | int]
MICROSECONDS: Final[Units] = {"us": 1, "µs": 1, "μs": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
SHARES: Final[Units] = {"%": Fraction(1, 100), "": 1}
RATES: Final[Units] = {"/s": 1, "/min": Fraction(1, 60)}
OTHER_UNITS: Final = {
    "failures": (SHARES, "a share of failures is in %, or a ratio without a unit, as in 0.1% or 0.001"),
    "rate": (RATES, "a rate has the unit /s or /min, as in 900/s"),
}

TOKEN: Final = re.compile(
    r"""(?P<quoted>"[^"]*"|'[^']*')|(?P<comparison>[<>]=?)|(?P<word>[^\s"'<>=]+)|(?P<wrong>\S)|\s+"""
)
NUMBER: Final = re.compile(r"(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})\s*(.*)", re.ASCII | re.DOTALL)
EXPONENT: Final = re.compile(r"[eE][-+]?\d", re.ASCII)
MAX_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition on a result.

    Attributes:
        text: the text of the gate.
        type: the row's type; "" for any type.
        row: the row's name; "" for the whole run.
        kind: the kind of time, such as "response_us".
        metric: one of `METRICS`.
        comparison: one of `COMPARISONS`.
        limit: the limit in microseconds, in operations a second, or as a share.
    """

    text: str = field(compare=False)
    type: str
    row: str
    kind: str
    metric: str
    comparison: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a gate.

        Raises:
            ConfigError: the text is empty or malformed. If it is malformed, the message has a caret under the place.
        """
        text = text.strip()
        if not text:
            raise ConfigError("the gate is empty; write a condition such as 'echo p99 < 5ms'")
        tokens = [found for found in TOKEN.finditer(text) if found.lastgroup]
        for token in tokens:
            if token.lastgroup == "wrong":
                why = "a comparison is <, <=, > or >=" if token[0] == "=" else "this quote is not closed"
                _fail(why, text, token.start())
        places = [place for place, token in enumerate(tokens) if token.lastgroup == "comparison"]
        if not places:
            is_number = len(tokens) > 1 and NUMBER.match(tokens[-1][0])
            _fail("a comparison is missing: <, <=, > or >=", text, tokens[-1].start() if is_number else len(text))
        if len(places) > 1:
            _fail("a gate has one comparison", text, tokens[places[1]].start())
        comparison, before = tokens[places[0]], tokens[: places[0]]
        kind, row, metric = _left_side(text, before, comparison.start())
        limit = _limit(text, metric, comparison.end())
        return cls(text, *row, kind, metric, comparison[0], limit)

    def __str__(self) -> str:
        return self.text

    def judge(self, result: Result) -> GateOutcome:
        """Judge a result by the gate."""
        try:
            figure, name, value = self._figure(result)
        except _Unknown as unknown:
            return GateOutcome(self.text, False, "", str(unknown))
        compare, word = COMPARISONS[self.comparison]
        if compare(figure, self.limit):
            return GateOutcome(self.text, True, value, "")
        limit = self.text.rpartition(self.comparison)[2].strip()
        return GateOutcome(self.text, False, value, f"{name} is not {word} {limit}")

    def _figure(self, result: Result) -> tuple[float, str, str]:
        """The figure to compare, its name in a reason, and its text."""
        if not result.rows or not result.duration_s:
            raise _Unknown("nothing was measured")
        if self.metric == "failures":
            return self._failures(result)
        if self.metric == "rate":
            rate = (self._row(result) if self.row else result).rate
            shown = f"{rate:,.0f}/s" if rate >= 1000 else f"{rate:.4g}/s"
            return rate, "it", f"rate {shown}"
        return self._time(self._row(result))

    def _failures(self, result: Result) -> tuple[float, str, str]:
        rows = [self._row(result)] if self.row else _tasks_or_operations(result)
        if not rows:
            raise _Unknown("no operation was measured")
        unit = "tasks" if rows[0].type == TASK else "operations"
        bad = sum(row.failed + row.dropped for row in rows)
        total = bad + sum(row.ok for row in rows)
        share = f"{100 * bad / total:.3g}%"
        return bad / total, "it", f"failures {share} ({bad} of {total} {unit})"

    def _time(self, row: Row) -> tuple[float, str, str]:
        times = getattr(row, self.kind)
        if self.metric in PERCENTILE_KEYS:
            percentile = getattr(times, PERCENTILE_KEYS[self.metric])
            if percentile is None:
                raise _Unknown(self._why_withheld(row))
            end, far = ("high", percentile.high) if self.comparison[0] == "<" else ("low", percentile.low)
            interval = f"[{milliseconds(percentile.low)}, {milliseconds(percentile.high)}]"
            value = f"{self.metric} {_in_words(percentile.value)} {interval}"
            return far, f"the {end} end of its interval", value
        time: float | None = getattr(times, self.metric)
        if self.kind == "offered_us" and row.failed + row.dropped:
            time = inf
        if time is None:
            raise _Unknown(self._why_withheld(row))
        return time, "it", f"{self.metric} {_in_words(time)}"

    def _why_withheld(self, row: Row) -> str:
        if getattr(row, self.kind).mean is None:
            why = "has no times of this kind" if row.ok else "has no good operation"
            return f"{row.type} {row.name} {why}"
        key = PERCENTILE_KEYS[self.metric]
        needed = f"{self.metric} needs {FLOORS[PERCENTILES[key]]:,} operations"
        missing = row.missing.get(self.kind, {}).get(key)
        if missing is None:
            return f"{needed}, and each user makes one: there were {row.ok:,}; use more users"
        return f"{needed}: measure {ceil(missing):,} s longer, or with more load"

    def _row(self, result: Result) -> Row:
        """The gate's row; without a name the only row of operations."""
        if not self.row:
            found = [row for row in _operations(result) if not row.setup]
            if len(found) != 1:
                raise _Unknown(f"write the row before {self.metric}: the rows are {_listed(found or result.rows)}")
            return found[0]
        found = [row for row in result.rows if row.name == self.row and self.type in ("", row.type)]
        if len(found) > 1:
            raise _Unknown(f"{_listed(found)} have the same name: write the type before the name")
        if not found:
            has_other = any(row.name == OTHER for row in result.rows)
            more = f"; further rows are added up in the row {OTHER}" if has_other else ""
            name = f"{self.type} {self.row}".strip()
            raise _Unknown(f"there was no row {name}; the rows are {_listed(result.rows)}{more}")
        return found[0]


class _Unknown(Exception):
    """The figure of a gate is not known; the text says why."""


def parse_gates(text: str) -> tuple[Gate, ...]:
    """Parse gates, one on each line; empty lines do not count.

    Raises:
        ConfigError: a gate is malformed, or there is no gate.
    """
    return tuple(Gate.parse(line) for line in text.split("\n") if line.strip()) or (Gate.parse(""),)


def uncounted_failures(gates: Iterable[Gate], result: Result, failed: Mapping[RowKey, int]) -> list[RowKey]:
    """The rows with failures that a gate on `failures` may not have counted.

    A gate does not count failures in the warm-up. With an arrival rate it counts failed tasks. It then misses a failure
    that the task caught, and a failed connect between two tasks. A gate on tasks covers a row only if at least as many
    tasks failed.

    Args:
        gates: the gates of the run.
        result: the result of the run.
        failed: the failures of the whole run, by row.
    """
    on_failures = [gate for gate in gates if gate.metric == "failures"]
    counted = {(row.type, row.name): row.failed for row in result.rows}
    left = {
        key: count
        for key, count in failed.items()
        if count > counted.get(key, 0)
        or not any(gate.row == key[1] and gate.type in ("", key[0]) for gate in on_failures)
    }
    if all(gate.row for gate in on_failures) or not all(kind in TYPES for kind, _ in left):
        return list(left)
    # A transaction fails because an operation in it fails, and transactions may be nested.
    transactions = [count for (kind, _), count in left.items() if kind == TRANSACTION]
    most = max(sum(left.values()) - sum(transactions), *transactions, 0)
    return list(left) if most > sum(row.failed for row in _tasks_or_operations(result)) else []


def _operations(result: Result) -> list[Row]:
    """The rows that together count each operation once."""
    return [row for row in result.rows if is_operation((row.type, row.name))]


def _tasks_or_operations(result: Result) -> list[Row]:
    """The rows of tasks, or the rows of operations if there are no tasks."""
    return [row for row in result.rows if row.type == TASK] or _operations(result)


def _left_side(text: str, tokens: Sequence[re.Match[str]], end: int) -> tuple[str, tuple[str, str], str]:
    """The kind of time, the row's type and name, and the metric in the words before the comparison."""
    if not tokens:
        _fail(f"a metric is missing: {_metrics()}", text, end)
    *rest, last = tokens
    metric = last[0]
    if metric not in METRICS:
        if metric.lower() in METRICS:
            _fail("write the metric in lower case", text, last.start())
        _fail(f"this is not a metric; a metric is {_metrics()}", text, last.start())
    kind = "response"
    if rest and rest[-1][0] in KINDS:
        if metric not in TIMES:
            _fail(f"{metric} has no kind of time: leave this word out", text, rest[-1].start())
        kind = rest.pop()[0]
    if len(rest) > 1 and rest[0][0] not in TYPES:
        why = f"quote a row's name that has spaces; before the name may be its type: {', '.join(TYPES)}"
        _fail(why, text, rest[0].start())
    if len(rest) > 2:
        _fail("quote a row's name that has spaces", text, rest[1].start())
    name = rest[-1] if rest else None
    row = "" if name is None else name[0][1:-1] if name.lastgroup == "quoted" else name[0]
    if name is not None and not row:
        _fail("this name is empty", text, name.start())
    return f"{kind}_us", (rest[0][0] if len(rest) > 1 else "", row), metric


def _limit(text: str, metric: str, start: int) -> float:
    """The limit after the comparison."""
    start += len(text[start:]) - len(text[start:].lstrip())
    found = NUMBER.fullmatch(text, start)
    of_times = (MICROSECONDS, "a time has a unit: us, ms, s or min, as in 5ms")
    units, help_text = OTHER_UNITS.get(metric, of_times)
    if not found:
        _fail(f"write a number of 0 or more here; {help_text}", text, start)
    if found[2] not in units:
        unit, _, _ = found[2].partition(" ")
        if unit in units:
            _fail("nothing may follow the limit", text, found.end(2) - len(found[2][len(unit) :].lstrip()))
        if EXPONENT.match(unit):
            _fail("write the number in plain digits, as in 0.001", text, found.start(2))
        _fail(help_text, text, found.start(2))
    limit = float(Fraction(found[1]) * units[found[2]])  # rounded once, as the compared figures are
    if metric == "failures" and limit > 1:
        _fail("a share is at most 100%", text, start)
    return limit


def _metrics() -> str:
    return f"{', '.join(METRICS[:-1])} or {METRICS[-1]}"


def _fail(why: str, text: str, place: int) -> NoReturn:
    raise ConfigError(f"{why}\n  {printable(text)}\n  {' ' * len(printable(text[:place]))}^")


def _listed(rows: Sequence[Row]) -> str:
    more = f" and {len(rows) - MAX_LISTED} more" if len(rows) > MAX_LISTED else ""
    return ", ".join(f"{row.type} {row.name}" for row in rows[:MAX_LISTED]) + more


def _in_words(microseconds: float) -> str:
    text = milliseconds(microseconds)
    return text if text.endswith(("s", "t")) else f"{text} ms"
