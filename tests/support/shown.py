"""The texts of a result on the live page and in the tab: computed from its JSON, and read in a browser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from geventecho.results import WITHHELD, byte_count, milliseconds, per_second

if TYPE_CHECKING:
    from playwright.sync_api import Page

Json = Mapping[str, Any]
Lines = list[list[str]]

PERCENTILES = ("p50", "p90", "p95", "p99", "p99_9", "p99_99")
SETUP = ("connect", "tls", "greeting", "login")

READ_PAGE = """() => {
    const text = (cell) => [...cell.children].map((part) => part.textContent).filter(Boolean).join(" | ");
    const found = {};
    for (const section of document.querySelectorAll("main > section:not([hidden])")) {
        const lines = section.querySelectorAll("tbody tr, dl > div, ul > li");
        found[section.id] = [...lines].map((line) => {
            if (line.tagName === "LI") return [text(line)];
            if (line.tagName === "DIV") return [line.firstChild.textContent, text(line.lastChild)];
            return [...line.cells].map(text);
        });
    }
    return found;
}"""
READ_TAB = """() => [...document.querySelectorAll("tbody tr")].map(
    (line) => [...line.cells].map((cell) => cell.innerText)
)"""


def read_page(page: Page) -> dict[str, Lines]:
    """The lines of each visible section, by its id; a cell's note follows its text."""
    found: dict[str, Lines] = page.evaluate(READ_PAGE)
    return found


def read_tab(page: Page) -> Lines:
    """The lines of the visible tab, without the link in its first line."""
    (address, *lines) = page.evaluate(READ_TAB)
    return [[address[0].removesuffix("open"), *address[1:]], *lines]


def page_lines(result: Json) -> dict[str, Lines]:
    """The lines that `read_page` finds after the test, without the section on the origin of the result."""
    verdict, account = result["verdict"], result["account"]
    found = {
        "verdict": [[reason] for reason in verdict["reasons"]],
        "gates": [
            [gate["expression"], "✓ met" if gate["met"] else "✗ not met", gate["value"] or WITHHELD, gate["reason"]]
            for gate in result["gates"]
        ],
        "figures": [[label, _noted(text, note)] for label, text, note in _figures(result)],
        "rows": [line for row in result["rows"] for line in _row(result, row)],
        "failures": [
            [one["kind"], f"{one['count']:,}", _name(one), one["sample"] or WITHHELD] for one in result["failures"]
        ],
        "account": _account(account),
        "workers": [_worker(worker, len(result["workers"]) == 1) for worker in result["workers"]],
        "stages": [
            line
            for stage in result["stages"]
            for line in ([[_stage(stage)], *(_part(result, row) for row in stage["rows"])])
        ],
    }
    return {section: lines for section, lines in found.items() if lines or section == "verdict"}


def tab_lines(result: Json, address: str) -> Lines:
    """The lines that `read_tab` finds after the test."""
    connections, account, verdict = result["connections"], result["account"], result["verdict"]
    why = f"; reasons below: {len(verdict['reasons'])}" if verdict["reasons"] else ""
    found = [["live page", "stopped", address], ["verdict", "", verdict["status"] + why]]
    part = f"{result['duration_s']:.1f} s (rows, bytes, workers); connections and account are of the whole test"
    found.append(["measured part", "", part])
    for gate in result["gates"]:
        outcome = ["met" if gate["met"] else "not met", gate["value"], gate["reason"]]
        found.append(["gate", gate["expression"], ": ".join(text for text in outcome if text)])
    for row in result["rows"]:
        dropped = f", {row['dropped']} dropped" if row["dropped"] else ""
        done = f"{row['ok']} good, {row['failed']} failed{dropped}, {per_second(row['rate'])} good/s"
        found.append([_name(row), "response", done, *_tab_times(row["response_us"])])
        if row["service_us"]["mean"] is not None:
            found.append([_name(row), "service", "", *_tab_times(row["service_us"])])
    counts = ("open", "opening", "lost", "reconnects", "connects")
    found += [["connections", key, str(connections[key])] for key in counts]
    found.append(["connections", "connect rate", f"at most {connections['peak']}/s"])
    found += [["bytes", key, byte_count(result[f"bytes_{key}"])] for key in ("sent", "received")]
    for one in result["failures"]:
        found.append(["failures", _name(one), f"{one['count']} {one['kind']}: {one['sample']}"])
    ended = ", ".join(f"{account[key]} {key}" for key in ("ok", "failed", "aborted"))
    found.append(["account", "operations", f"{account['started']} started: {ended}"])
    if account["planned"]:
        sent = f"{account['sent']} sent, {account['late']} of them late, {account['dropped']} dropped"
        found.append(["account", "tasks", f"{account['planned']} planned: {sent}"])
    found += [["verdict", "reason", reason] for reason in verdict["reasons"]]
    for worker in result["workers"]:
        reasons = worker["verdict"]["reasons"] if len(result["workers"]) > 1 else []
        judged = "; ".join([worker["verdict"]["status"], *reasons])
        found.append(["worker", "", f"{worker['id']}, {per_second(worker['rate'])} good/s: {judged}"])
    return [line + [""] * (3 + len(PERCENTILES) - len(line)) for line in found]


