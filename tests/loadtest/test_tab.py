"""The tab TCP on Locust's main page: its lines, and the tab in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chromium import chromium, complaints_of
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

Line = dict[str, str]
STATUS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustRun]:
    """A master with two workers. The tests of this file use it in their order."""
    with LocustRun(
        tmp_path_factory.mktemp("run"), "--processes", "2", "-u", "4", "-r", "4",
        locustfile=LOCUSTFILES / "marked_up.py",
    ) as run:  # fmt: skip
        run.wait_for_ui()
        wait_until(lambda: json.loads(run.request("/worker-count")[1])["worker_count"] == 2, goal="two workers")
        yield run


def lines_of(run: LocustRun) -> list[Line]:
    """The lines of the tab as the main page gets them."""
    status, body = run.request("/stats/requests", None, STATUS)
    assert status == 200, body
    (table,) = json.loads(body)["extended_stats"]
    assert table["key"] == "tcp"
    lines: list[Line] = table["data"]
    return lines


def figure(lines: list[Line], about: str, item: str) -> str:
    return next((line["figure"] for line in lines if (line["about"], line["item"]) == (about, item)), "")


def result_of(run: LocustRun) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(run.request("/tcp/result.json")[1])
    return result


def test_before_the_first_run_the_tab_has_the_address_of_the_page(run: LocustRun) -> None:
    (line,) = lines_of(run)
    assert line == {"about": "live page", "item": "ready", "figure": f"http://127.0.0.1:{run.port}/tcp"}


def test_the_tab_shows_a_running_test_of_two_workers(run: LocustRun) -> None:
    assert run.swarm(user_count=4, spawn_rate=4, host=run.server_target())["success"] is True

    def shows_workers_and_failures() -> bool:
        lines = lines_of(run)
        workers = [line for line in lines if line["about"] == "worker"]
        return len(workers) == 2 and bool(figure(lines, "failures", "TCP <b>bad</b>"))

    wait_until(shows_workers_and_failures, 20 * SCALE, "two workers, and failures")
    lines = lines_of(run)
    assert figure(lines, "live page", "running")
    assert figure(lines, "connections", "open") == "4"
    before = figure(lines, "account", "operations")
    wait_until(lambda: figure(lines_of(run), "account", "operations") != before, 20 * SCALE, "more operations")


def test_a_repeated_request_gets_the_table_once(run: LocustRun) -> None:
    """Locust gives the same response to all requests within two seconds."""
    for _ in range(3):
        assert len([line for line in lines_of(run) if line["about"] == "live page"]) == 1


def test_after_the_stop_the_figures_equal_the_json_file(run: LocustRun) -> None:
    run.stop()
    wait_until(lambda: lines_of(run)[0]["item"] == "stopped", 20 * SCALE, "the end")
    lines, result = lines_of(run), result_of(run)
    assert figure(lines, "verdict", "").startswith(result["verdict"]["status"])
    assert figure(lines, "measured part", "").startswith(f"{result['duration_s']:.1f} s (rows, ")
    for reason in result["verdict"]["reasons"]:
        assert reason in [line["figure"] for line in lines]
    account = result["account"]
    ended = f"{account['ok']} ok, {account['failed']} failed, {account['aborted']} aborted"
    assert figure(lines, "account", "operations") == f"{account['started']} started: {ended}", "no operation is left"
    for name in ("open", "opening", "lost", "reconnects"):
        assert figure(lines, "connections", name) == str(result["connections"][name])
    for row in result["rows"]:
        counts = figure(lines, f"{row['type']} {row['name']}", "response")
        assert counts.startswith(f"{row['ok']} good, {row['failed']} failed, ")
        for kind in ["response"] if row["service_us"]["mean"] is None else ["response", "service"]:
            check_percentiles(lines, row, kind)
    (failures,) = result["failures"]
    assert (
        figure(lines, "failures", "TCP <b>bad</b>") == f"{failures['count']} {failures['kind']}: {failures['sample']}"
    )
    assert "<i>bad</i>" in failures["sample"]


def check_percentiles(lines: list[Line], row: dict[str, Any], kind: str) -> None:
    """Check that each cell has its percentile in milliseconds with the interval, or a dash."""
    (line,) = (line for line in lines if (line["about"], line["item"]) == (f"{row['type']} {row['name']}", kind))
    for key in ("p50", "p90", "p95", "p99", "p99_9", "p99_99"):
        percentile = row[f"{kind}_us"][key]
        if percentile is None:
            assert line[key] == "\N{EN DASH}"
        else:
            shown = [float(text) * 1000 for text in line[key].replace("[", "").replace(",", "").rstrip("]").split()]
            assert shown == pytest.approx([percentile[end] for end in ("value", "low", "high")], rel=0.006, abs=0.6)


def cells(page: Page, about: str, item: str) -> list[str]:
    """The texts of that line; empty while there is none."""
    rows = page.locator("tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    return next((texts for texts in rows if texts[:2] == [about, item]), [])


@pytest.mark.browser
@pytest.mark.long
def test_the_tab_works_in_a_browser(run: LocustRun) -> None:
    good = ("TCP <b>good</b>", "response")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        complaints = complaints_of(page)
        page.goto(f"http://127.0.0.1:{run.port}/")
        if run.stats()["state"] != "ready":  # before the first run, the page shows its form at once
            page.get_by_role("button", name="New").click()
        page.get_by_role("button", name="Start").click()
        page.get_by_role("tab", name="TCP").click()
        wait_until(lambda: len(cells(page, *good)) == 9, 20 * SCALE, "a row with its name as text")
        before = cells(page, *good)
        wait_until(lambda: cells(page, *good) != before, 20 * SCALE, "more operations")
        page.get_by_role("button", name="Stop").click()
        wait_until(lambda: cells(page, "live pageopen", "stopped"), 20 * SCALE, "the end")
        (row,) = (row for row in result_of(run)["rows"] if row["name"] == "<b>good</b>")
        counts = f"{row['ok']} good, {row['failed']} failed"
        assert cells(page, *good)[2].startswith(counts), "the page has asked for the last figures"
        page.get_by_role("tab", name="Download Data").click()
        for name in ("report.html", "result.json", "rows.csv", "series.csv", "failures.csv"):
            with page.expect_download() as download:
                page.get_by_role("link", name=f"Download TCP {name}").click()
            assert download.value.suggested_filename == f"tcp-{name}"
        page.get_by_role("tab", name="TCP").click()
        page.get_by_role("link", name="open").click()
        page.wait_for_url("**/tcp")
        page.get_by_text("<b>good</b>").first.wait_for()
        assert complaints == []


def test_a_page_that_asks_while_a_test_stops_gets_the_last_figures() -> None:
    """Locust's page does not ask again. A program gets its answer at once."""
    assert run_script("tab.answers_while_stopping") == {"program": "stopping", "page": "stopped"}


def test_tabs_and_tables_of_a_locustfile_stay() -> None:
    assert run_script("tab.tables_beside_others") == {
        "extended_tabs": ["theirs", "tcp"],
        "extended_tables": ["theirs", "tcp"],
        "extended_stats": ["theirs", "tcp"],
    }


def test_gates_the_plan_and_the_current_rates_have_lines() -> None:
    running, stopped = run_script("tab.figures", "running", 10), run_script("tab.figures", "stopped", 0)
    assert running["gate p99 < 1s"] == "met: p99 5 ms"
    assert running["gate rate > 9/s"] == "not met: 3/s: too\\nslow"
    assert running["connections connect rate"].endswith("/s, now 7/s")
    assert ", now " not in stopped["connections connect rate"]
    assert running["account tasks"] == "10 planned: 10 sent, 2 of them late, 0 dropped"
    assert "account tasks" not in stopped
    assert running["verdict reason"] == "why"
    assert running["worker"] == "local, 3 good/s: trusted", "the reasons of the only worker are those of the run"
