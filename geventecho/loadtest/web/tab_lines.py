"""The lines of the tab: the figures of a result, as text for the cells of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from geventecho.results import WITHHELD, byte_count, milliseconds, per_second, printable

__all__ = ["COLUMNS", "LIVE_PAGE", "lines"]

PERCENTILES: Final = {
    "p50": "p50 (ms)", "p90": "p90", "p95": "p95", "p99": "p99", "p99_9": "p99.9", "p99_99": "p99.99",
}  # fmt: skip
COLUMNS: Final = {"about": "", "item": "", "figure": "", **PERCENTILES}
"""The titles of the columns by key. No key is `name`: Locust would sort by this column."""
LIVE_PAGE: Final = "live page"
ENDINGS: Final = ("ok", "failed", "aborted")

Json = Mapping[str, Any]
Line = dict[str, str]


def lines(live: Json | None, address: str) -> Iterator[Line]:
    """Return the lines of a live result.

    Args:
        live: the live result as in the JSON, with or without its series; None before the first test.
        address: the address of the live page.
    """
    yield _line(LIVE_PAGE, "ready" if live is None else live["state"], address)
    if live is None or "verdict" not in live:
        return
    verdict = live["verdict"]
    why = f"; reasons below: {len(verdict['reasons'])}" if verdict["reasons"] else ""
    yield _line("verdict", "", f"{verdict['status']}{why}")
    measured = f"{live['duration_s']:.1f} s (rows, bytes, workers); connections and account are of the whole test"
    yield _line("measured part", "", measured)
    for gate in live["gates"]:
        found = ("met" if gate["met"] else "not met", gate["value"], gate["reason"])
        yield _line("gate", gate["expression"], ": ".join(filter(None, found)))
    for row in live["rows"]:
        yield from _row(row)
    yield from _connections(live)
    for failures in live["failures"]:
        sample = f": {failures['sample']}" if failures["sample"] else ""
        yield _line("failures", _name(failures), f"{failures['count']} {failures['kind']}{sample}")
    yield from _account(live["account"])
    yield from _both_ends(live["server_account"])
    for reason in verdict["reasons"]:
        yield _line("verdict", "reason", reason)
    for worker in live["workers"]:
        verdict = worker["verdict"]
        reasons = verdict["reasons"] if len(live["workers"]) > 1 else ()  # a single worker has the reasons of the run
        judged = "; ".join([verdict["status"], *reasons])
        yield _line("worker", "", f"{worker['id']}, {per_second(worker['rate'])} good/s: {judged}")


def _line(about: str, item: str, figure: str, **percentiles: str) -> Line:
    texts = {"about": about, "item": item, "figure": figure, **percentiles}
    return {key: text if text.isprintable() else printable(text) for key, text in texts.items()}


def _connections(live: Json) -> Iterator[Line]:
    connections = live["connections"]
    for name in ("open", "opening", "lost", "reconnects", "connects"):
        yield _line("connections", name, str(connections[name]))
    peak = f"at most {connections['peak']}/s"
    yield _line("connections", "connect rate", _with_now(peak, live, "connects", per_second))
    for name in ("bytes_sent", "bytes_received"):
        yield _line("bytes", name.removeprefix("bytes_"), _with_now(byte_count(live[name]), live, name, byte_count))


def _with_now(text: str, live: Json, name: str, shown: Callable[[float], str]) -> str:
    """Add the rate of the last second while the test runs."""
    rate = live["now"].get(name)
    return text if rate is None or live["state"] == "stopped" else f"{text}, now {shown(rate)}/s"


def _row(row: Json) -> Iterator[Line]:
    name = _name(row)
    dropped = f", {row['dropped']} dropped" if row["dropped"] else ""
    counts = f"{row['ok']} good, {row['failed']} failed{dropped}, {per_second(row['rate'])} good/s"
    yield _line(name, "response", counts, **_percentiles(row["response_us"]))
    if row["service_us"]["mean"] is not None:
        yield _line(name, "service", "", **_percentiles(row["service_us"]))


def _percentiles(times: Json) -> dict[str, str]:
    return {key: _interval(times[key]) for key in PERCENTILES}


def _interval(percentile: Json | None) -> str:
    if percentile is None:
        return WITHHELD
    value, low, high = (milliseconds(float(percentile[key])) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _account(account: Json) -> Iterator[Line]:
    ended = ", ".join(f"{account[name]} {name}" for name in ENDINGS)
    under_way = account["started"] - sum(account[name] for name in ENDINGS)
    if under_way:
        ended += f", {under_way} under way"
    yield _line("account", "operations", f"{account['started']} started: {ended}")
    if account["planned"]:
        sent = f"{account['sent']} sent, {account['late']} of them late, {account['dropped']} dropped"
        yield _line("account", "tasks", f"{account['planned']} planned: {sent}")


def _both_ends(account: Json | None) -> Iterator[Line]:
    if account is not None:
        for text in account["statements"] or [f"unknown: {account['unknown']}"]:
            yield _line("account", "both ends", text)


def _name(row: Json) -> str:
    return f"{row['type']} {row['name']}"
