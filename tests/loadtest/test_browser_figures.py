"""The tab and the live page in a real browser have the figures of the JSON, and no figure of the test before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import peers
from tests.support.chromium import chromium, complaints_of
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.shown import page_lines, read_page, read_tab, status_text, tab_lines
from tests.support.timing import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

GATES = ("'<b>good</b>' p50 < 10s", "failures < 0.1%", "missing p99 < 1ms")
KINDS = {
    "failing": (),
    "workers": ("--processes", "2", "--tcp-arrival-rate", "60:2s,120:60s"),
}


class Site:
    """A load test and its two pages in a browser: Locust's page, which has the tab, and the live page."""

    def __init__(self, run: LocustRun, browser: Browser, path: Path) -> None:
        self.run = run
        self.browser = browser
        self.json = path
        self.address = f"http://127.0.0.1:{run.port}"
        self.tab, self.page = (browser.new_page(viewport={"width": 1400, "height": 900}) for _ in range(2))
        self.complaints = [complaints_of(self.tab), complaints_of(self.page)]
        self.tab.goto(f"{self.address}/")
        self.page.goto(f"{self.address}/tcp")

    def start(self, users: int) -> None:
        """Start a test by the form of Locust's page, and open the tab."""
        self.tab.locator("input[name=userCount]").fill(str(users))
        self.tab.locator("input[name=spawnRate]").fill(str(users))
        self.tab.get_by_role("button", name="Start").click()
        self.tab.get_by_role("tab", name="TCP").click()

    def edit(self, users: int) -> None:
        self.tab.get_by_role("button", name="Edit").click()
        self.tab.locator("input[name=userCount]").fill(str(users))
        self.tab.get_by_role("button", name="Update").click()

    def tab_figure(self, about: str, item: str) -> str:
        return next((line[2] for line in read_tab(self.tab) if line[:2] == [about, item]), "")

    def page_figure(self, label: str) -> str:
        found = dict(read_page(self.page).get("figures", []))
        text: str = found.get(label, "")
        return text.partition(" | ")[0]

    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.run.request("/tcp/result.json")[1])
        return result

    def wait_for(self, condition: Callable[[], object], event: str) -> None:
        """Wait until the condition holds; both pages go on meanwhile."""
        for _ in range(int(PATIENCE * 40)):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{event}\n{self.tab.inner_text('body')}\n{self.page.inner_text('body')}\n{self.run.log}")


