"""A running test in the terminal: a display of some lines, or one plain line for a log.

Both print the JSON of the result up to now. This JSON has four keys that only a live result has: `state`, `elapsed_s`,
`left_s` and `now`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from geventecho.results.cells import WITHHELD, cells, fitted, milliseconds, per_second, printable
from geventecho.results.figures import TASK

__all__ = ["Users", "display", "plain_line"]

Json = Mapping[str, Any]

GAP: Final = "   "
RULE: Final = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
MAX_ROWS: Final = 8
NAME_WIDTH: Final = 40
NARROWEST_NAME: Final = 10
COLUMNS: Final = {"p50 ms": 9, "p99 ms": 9, "good/s": 9, "failed": 9}
"""The columns after the name, with their widths. A narrow terminal shows only the first columns."""


@dataclass(frozen=True, slots=True)
class Users:
    """The users of a test.

    Attributes:
        now: the number of running users.
        asked: the number of users that are to run.
    """

    now: int
    asked: int

    def __str__(self) -> str:
        number = f"{self.now}" if self.now == self.asked else f"{self.now} of {self.asked}"
        return f"{number} user{'' if self.asked == 1 else 's'}"


def plain_line(live: Json, users: Users) -> str:
    """Return the state of a test as one line of a log.

    Args:
        live: the result up to now.
        users: the users now.
    """
    if "verdict" not in live:
        return f"{_time(live)}: {users}, {live['state']}"
    row = next(iter(_operations(live)), None)
    percentiles = [f"{key} {_unit(_percentile(row, key))}" for key in ("p50", "p99")] if row else []
    rates, others = _rates(live), [_failed(live), *_dropped(live), _open(live)]
    return f"{_time(live)}: {', '.join([str(users), *rates, *percentiles, *others, _verdict(live)])}"


def display(live: Json, users: Users, width: int, height: int) -> list[str]:
    """Return the lines of the display: at most `height` lines of at most `width` columns.

    Args:
        live: the result up to now.
        users: the users now.
        width: columns, 1 or more.
        height: lines, 1 or more.
    """
    title = fitted(f"{RULE * 2} {_time(live)} {RULE} {printable(live.get('target', live['state']))} ", width)
    head = f"{title}{RULE * (width - cells(title))}"
    if "verdict" not in live:
        return [head, *_wrapped([str(users), live["state"]], width)][:height]
    figures = [str(users), _open(live), *_rates(live), _failed(live), *_dropped(live)]
    above = [head, *_wrapped(figures, width)]
    reasons = live["verdict"]["reasons"]
    below = [*_gates(live), ": ".join([_verdict(live), *map(printable, reasons[:1])])]
    room = max(height - len(above) - len(below), 0)
    rows = [] if room < 2 else list(_rows(live, width))[:room]
    return [*above, *rows, *(fitted(line, width) for line in below)][:height]


def _time(live: Json) -> str:
    elapsed, left = live.get("elapsed_s") or 0.0, live.get("left_s")
    return _span(elapsed) if left is None else f"{_span(elapsed)} of {_span(elapsed + left)}"


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours}:{minutes % 60:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _operations(live: Json) -> list[Json]:
    """The rows of operations, the busiest first; connects and log-ins come after them."""
    rows = [row for row in live["rows"] if row["type"] != TASK]
    return sorted(rows, key=lambda row: (row["setup"], -row["ok"] - row["failed"]))


def _rates(live: Json) -> Iterator[str]:
    """Good operations a second, and planned tasks a second, in the last second."""
    for key, unit in (("achieved", "good/s"), ("planned", "tasks/s planned")):
        rate = live["now"][key]
        if rate is not None:
            yield f"{per_second(rate)} {unit}"


def _failed(live: Json) -> str:
    account = live["account"]
    failed, started = account["failed"], account["started"]
    return f"{failed} failed ({failed / started:.2%})" if failed else "0 failed"


def _dropped(live: Json) -> Iterator[str]:
    if dropped := live["account"]["dropped"]:
        yield f"{dropped} dropped"


def _open(live: Json) -> str:
    return f"{live['connections']['open']} open"


def _verdict(live: Json) -> str:
    return f"{live['verdict']['status']} so far"


def _gates(live: Json) -> Iterator[str]:
    gates = live["gates"]
    missed = [gate["expression"] for gate in gates if not gate["met"]]
    if gates:
        met = f"{len(gates) - len(missed)} of {len(gates)} gates met so far"
        yield "; not met: ".join([met, *map(printable, missed[:1])])


def _rows(live: Json, width: int) -> Iterator[str]:
    """A head and a line for each row."""
    shown = dict(COLUMNS)
    while shown and width - sum(shown.values()) < NARROWEST_NAME and len(shown) > 1:
        shown.popitem()
    room = max(min(width - sum(shown.values()), NAME_WIDTH), 1)
    yield fitted(" " * room + "".join(f"{head:>{size}}" for head, size in shown.items()), width)
    for row in _operations(live)[:MAX_ROWS]:
        figures = [_percentile(row, "p50"), _percentile(row, "p99"), per_second(row["rate"]), _short(row["failed"])]
        columns = "".join(f"{text:>{size}}" for text, size in zip(figures, shown.values(), strict=False))
        name = fitted(printable(f"{row['type']} {row['name']}"), room)
        yield fitted(f"{name}{' ' * (room - cells(name))}{columns}", width)


def _percentile(row: Json, key: str) -> str:
    percentile = row["response_us"][key]
    if percentile is None:
        return WITHHELD
    value = percentile["value"]
    return milliseconds(math.inf if isinstance(value, str) else value)


def _unit(figure: str) -> str:
    return f"{figure} ms" if figure[-1].isdigit() else figure


def _short(count: int) -> str:
    return f"{count}" if count < 10_000_000 else f"{count // 1_000_000}M"


def _wrapped(items: Sequence[str], width: int) -> Iterator[str]:
    """Put as many items on each line as fit into its width."""
    line = ""
    for item in items:
        longer = f"{line}{GAP}{item}" if line else item
        if line and cells(longer) > width:
            yield fitted(line, width)
            longer = item
        line = longer
    yield fitted(line, width)
