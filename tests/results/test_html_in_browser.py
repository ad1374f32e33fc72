"""The report and the live page in a real Chromium."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from geventecho.results import (
    ASSETS,
    Account,
    Failures,
    GateOutcome,
    Part,
    Result,
    ServerAccount,
    as_json,
    asset,
    page,
    report,
)
from tests.results.samples import START, block, result, row
from tests.support.chromium import chromium, complaints_of
from tests.support.timing import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)></script><!-- \u05e9\u05dc\u05d5\u05dd \U0001f680 " + "x" * 200
ADDRESS = "http://load.test/base/tcp"
POLICY = {"Content-Security-Policy": "default-src 'self'"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def sample(echoes: int = 400, **changes: Any) -> Result:
    rows = [
        row(
            [block(START + second, [120.0 + second] * echoes, failed=second % 2) for second in range(12)],
            12,
            ("TCP", name),
        )
        for name in ("echo", HOSTILE)
    ]
    connect = row([block(START, [900.0], kinds=["response"])], 12, ("TCP", "connect"))
    made = replace(
        result(connect, *rows),
        argv=("geventecho", "load", "it's", "--tcp-gate", "echo p99 < 5ms", ""),
        gates=(GateOutcome("echo p99 < 5ms", True, "p99 0.131 ms", ""), GateOutcome("x p50 < 1s", False, "", HOSTILE)),
        failures=(Failures("TCP", HOSTILE, "mismatch", 12, HOSTILE),),
    )
    return replace(made, **changes)


def line(page: Page, row: str, head: str) -> Locator:
    """The cells of a line of a row's times."""
    body = page.locator("#rows tbody", has=page.get_by_role("rowheader").get_by_text(row, exact=True))
    return body.locator("tr", has=page.get_by_role("rowheader", name=head, exact=True)).locator("td")