@pytest.fixture(scope="module", params=["failing", pytest.param("workers", marks=pytest.mark.long)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Each test begins in the state in which the test before it leaves the site."""
    folder = tmp_path_factory.mktemp("run")
    path = folder / "result.json"
    gates = [word for gate in GATES for word in ("--tcp-gate", gate)]
    peer = peers.closes_after(4000) if request.param == "failing" else peers.echoes()
    with peer as peer, LocustRun(
        folder, *KINDS[request.param], "--host", peer.target, "--tcp-json", str(path), *gates,
        locustfile=LOCUSTFILES / "marked_up.py",
    ) as run:  # fmt: skip
        run.wait_for_ui()
        with chromium() as browser:
            yield Site(run, browser, path)


def test_the_figures_change_while_the_test_runs(site: Site) -> None:
    notice = "No test has run yet. Start one in Locust\u2019s UI"
    site.wait_for(lambda: site.page.inner_text("#notice") == notice, "the notice on the page")
    site.start(3)
    site.wait_for(lambda: site.page_figure("Users") == "3", "users on the page")
    site.wait_for(lambda: site.tab_figure("connections", "open"), "connections in the tab")
    site.wait_for(lambda: site.page_figure("Failed").replace(",", "") > "0", "failures")
    seen = site.tab_figure("account", "operations"), site.page_figure("Good operations"), site.page_figure("Sent")
    assert all(seen), seen
    site.wait_for(lambda: site.tab_figure("account", "operations") != seen[0], "more operations in the tab")
    site.wait_for(lambda: site.page_figure("Sent") != seen[2], "more bytes on the page")
    assert site.page.inner_text("#verdict h2") == "Verdict so far"
    assert site.page.locator("#verdict").bounding_box()["y"] < 300, "in sight without scrolling"  # type: ignore[index]
    assert site.tab_figure("verdict", "")
    site.edit(5)
    site.wait_for(lambda: site.page_figure("Users") == "5", "more users on the page")
    edited = site.tab_figure("account", "operations")
    site.wait_for(lambda: site.tab_figure("account", "operations") not in ("", edited), "operations after the edit")


def test_after_the_end_tab_and_page_show_the_figures_of_the_json(site: Site) -> None:
    site.tab.get_by_role("button", name="Stop").click()
    site.wait_for(lambda: site.page.inner_text("#state") == "stopped", "the end on the page")
    site.wait_for(lambda: site.tab_figure("live page", "stopped"), "the end in the tab")
    result = site.result()
    assert json.loads(site.json.read_text()) == result
    shown = read_page(site.page)
    expected = page_lines(result)
    for section, lines in expected.items():
        assert shown[section] == lines, section
    assert shown.keys() - expected.keys() == {"over-time", "origin"}
    assert site.page.locator("#verdict p span").last.inner_text() == status_text(result["verdict"])
    assert site.page.inner_text("#gates h2") == "Gates: 1 of 3 met"
    assert site.page.inner_text("#target") == result["target"]
    assert read_tab(site.tab) == tab_lines(result, f"{site.address}/tcp")
    assert [gate["met"] for gate in result["gates"]] == [True, False, False]
    assert len(result["failures"]) >= 1


def test_no_page_scrolls_sideways_or_asks_for_a_missing_file(site: Site) -> None:
    report = site.json.with_name("report.html")
    report.write_text(site.run.request("/tcp/report.html")[1])
    page = site.browser.new_page()
    complaints = complaints_of(page)
    for address, text in ((f"{site.address}/tcp", "Latency"), (report.as_uri(), "Latency"), (site.address, "verdict")):
        page.goto(address)
        if address == site.address:
            page.get_by_role("tab", name="TCP").click()
        page.get_by_text(text).first.wait_for()
        for theme, width in (("light", 400), ("dark", 1400)):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(100)  # the plots get their new size in the next frame
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (address, theme, width)
    last = page.get_by_role("columnheader", name="p99.99").bounding_box()
    assert last, "the heading of the last column"
    assert last["x"] + last["width"] <= 1400, "no text of a peer pushes the column out of sight"
    assert page.request.get(f"{site.address}/favicon.ico").ok
    assert complaints == []
    page.close()


def test_a_new_test_shows_no_figure_of_the_test_before(site: Site) -> None:
    before = site.result()
    old = str(before["connections"]["connects"])
    site.tab.get_by_role("button", name="New").click()
    site.start(1)
    site.wait_for(lambda: site.page_figure("Users") == "1", "the new test")
    site.wait_for(lambda: site.tab_figure("connections", "connects") not in ("", old), "the new test in the tab")
    shown_connects = int(site.page_figure("Connects").replace(",", ""))
    during = site.result()
    assert during["started_at"] > before["started_at"]
    assert shown_connects <= during["connections"]["connects"]
    site.tab.get_by_role("button", name="Stop").click()
    site.wait_for(lambda: site.page.inner_text("#state") == "stopped", "the end on the page")
    site.wait_for(lambda: site.tab_figure("live page", "stopped"), "the end in the tab")
    result = site.result()
    shown = read_page(site.page)
    assert {section: shown.get(section) for section in page_lines(result)} == page_lines(result)
    assert read_tab(site.tab) == tab_lines(result, f"{site.address}/tcp")
    assert site.complaints == [[], []]
    assert "Traceback" not in site.run.log