def status_text(verdict: Json) -> str:
    """The verdict in the page's words."""
    status: str = verdict["status"]
    return "trusted (up to p99)" if status == "trusted" else status


def _figures(result: Json) -> Iterator[tuple[str, str, str]]:
    account, connections = result["account"], result["connections"]
    planned = f"planned {_rate(result['planned_rate'])}/s" if result["planned_rate"] else "no planned rate"
    yield "Good operations", f"{_rate(result['rate'])}/s", planned
    dropped = f"; {account['dropped']:,} dropped" if account["dropped"] else ""
    share = _share(account["failed"] / account["started"])
    yield "Failed", f"{account['failed']:,}", f"{share} of {account['started']:,} operations{dropped}"
    most = max(users for users in result["series"]["run"]["users"] if users is not None)
    yield "Users", f"{most:,.0f}", "maximum in the whole test"
    lost = f"{connections['opening']:,} opening, {connections['lost']:,} lost"
    yield "Connections open", f"{connections['open']:,}", lost
    reconnects = f"{connections['reconnects']:,} reconnects; at most {connections['peak']:,}/s"
    yield "Connects", f"{connections['connects']:,}", reconnects
    for label, key in (("Sent", "bytes_sent"), ("Received", "bytes_received")):
        yield label, byte_count(result[key]), f"{byte_count(result[f'{key}_rate'])}/s on average"


def _row(result: Json, row: Json) -> Iterator[list[str]]:
    dropped = f", {row['dropped']:,} dropped" if row["dropped"] else ""
    counts = f"{row['ok']:,} ok, {row['failed']:,} failed{dropped}, {_rate(row['rate'])} good/s"
    if row["bytes_sent"] or row["bytes_received"]:
        counts += f", {byte_count(row['bytes_sent'])} sent, {byte_count(row['bytes_received'])} received"
    yield [_noted(_name(row), counts)]
    missing = _missing(result, row)
    yield ["response", *_times(row["response_us"], missing.get("response_us", {}))]
    if row["service_us"]["mean"] is not None:
        yield ["service", *_times(row["service_us"], missing.get("service_us", {}))]
    if row["ok"] and (row["failed"] or row["dropped"]):
        yield ["offered", *_times(row["offered_us"], missing.get("offered_us", {}))]
    if "response_us" in row["failed_times"]:
        yield ["until failure", *_times(row["failed_times"]["response_us"], {})]


def _times(times: Json, missing: Json) -> list[str]:
    return [*(_percentile(times, key, missing) for key in PERCENTILES), _time(times["mean"]), _time(times["max"])]


def _percentile(times: Json, key: str, missing: Json) -> str:
    found = times[key]
    if found is None:
        return _noted(WITHHELD, f"{math.ceil(missing[key]):,} s more" if key in missing else "")
    return _noted(_time(found["value"]), f"[{_time(found['low'])}, {_time(found['high'])}]")


