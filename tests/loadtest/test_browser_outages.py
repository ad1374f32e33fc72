"""The live page in a real browser behind a login and a base path, without a mouse, and when processes end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.chromium import chromium, complaints_of
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.timing import PATIENCE, SCALE

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

OPTIONS = ("--web-login", "--web-base-path", "/base", "-u", "2", "-r", "2", "--autostart")
MARKED_UP = LOCUSTFILES / "marked_up.py"
NAME = "document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.textContent"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustRun]:
    with LocustRun(tmp_path_factory.mktemp("run"), *OPTIONS, locustfile=MARKED_UP) as run:
        run.wait_for_log("live page")
        yield run


@pytest.fixture(scope="module")
def page(run: LocustRun) -> Iterator[Page]:
    """Each test begins in the state in which the test before it leaves the page and the run."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(20_000 * SCALE)
        yield page


def open_page(page: Page, run: LocustRun) -> None:
    """Log in, and open the page."""
    page.goto(f"http://127.0.0.1:{run.port}/enter")
    page.goto(f"http://127.0.0.1:{run.port}/base/tcp")
    page.locator("#rows").wait_for()


def wait_for(page: Page, selector: str, text: str) -> None:
    """Wait until an element has a text. The page fetches at once at this event, which says that it is visible again."""
    for _ in range(int(PATIENCE * 4)):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(250)
        if text in page.inner_text(selector):
            return
    raise AssertionError(f"no {text!r}: {page.inner_text('body')}")


def test_the_page_works_behind_a_login_and_a_base_path(page: Page, run: LocustRun) -> None:
    complaints = complaints_of(page)
    page.goto(f"http://127.0.0.1:{run.port}/base/tcp")
    assert "/base/login" in page.url
    open_page(page, run)
    page.get_by_role("link", name="Locust\u2019s UI").click()
    page.get_by_role("tab", name="TCP").click()
    page.get_by_role("link", name="open").click()
    page.locator("#rows").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    assert download.value.suggested_filename == "tcp-result.json"
    assert complaints == []


def test_every_part_of_the_page_is_reached_by_the_keyboard(page: Page, run: LocustRun) -> None:
    page.get_by_text("Latency heat map").wait_for()
    page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges()")
    reached: list[str] = []
    while len(reached) < 60 and (len(reached) < 2 or reached[-1] != reached[0]):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(NAME))
    for name in ("Locust\u2019s UI", "Report", "JSON", "CSV", "theme", "row", "Times of each row, in ms", "Copy"):
        assert name in reached, reached
    assert any(name.startswith("Latency over time") for name in reached), reached
    page.locator("#row").focus()
    chosen = page.locator("#row").input_value()
    with page.expect_response(lambda answer: "row=TCP+connect" in answer.url):
        page.keyboard.type("TCP c")
    assert page.locator("#row").input_value() != chosen
    page.locator("#plots").get_by_role("img").first.focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#plots [aria-live]", has_text="At ").wait_for(state="attached")


def test_the_page_says_that_there_are_no_live_figures(page: Page, run: LocustRun) -> None:
    (process,) = [child for child in run.family() if "geventecho.results.live" in child.cmdline()]
    process.kill()
    wait_for(page, "#notice", "There are no live figures.")
    assert not page.locator("#verdict").is_visible(), "old figures are not shown"
    assert page.inner_text("#state") == "running"


def test_the_page_shows_the_figures_of_a_restarted_locust(page: Page, run: LocustRun) -> None:
    run.process.kill()
    run.wait()
    wait_for(page, "#notice", "The connection to the load test is lost. Retrying.")
    folder = run.directory / "again"
    folder.mkdir()
    with LocustRun(folder, *OPTIONS, web_port=run.port, locustfile=MARKED_UP) as again:
        again.wait_for_log("live page")
        target = next(word for word in again.log.split() if word.startswith("tcp://"))
        wait_for(page, "#target", target)
        page.locator("#rows").wait_for()
        assert not page.locator("#notice").is_visible()
