"""Figures of runs, medians over the rounds, and ratios between neighbouring runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bench.driving import Result

__all__ = ["COLUMNS", "RATIOS", "Column", "Measured", "Spread", "Summary", "figures_of", "summarise"]


@dataclass(frozen=True)
class Spread:
    """The median and the range of several measurements of a figure."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        place: its number in the round, from 0; our runs have the even places.
        figures: from figures_of().
        raw: the whole result.
    """

    scenario: str
    contender: str
    round: int
    place: int
    figures: dict[str, float]
    raw: dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One figure in a table: its key in figures_of(), heading and decimals."""

    key: str
    heading: str
    decimals: int = 0


@dataclass
class Summary:
    """One contender in one scenario.

    Attributes:
        figures: by key, over all rounds.
        ratios: ours divided by this contender's, by key, over all neighbouring runs; empty for ours.
    """

    name: str
    figures: dict[str, Spread] = field(default_factory=dict)
    ratios: dict[str, Spread] = field(default_factory=dict)


_TAKEN: Final = Column("taken", "taken %", 1)
_BUSY: Final = (Column("server_busy", "server busy %"), Column("driver_busy", "driver busy %"), _TAKEN)
_COST: Final = (Column("user", "user µs", 2), Column("system", "system µs", 2))
_LATENCY: Final = (Column("p50", "p50 µs"), Column("p99", "p99 µs"), Column("p999", "p99.9 µs"))

COLUMNS: Final = {
    "echo": (Column("rate", "messages/s"), *_LATENCY, *_COST, *_BUSY),
    "churn": (Column("rate", "connections/s"), *_LATENCY, *_COST, *_BUSY),
    "flood": (
        Column("flood", "flood MB/s"),
        *_LATENCY,
        Column("max", "max µs"),
        Column("late", "sent late p99 µs"),
        *_BUSY,
    ),
    "burst": (
        Column("seconds", "seconds", 2),
        Column("failed", "failed"),
        Column("overflows", "listen drops"),
        Column("connect", "connect p99 ms", 1),
        Column("first_echo", "first echo p99 ms", 1),
        Column("neighbours", "neighbours' p99 ms", 1),
        Column("late_ms", "sent late p99 ms", 1),
        *_BUSY,
    ),
    "driver": (
        Column("rate", "messages/s"),
        Column("server_busy", "server busy %"),
        Column("driver_busy", "driver busy %"),
        Column("driver_cost", "driver's µs a message", 2),
        Column("slowed", "driver made slower by %", 1),
        Column("slower", "then messages/s"),
        Column("change", "change %", 1),
    ),
    "idle": (Column("each", "KiB a connection", 2), Column("all", "process MiB", 1)),
    "load": (
        Column("per_core", "requests a CPU second"),
        Column("rate", "requests/s"),
        Column("busy", "Locust busy %"),
        _TAKEN,
    ),
    "lockstep": (
        Column("growth", "p50, last quarter / first", 2),
        Column("p50_1", "first quarter's p50 µs"),
        Column("p50_2", "second"),
        Column("p50_3", "third"),
        Column("p50_4", "last"),
        Column("rate", "requests/s"),
        Column("busy", "Locust busy %"),
        _TAKEN,
    ),
    "users": (
        Column("each", "KiB a user", 1),
        Column("spawned", "users spawned a second"),
        Column("spawn_cpu", "CPU µs a spawned user"),
        Column("failed", "failed"),
        _TAKEN,
    ),
}
"""The columns of each kind of scenario."""

RATIOS: Final = {
    "echo": (Column("rate", "ours / it: messages/s", 2), Column("capacity", "per server CPU second", 2)),
    "churn": (Column("rate", "ours / it: connections/s", 2), Column("capacity", "per server CPU second", 2)),
    "flood": (),
    "burst": (),
    "driver": (),
    "idle": (Column("each", "ours / it", 2),),
    "load": (Column("per_core", "ours / it", 2),),
    "lockstep": (),
    "users": (Column("each", "ours / it", 2),),
}
"""The figures that are compared. A ratio per CPU second also holds if a server was not busy all the time."""


def figures_of(kind: str, result: Result) -> dict[str, float]:
    """The figures of one run."""
    if kind == "idle":
        before, after = result["resident_kib"]
        return {"each": (after - before) / result["connections"], "all": after / 1024}
    latency = result["latency_us"]
    cost = result["server"]["user_us_per_message"] + result["server"]["system_us_per_message"]
    return {
        "rate": result["messages_per_second"],
        "capacity": 1e6 / cost if cost else 0.0,
        "p50": latency["p50"],
        "p99": latency["p99"],
        "p999": latency["p999"],
        "max": latency["max"],
        "late": result["late_us"]["p99"],
        "late_ms": result["late_us"]["p99"] / 1e3,
        "user": result["server"]["user_us_per_message"],
        "system": result["server"]["system_us_per_message"],
        "server_busy": result["server"]["share"] * 100,
        "driver_busy": result["driver"]["share"] * 100,
        "taken": result["taken"],
        "flood": result["flood_bytes_per_second"] / 1e6,
        "seconds": result["seconds"],
        "failed": float(sum(result["failures"].values())),
        "overflows": float(result.get("listen_overflows", 0)),
        "connect": result["connect_us"]["p99"] / 1e3,
        "first_echo": result["first_echo_us"]["p99"] / 1e3,
        "neighbours": latency["p99"] / 1e3,
    }


def summarise(kind: str, runs: list[Measured]) -> list[Summary]:
    """One summary for each contender of a scenario: ours first, the others by their first figure, best first."""
    figures = {(run.round, run.place): run.figures for run in runs}
    ours = next(run.contender for run in runs if run.place == 0)
    summaries = {run.contender: Summary(run.contender) for run in runs}
    for name, summary in summaries.items():
        own = [(run.round, run.place) for run in runs if run.contender == name]
        for key in figures[own[0]]:
            summary.figures[key] = Spread.of([figures[at][key] for at in own])
        if name != ours:
            for column in RATIOS[kind]:
                summary.ratios[column.key] = Spread.of([_ratio(figures, at, column.key) for at in own])
    first, most_first = COLUMNS[kind][0].key, kind in {"echo", "churn", "flood", "load"}
    others = sorted(
        (summary for summary in summaries.values() if summary.name != ours),
        key=lambda summary: summary.figures[first].middle,
        reverse=most_first,
    )
    return [summaries[ours], *others]


def _ratio(figures: dict[tuple[int, int], dict[str, float]], at: tuple[int, int], key: str) -> float:
    """The mean of our runs just before and just after, divided by the peer's run at `at`."""
    round_, place = at
    ours = (figures[round_, place - 1][key] + figures[round_, place + 1][key]) / 2
    theirs = figures[at][key]
    return ours / theirs if theirs else 0.0
