"""The web UI in a real browser: start 200 users, see requests grow and no failure, stop.

With GEVENTECHO_SCREENSHOT=1 it renews docs/images/locust-ui.png.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT
from tests.support.chromium import chromium, complaints_of
from tests.support.locust_process import ECHO_USER, LocustRun
from tests.support.timing import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.long]


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page(viewport={"width": 1280, "height": 560})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustRun]:
    with LocustRun(
        tmp_path_factory.mktemp("run"), "-u", "200", "-r", "100", "--tcp-think-time", "0.5", locustfile=ECHO_USER
    ) as run:
        run.wait_for_ui()
        yield run


def cells(page: Page, row: str) -> list[str]:
    """The cells of the statistics row with that name; empty while there is no such row."""
    line = page.locator("tr", has=page.get_by_role("cell", name=row, exact=True))
    return line.first.locator("td").all_inner_texts() if line.count() else []


def wait_for(page: Page, condition: Callable[[], bool], event: str) -> None:
    for _ in range(int(PATIENCE * 20)):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{event} did not happen; the page says:\n{page.inner_text('body')}")


def test_a_page_of_another_site_cannot_reach_the_web_ui(page: Page, run: LocustRun) -> None:
    """In the tester's browser, a page of another origin posts and reads."""
    page.route("http://evil.example/", lambda route: route.fulfill(body="<p>a page</p>", content_type="text/html"))
    page.goto("http://evil.example/")
    attack = """async ([url, form]) => {
        const options = form ? {method: "POST", body: new URLSearchParams(form)} : {};
        try { return (await fetch(url, options)).status } catch (error) { return String(error) }
    }"""
    ours = f"http://127.0.0.1:{run.port}"
    swarm = {"user_count": "5", "spawn_rate": "5"}
    for path, form in (("/swarm", swarm), ("/stop", {"x": "y"}), ("/stats/requests", None)):
        answer = page.evaluate(attack, [ours + path, form])
        assert answer == 403 or "Failed to fetch" in str(answer), answer
    assert run.stats()["state"] == "ready"


def test_a_load_test_is_started_edited_and_stopped_in_the_browser(page: Page, run: LocustRun) -> None:
    complaints = complaints_of(page)
    page.goto(f"http://127.0.0.1:{run.port}/")
    target = page.locator("input[name=host]")
    assert target.input_value() == run.server_target()
    assert page.locator("input[name=userCount]").input_value() == "200"
    assert page.locator("input[name=spawnRate]").input_value() == "100"
    page.get_by_text("Custom parameters").click()
    page.get_by_label("Payload Size").fill("0")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("--tcp-payload-size: '0' is not a whole number of 1 to 1073741824").wait_for()
    page.get_by_label("Payload Size").fill("100")
    page.get_by_role("button", name="Start").click()

    wait_for(page, lambda: cells(page, "connect")[2:4] == ["200", "0"], "200 connects without failure")
    wait_for(page, lambda: len(cells(page, "echo")) > 3 and int(cells(page, "echo")[2]) > 500, "500 echoes")
    before = int(cells(page, "echo")[2])
    wait_for(page, lambda: int(cells(page, "echo")[2]) > before, "more echoes")
    assert float(cells(page, "echo")[4]) > 0, "the median has fractions of a millisecond"
    if os.environ.get("GEVENTECHO_SCREENSHOT"):
        wait_for(page, lambda: float(cells(page, "echo")[11]) > 300, "a rate")
        page.screenshot(path=ROOT / "docs" / "images" / "locust-ui.png")
    assert cells(page, "echo")[3] == "0"
    page.get_by_role("button", name="Edit").click()
    page.get_by_text("Custom parameters").click()
    assert page.get_by_label("Tcp Payload Size").input_value() == "100"
    page.get_by_text("Running users keep the value that they started with").first.wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("STOPPED").wait_for()
    assert complaints == []
    assert run.stats()["errors"] == []
