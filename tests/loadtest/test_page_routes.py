"""The routes of the live page: before, during and after a test, behind Locust's login and below its base path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPMessage
from typing import Any
from urllib.parse import urlsplit

import pytest

from geventecho.results import ASSETS
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until

BASE = "/base"
FILES = {
    "result.json": "application/json",
    "rows.csv": "text/csv; charset=utf-8",
    "series.csv": "text/csv; charset=utf-8",
    "failures.csv": "text/csv; charset=utf-8",
    "report.html": "text/html; charset=utf-8",
}
ROUTES = ["", "/live.json", "/assets/page.js", *(f"/{name}" for name in FILES)]


class Browser:
    """Sends requests to the web UI, after `log_in` with the cookie of the login."""

    def __init__(self, run: LocustRun) -> None:
        self._run = run
        self._cookie = ""

    def ask(self, path: str, **headers: str) -> tuple[int, HTTPMessage, bytes]:
        """GET a path below the base path; follows no redirect."""
        connection = HTTPConnection("127.0.0.1", self._run.port, timeout=20 * SCALE)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=sent | ({"Cookie": self._cookie} if self._cookie else {}))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.msg, body

    def log_in(self) -> None:
        _, headers, _ = self.ask("/enter")
        self._cookie = headers["Set-Cookie"].partition(";")[0]

    def press(self, path: str, form: str = "") -> None:
        """POST a form of Locust's web UI. Up to Locust 2.46 its buttons send a GET."""
        connection = HTTPConnection("127.0.0.1", self._run.port, timeout=20 * SCALE)
        headers = {"Cookie": self._cookie, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", BASE + path, form, headers)
        status = connection.getresponse().status
        connection.close()
        assert (self.ask(BASE + path)[0] if status == 405 else status) == 200

    def live(self, query: str = "") -> dict[str, Any]:
        status, _, body = self.ask(f"{BASE}/tcp/live.json{query}")
        assert status == 200, body
        value: dict[str, Any] = json.loads(body)
        return value


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustRun]:
    """One process with a login and a base path. Each test begins in the state of the previous one."""
    with LocustRun(
        tmp_path_factory.mktemp("run"), "--web-login", "--web-base-path", BASE,
        locustfile=LOCUSTFILES / "marked_up.py",
    ) as run:  # fmt: skip
        run.wait_for_log("Starting web interface")
        wait_until(lambda: answers(run), 20 * SCALE, "the web UI")
        yield run


def answers(run: LocustRun) -> bool:
    try:
        return run.request(f"{BASE}/login")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def browser(run: LocustRun) -> Browser:
    browser = Browser(run)
    browser.log_in()
    return browser


def test_the_console_names_the_page(run: LocustRun) -> None:
    assert f"live page: http://127.0.0.1:{run.port}{BASE}/tcp\n" in run.log


def test_without_a_login_each_route_redirects_to_the_login_as_locusts_pages_do(run: LocustRun) -> None:
    stranger = Browser(run)
    stock = stranger.ask(f"{BASE}/stats/requests")
    assert (stock[0], stock[1]["Location"]) == (302, f"{BASE}/login?next=%2Fbase%2Fstats%2Frequests")
    for route in [f"/tcp{route}" for route in ROUTES] + ["/favicon.ico"]:
        status, headers, body = stranger.ask(BASE + route)
        assert status == 302, (route, body)
        assert headers["Location"].startswith(f"{BASE}/login?next="), route


def test_no_route_exists_outside_of_the_base_path(browser: Browser) -> None:
    for route in ROUTES:
        assert browser.ask(f"/tcp{route}")[0] == 404, route


def test_the_page_and_its_files_have_their_types_and_the_files_an_etag(browser: Browser) -> None:
    status, headers, body = browser.ask(f"{BASE}/tcp")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for name, kind in ASSETS.items():
        status, headers, body = browser.ask(f"{BASE}/tcp/assets/{name}")
        assert (status, headers["Content-Type"]) == (200, kind), name
        assert body
        status, _, body = browser.ask(f"{BASE}/tcp/assets/{name}", If_None_Match=headers["ETag"])
        assert (status, body) == (304, b""), "a browser that has the file does not get it again"
    icon = browser.ask(f"{BASE}/favicon.ico")
    assert (icon[0], icon[1]["Content-Type"]) == (200, "image/svg+xml; charset=utf-8")


@pytest.mark.parametrize(
    "name", ["page.html", "__init__.py", "../__init__.py", "..%2F__init__.py", "/etc/passwd", "", "uplot", "uplot/"]
)
def test_no_other_file_is_served(browser: Browser, name: str) -> None:
    status, headers, _ = browser.ask(f"{BASE}/tcp/assets/{name}")
    if status == 308:  # Werkzeug merges two slashes
        status = browser.ask(urlsplit(headers["Location"]).path)[0]
    assert status == 404


