"""The target figures of this project, and whether a result reaches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.tables import table

if TYPE_CHECKING:
    from bench.figures import Summary

__all__ = ["TARGETS", "Target", "targets_table"]

PLAIN, NODE, UVLOOP, C = "gevent recv/sendall", "Node pipe", "uvloop Protocol", "C epoll"
ASYNCIO = "asyncio Protocol"


@dataclass(frozen=True)
class Target:
    """One figure: the median over all rounds must be `least` or more, or `most` or less.

    Attributes:
        title: in the table.
        scenario: its name.
        key: in figures_of().
        peer: compared with this peer (ours divided by it); None for our own figure.
    """

    title: str
    scenario: str
    key: str
    peer: str | None = None
    least: float | None = None
    most: float | None = None

    def value(self, summaries: list[Summary]) -> float | None:
        """The measured figure, or None if the peer did not run."""
        if self.peer is None:
            return summaries[0].figures[self.key].middle
        found = (summary for summary in summaries if summary.name == self.peer)
        return next((summary.ratios[self.key].middle for summary in found), None)

    def per_cpu(self, summaries: list[Summary]) -> str:
        """The ratio of a throughput per server CPU second, which also holds if a server was not busy all the time."""
        found = (
            summary.ratios["capacity"] for summary in summaries if summary.name == self.peer and self.key == "rate"
        )
        return next((f"{ratio.middle:.2f}" for ratio in found), "")

    def wanted(self) -> str:
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"

    def reached(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def _throughput(scenario: str, words: str) -> tuple[Target, ...]:
    wanted = ((PLAIN, 2.3), (NODE, 1.15), (UVLOOP, 0.85), (C, 0.65))
    return tuple(Target(f"{words}, against {peer}", scenario, "rate", peer, least=least) for peer, least in wanted)


def _secure(scenario: str, words: str) -> tuple[Target, ...]:
    return tuple(
        Target(f"TLS {words}, against {peer}", scenario, "rate", peer, least=least)
        for peer, least in ((ASYNCIO, 1.5), (NODE, 1))
    )


TARGETS: Final = (
    *_throughput("echo-1024-100", "echo, 1 KiB, 100 connections"),
    *_throughput("echo-1024-1000", "echo, 1 KiB, 1,000 connections"),
    Target("echo, 100 KiB, 10 connections, against C epoll", "echo-102400-10", "rate", C, least=0.95),
    Target("user CPU of a 1 KiB message, µs", "echo-1024-100", "user", most=4.5),
    Target("memory of an idle connection, KiB", "idle", "each", most=9),
    Target("Locust, against the usual socket user", "load", "per_core", "usual socket user", least=1.9),
    Target("Locust, against FastHttpUser", "load", "per_core", "FastHttpUser", least=6),
    Target("Locust users in one process: failures", "users", "failed", most=0),
    Target("Locust users spawned a second, where 1,000 are asked for", "users", "spawned", least=1000),
    Target("Locust users that wait 1 s: p50 of a minute's last quarter / first", "lockstep", "growth", most=1.3),
    Target("burst: connections that failed", "burst", "failed", most=0),
    Target("burst: listen drops", "burst", "overflows", most=0),
    Target("burst: connect p99, ms", "burst", "connect", most=1000),
    Target("burst: neighbours' p99, ms", "burst", "neighbours", most=50),
    *_secure("tls-echo-1024-100", "echo, 1 KiB, 100 connections"),
    *_secure("tls-echo-16384-100", "echo, 16 KiB, 100 connections"),
    *_secure("tls-handshakes", "handshakes"),
    *_secure("tls-resumed", "handshakes, resumed"),
)


def targets_table(results: dict[str, list[Summary]]) -> str:
    """The targets whose scenarios were run, with the measured figures; empty if there are none."""
    rows = []
    for target in TARGETS:
        summaries = results.get(target.scenario, [])
        value = target.value(summaries) if summaries else None
        if value is not None:
            reached = "yes" if target.reached(value) else "no"
            rows.append([target.title, target.wanted(), f"{value:.2f}", reached, target.per_cpu(summaries)])
    return table(["figure", "wanted", "measured", "reached", "per server CPU second"], rows) if rows else ""