def _tab_times(times: Json) -> list[str]:
    cells = [_percentile(times, key, {}) for key in PERCENTILES]
    return [cell.replace(" | ", " ") for cell in cells]


def _missing(result: Json, row: Json) -> Json:
    """The seconds that percentiles lack, where more time brings more operations."""
    first = result["connections"]["connects"] - result["connections"]["reconnects"]
    is_once = _is_setup(row) and row["ok"] + row["failed"] <= first
    return {} if is_once or not row["ok"] else row["missing"]


def _part(result: Json, row: Json) -> list[str]:
    missing = _missing(result, row).get("response_us", {})
    times = (_percentile(row["response_us"], key, missing) for key in ("p50", "p90", "p99", "p99_9"))
    return [_name(row), *(f"{row[key]:,}" for key in ("ok", "failed", "dropped")), _rate(row["rate"]), *times]


def _stage(stage: Json) -> str:
    facts = [f"{_span(stage['duration_s'])}, starting at {_span(stage['start_s'])}"]
    if stage["users"] is not None:
        facts.append(f"{stage['users']:,} users ({_rate(stage['spawn_rate'])}/s)")
    if stage["rate"]:
        planned, achieved = _rate(stage["rate"]["planned"]), _rate(stage["rate"]["achieved"])
        facts.append(f"planned {planned}/s, achieved {achieved}/s")
    return "; ".join(facts)


def _account(account: Json) -> Lines:
    ended = " + ".join(f"{account[key]:,} {key}" for key in ("ok", "failed", "aborted"))
    reconnects = f"{account['reconnects']:,} of the connects were reconnects"
    connects = f"{account['connects']:,} of the started operations were connects, {reconnects}"
    operations = [_noted(f"Operations: {account['started']:,} started = {ended}", connects)]
    if not account["planned"]:
        return [["Tasks: no arrival rate: users waited between tasks"], operations]
    parts = f"{account['sent']:,} sent + {account['dropped']:,} dropped"
    late = f"{account['late']:,} of the sent tasks began more than 1 ms late"
    return [[_noted(f"Tasks: {account['planned']:,} planned = {parts}", late)], operations]


def _worker(worker: Json, is_only: bool) -> list[str]:
    verdict = worker["verdict"]
    symbol = "✓" if verdict["status"] == "trusted" else "!"
    reasons = "" if is_only else "\n".join(f"• {reason}" for reason in verdict["reasons"])
    shares = (worker[key] for key in ("cpu", "cpu_max", "core", "run_queue_wait", "throttled", "steal"))
    times = (worker[key] for key in ("loop_lag_us", "usual_loop_lag_us", "generator_delay_p99_us", "read_delay_p99_us"))
    return [
        worker["id"], _noted(f"{symbol} {status_text(verdict)}", reasons),
        f"{worker['ok']:,}", f"{worker['failed']:,}", _rate(worker["rate"]),
        *(WITHHELD if share is None else _share(share) for share in shares),
        *(_time(time) + (" ms" if _time(time)[-1].isdigit() else "") for time in times),
        *(WITHHELD if worker[key] is None else f"{worker[key]:,}" for key in ("users", "in_flight")),
    ]  # fmt: skip


def _name(row: Json) -> str:
    return f"{row['type']} {row['name']}"


def _is_setup(row: Json) -> bool:
    return row["name"].lower().replace(" ", "").replace("-", "") in SETUP


def _noted(text: str, note: str) -> str:
    return f"{text} | {note}" if note else text


def _time(microseconds: float | str | None) -> str:
    return WITHHELD if microseconds is None else milliseconds(float(str(microseconds).replace("lost", "inf")))


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 1000 else per_second(rate)


def _share(share: float) -> str:
    percent = share * 100
    return f"{percent:.1g}%" if 0 < percent < 0.1 else f"{percent:.1f}%"


def _span(seconds: float) -> str:
    """The text of a duration of less than an hour."""
    if seconds < 10 and seconds % 1:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    return " ".join(f"{number} {unit}" for number, unit in ((minutes, "min"), (rest, "s")) if number) or "0 s"