def test_a_report_needs_no_network_and_shows_the_verdict(browser: Browser, tmp_path: Path) -> None:
    made = sample()
    path = tmp_path / "report.html"
    path.write_text(report(made), encoding="utf-8")
    themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for theme, width in zip(themes, (1400, 400), strict=True):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme, offline=True)
        page = context.new_page()
        complaints = complaints_of(page)
        page.goto(path.as_uri())
        assert page.inner_text("#verdict p").endswith("trusted (up to p99)")
        assert page.locator("#verdict li").all_inner_texts() == ["why"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{width} px scroll sideways"
        assert complaints == []
        context.close()


def test_a_report_has_the_numbers_and_the_texts_of_its_result(browser: Browser, tmp_path: Path) -> None:
    made = sample()
    path = tmp_path / "report.html"
    path.write_text(report(made), encoding="utf-8")
    page = browser.new_page()
    complaints = complaints_of(page)
    page.goto(path.as_uri())
    echo = made.rows[1]
    assert echo.response_us.p99 is not None
    assert echo.response_us.mean is not None
    cells = line(page, "TCP echo", "response")
    assert float(cells.nth(3).locator("span").inner_text()) == pytest.approx(
        echo.response_us.p99.value / 1000, abs=6e-4
    )
    assert float(cells.nth(6).inner_text()) == pytest.approx(echo.response_us.mean / 1000, abs=6e-4)
    assert cells.nth(5).inner_text().split() == ["\u2013", "81", "s", "more"]
    assert line(page, "TCP echo", "offered").nth(4).inner_text().startswith("lost"), "one in 801 failed"
    assert f"TCP {HOSTILE}" in page.locator("#rows").inner_text()
    assert page.inner_text("#gates h2") == "Gates: 1 of 2 met"
    assert page.locator("#gates td").all_inner_texts() == [
        "\u2713 met", "p99 0.131 ms", "", "\u2717 not met", "\u2013", HOSTILE,
    ]  # fmt: skip
    assert page.locator("#failures td").all_inner_texts() == ["12", f"TCP {HOSTILE}", HOSTILE]
    assert tuple(shlex.split(page.locator("#origin code").inner_text())) == made.argv
    assert page.locator("img").count() == 0
    assert complaints == []
    page.close()


def test_a_report_has_the_rates_of_its_result(browser: Browser, tmp_path: Path) -> None:
    made = sample(account=Account(*range(1, 11)), planned_rate=45.0, bytes_sent_rate=1234.0, bytes_received_rate=5.0)
    path = tmp_path / "report.html"
    path.write_text(report(made), encoding="utf-8")
    with browser.new_page() as page:
        page.goto(path.as_uri())
        figures = page.inner_text("#figures")
    for text in ("planned 45/s", "1.23 kB/s on average", "5 B/s on average"):
        assert text in figures


@pytest.mark.parametrize(
    ("account", "text"),
    [
        (ServerAccount(ADDRESS, statements=("bytes sent 7 != received by the server 8", "a = b")),
         "Both ends: bytes sent 7 != received by the server 8; a = b"),
        (ServerAccount(ADDRESS, unknown=HOSTILE), f"Both ends: unknown: {HOSTILE}"),
    ],
)  # fmt: skip
def test_a_report_has_the_account_of_both_ends(
    account: ServerAccount, text: str, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report(sample(server_account=account)), encoding="utf-8")
    with browser.new_page() as page:
        page.goto(path.as_uri())
        (shown,) = page.locator("#account li", has_text="Both ends").all_inner_texts()
    assert shown.splitlines()[0] == text
    assert ADDRESS in shown


# The live page --------------------------------------------------------------------------------------------------------


class Site:
    """The web server of a load test, emulated in the browser, and its live page."""

    def __init__(self, browser: Browser) -> None:
        self.page = browser.new_page()
        self.complaints = complaints_of(self.page)
        self.asked: list[str] = []
        self.status = 200
        self.value: dict[str, Any] = {"schema": 1, "state": "ready", "elapsed_s": 0, "left_s": None}
        self.page.clock.install()
        self.page.route("http://load.test/**", self._answer)
        self.page.goto(ADDRESS)

    def _answer(self, route: Route) -> None:
        address = route.request.url.removeprefix(ADDRESS)
        name = address.removeprefix("/assets/")
        if not address:
            route.fulfill(body=page(), content_type="text/html; charset=utf-8", headers=POLICY)
        elif name in ASSETS:
            route.fulfill(body=asset(name), content_type=ASSETS[name])
        elif not address.startswith("/live.json"):
            route.fulfill(status=404)
        elif not self.status:
            route.abort()
        else:
            self.asked.append(address)
            route.fulfill(status=self.status, body=json.dumps(self.value), content_type="application/json")

    def answer(self, value: dict[str, Any] | None = None, status: int = 200) -> None:
        self.status = status
        self.value = value or self.value

    def wait_for(self, selector: str, text: str) -> None:
        """Let the page's clock run until an element has a text."""
        found = self.page.locator(selector)
        for _ in range(int(PATIENCE * 50)):
            if (found.text_content() or "") == text:
                return
            self.page.clock.run_for(1000)
            self.page.wait_for_timeout(20)
        raise AssertionError(f"{selector} has no {text!r}: {found.text_content()!r}")


def live(made: Result, state: str = "running", **changes: Any) -> dict[str, Any]:
    now = {name: column[-1] for name, column in made.series.run.items()}
    return {**as_json(made), "now": now, "state": state, "elapsed_s": 12.0, "left_s": 48.0, **changes}


def test_the_page_shows_the_state_of_the_test(browser: Browser) -> None:
    site = Site(browser)
    site.wait_for("#notice", "No test has run yet. Start one in Locust\u2019s UI")
    assert site.page.locator("#notice a").get_attribute("href") == "./"
    site.answer({"schema": 1, "state": "starting", "elapsed_s": 0, "left_s": 60.0})
    site.wait_for("#notice", "The test is starting.")
    assert not site.page.locator("#verdict").is_visible()
    site.answer({"schema": 1, "state": "starting", "elapsed_s": 60.0, "left_s": None})
    why = "The load test\u2019s log says why"
    site.wait_for("#notice", f"There are no live figures. {why}. The result comes at the end of the test.")
    site.answer(live(sample()))
    site.wait_for("#state", "running")
    site.wait_for("#announcement", "Verdict so far: trusted (up to p99)")
    assert site.page.inner_text("#progress").startswith("12 s elapsed, 48 s left")
    assert site.page.locator("#row").input_value() == "TCP echo", "the busiest row without connects"
    site.answer(live(sample(), "stopping"))
    site.wait_for("#notice", "The test is stopping.")
    site.answer(live(sample(), "stopped"))
    site.wait_for("#announcement", "Verdict: trusted (up to p99)")
    assert [site.asked[0], site.asked[-1]] == ["/live.json?row=", "/live.json?row=TCP+echo"], (
        "the page asks for one row's series"
    )
    assert site.complaints == []
    site.page.close()


def test_the_page_keeps_the_last_figures_while_its_server_is_away(browser: Browser) -> None:
    site = Site(browser)
    site.answer(live(sample(target="tcp://one:1")))
    site.wait_for("#target", "tcp://one:1")
    site.answer(status=0)
    site.wait_for("#notice", "The connection to the load test is lost. Retrying.")
    assert site.page.locator("#verdict").is_visible(), "the last figures stay"
    site.answer(status=401)
    site.wait_for("#notice", "You are logged out. Log in again")
    site.answer(live(sample(target="tcp://two:2", started_at="2026-01-01T00:00:00+00:00", rows=())))
    site.wait_for("#target", "tcp://two:2")
    assert not site.page.locator("#notice").is_visible()
    assert site.page.get_by_text("No operation has ended in the measured part.").is_visible()
    assert all("ERR_FAILED" in text or "401" in text for text in site.complaints)
    site.page.close()


def test_an_update_changes_only_the_sections_with_new_figures(browser: Browser) -> None:
    """The selection, the focus and the scroll position stay."""
    site = Site(browser)
    site.page.set_viewport_size({"width": 400, "height": 800})
    site.answer(live(sample()))
    site.wait_for("#state", "running")
    site.page.evaluate("""() => {
        const scroller = document.querySelector("#rows .scroll");
        scroller.focus();
        scroller.scrollLeft = 100;
        window.changes = [];
        new MutationObserver((found) => window.changes.push(...found.map(({target}) => target.closest("section")?.id)))
            .observe(document.querySelector("main"), {subtree: true, childList: true, attributes: true});
        getSelection().selectAllChildren(document.querySelector("#gates td span"));
    }""")
    asked = len(site.asked)
    site.answer(live(sample(401)))
    site.wait_for(
        "#rows tr:nth-child(1) >> nth=2 >> small", "4,812 ok, 6 failed, 401 good/s, 0 B sent, 48.1 kB received"
    )
    assert len(site.asked) > asked
    assert site.page.evaluate("getSelection().toString()") == "\u2713 met"
    assert site.page.evaluate("document.activeElement.className") == "scroll"
    assert site.page.evaluate("document.activeElement.scrollLeft") == 100
    assert set(site.page.evaluate("window.changes")) == {"figures", "rows"}
    assert site.complaints == []
    site.page.close()


def test_the_theme_is_remembered(browser: Browser) -> None:
    site = Site(browser)
    assert site.page.locator("html").get_attribute("data-theme") == "light"
    site.page.get_by_role("button", name="Dark theme").click()
    site.page.reload()
    assert site.page.locator("html").get_attribute("data-theme") == "dark"
    site.page.close()


def test_figures_of_the_whole_test_are_marked_where_there_is_a_warm_up(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with browser.new_page() as page:
        for warm_up in (None, Part(5.0, ())):
            path.write_text(report(sample(warm_up=warm_up)), encoding="utf-8")
            page.goto(path.as_uri())
            assert page.inner_text("#figures").count("in the whole test") == (1 if warm_up is None else 4)