def test_every_answer_restricts_the_page(browser: Browser) -> None:
    for route in ROUTES:
        _, headers, _ = browser.ask(f"{BASE}/tcp{route}")
        assert headers.get_all("Content-Security-Policy") == ["default-src 'self'; frame-ancestors 'self'"], route
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"], route
        assert headers.get_all("X-Frame-Options") == ["SAMEORIGIN"], route
        is_file = route in ("", "/assets/page.js")
        assert headers["Cache-Control"] == ("private, no-cache" if is_file else "no-store"), route


def test_the_page_has_no_code_that_its_policy_forbids(browser: Browser) -> None:
    text = browser.ask(f"{BASE}/tcp")[2].decode()
    assert text.count("<script") == text.count("<script src=") > 0
    assert "<style" not in text
    assert "style=" not in text
    assert not re.search(r"\son\w+\s*=", text), "no inline event handler"


def test_before_the_first_test_there_is_no_result(browser: Browser) -> None:
    assert browser.live() == {"schema": 1, "state": "ready", "elapsed_s": None, "left_s": None}
    for name in FILES:
        status, headers, body = browser.ask(f"{BASE}/tcp/{name}")
        assert (status, body) == (404, b"There is no result yet: start a test first.\n")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert browser.ask(f"{BASE}/tcp/nothing.json")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "iframe"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "empty"}, 403),
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "document"}, 200),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Dest": "document"}, 200),
    ],
)
def test_the_guard_covers_every_route(browser: Browser, headers: dict[str, str], status: int) -> None:
    for route in ROUTES:
        is_download = route.removeprefix("/") in FILES
        expected = 404 if status == 200 and is_download else status  # there is no result yet
        assert browser.ask(f"{BASE}/tcp{route}", **headers)[0] == expected, route


def test_a_link_on_another_site_opens_the_page_and_nothing_else(browser: Browser) -> None:
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert browser.ask(f"{BASE}/tcp", **link)[0] == 200
    for route in ROUTES[1:]:
        assert browser.ask(f"{BASE}/tcp{route}", **link)[0] == 403, route


def start(browser: Browser, users: int) -> dict[str, Any]:
    """Start a test; returns its first result with failures."""
    browser.press("/swarm", f"user_count={users}&spawn_rate={users}")
    wait_until(lambda: browser.live().get("failures"), 20 * SCALE, "a result with failures")
    return browser.live()


def downloads(browser: Browser) -> dict[str, bytes]:
    found = {}
    for name, kind in FILES.items():
        status, headers, found[name] = browser.ask(f"{BASE}/tcp/{name}")
        assert (status, headers["Content-Type"]) == (200, kind), found[name]
        assert headers["Content-Disposition"] == f"attachment; filename=tcp-{name}"
    return found


def test_a_running_test_has_figures_and_downloads(browser: Browser) -> None:
    live = start(browser, 3)
    assert live["state"] == "running"
    assert {row["name"] for row in live["rows"]} == {"connect", "<b>good</b>", "<b>bad</b>"}
    chosen = browser.live("?row=TCP%20%3Cb%3Egood%3C/b%3E")
    assert [row["name"] for row in chosen["series"]["rows"]] == ["<b>good</b>"]
    assert browser.live("?row=nothing")["series"]["rows"] == []
    found = downloads(browser)
    assert json.loads(found["result.json"])["account"]["ok"] > 0
    assert b"<b>good</b>" in found["rows.csv"]
    assert b"<b>" not in found["report.html"], "the report escapes names"


def test_a_reset_moves_the_rows_to_the_warm_up(browser: Browser) -> None:
    before = browser.live()
    assert before["warm_up"] is None
    assert "connect" in {row["name"] for row in before["rows"]}
    browser.press("/stats/reset")
    wait_until(lambda: browser.live().get("warm_up"), 20 * SCALE, "a result after the reset")
    after = browser.live()
    assert after["state"] == "running"
    assert "connect" in {row["name"] for row in after["warm_up"]["rows"]}
    assert "connect" not in {row["name"] for row in after["rows"]}


def test_a_stopped_test_keeps_its_result_until_the_next_one_starts(browser: Browser, run: LocustRun) -> None:
    """This test must be the last one: it ends the run."""
    browser.press("/stop")
    wait_until(lambda: browser.live()["state"] == "stopped", 20 * SCALE, "the end")
    found = downloads(browser)
    last = json.loads(found["result.json"])
    assert last["connections"]["open"] == 0
    assert found == downloads(browser), "the result of a stopped test does not change"
    first = browser.live()["started_at"]
    assert last["started_at"] == first
    assert start(browser, 1)["started_at"] > first
    browser.press("/stop")
    assert "Traceback" not in run.log
    assert " 500" not in run.log


def test_a_download_that_cannot_be_made_says_why() -> None:
    assert run_script("page_routes.refused") == [503, "why\n"]


def test_a_web_ui_without_a_login_redirects_no_route() -> None:
    assert run_script("page_routes.statuses") == {
        "/tcp": 200, "/tcp/live.json": 200, "/tcp/assets/page.js": 200, "/favicon.ico": 200, "/tcp/result.json": 404,
    }  # fmt: skip
