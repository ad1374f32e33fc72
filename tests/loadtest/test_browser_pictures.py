"""Takes the pictures in the docs of a load test in a real browser, with GEVENTECHO_SCREENSHOT=1, in two minutes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT
from tests.support.chromium import chromium, complaints_of
from tests.support.locust_process import ECHO_USER, LocustRun
from tests.support.timing import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("GEVENTECHO_SCREENSHOT"), reason="GEVENTECHO_SCREENSHOT=1 takes pictures"),
]

PICTURES = ROOT / "docs" / "images"
OPTIONS = ("-u", "50", "-r", "50", "-t", "60s", "--tcp-arrival-rate", "200", "--tcp-warm-up", "5")
GATES = ("--tcp-gate", "echo p99 < 50ms", "--tcp-gate", "failures < 0.1%", "--tcp-gate", "rate > 150/s")
LARGEST = 200 * 1024


def picture(page: Page, name: str, height: int) -> None:
    """Take a picture of the page's upper part."""
    page.set_viewport_size({"width": page.viewport_size["width"], "height": height})  # type: ignore[index]
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)  # the plots get their new size in the next frames
    path = PICTURES / name
    page.screenshot(path=path)
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--skip-if-larger", "--output", path, "128", path], check=False)
    assert path.stat().st_size < LARGEST, f"{path} is too large; pngquant makes it smaller"


def opened(browser: Browser, address: str, theme: str, width: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    complaints = complaints_of(page)
    page.goto(address)
    assert complaints == []
    return page


def test_the_pictures_are_taken(tmp_path: Path) -> None:
    with LocustRun(tmp_path, *OPTIONS, *GATES, locustfile=ECHO_USER) as run, chromium() as browser:
        run.wait_for_ui()
        address = f"http://127.0.0.1:{run.port}"
        tab = opened(browser, address, "light", 1400)
        tab.get_by_role("button", name="Start").click()
        tab.get_by_role("tab", name="TCP").click()
        pages = [
            opened(browser, f"{address}/tcp", theme, width)
            for theme, width in (("light", 1400), ("dark", 1400), ("dark", 400))
        ]
        wait_until(lambda: json.loads(run.request("/tcp/live.json")[1])["elapsed_s"] > 45, 90, "most of the test")
        tab.wait_for_timeout(4000)
        picture(tab, "tcp-tab.png", 900)
        for page, (name, height) in zip(pages, (("light", 1900), ("dark", 1900), ("narrow", 1600)), strict=True):
            picture(page, f"tcp-page-{name}.png", height)
        wait_until(lambda: json.loads(run.request("/tcp/live.json")[1])["state"] == "stopped", 60, "the end")
        path = tmp_path / "report.html"
        path.write_text(run.request("/tcp/report.html")[1])
        report = opened(browser, path.as_uri(), "light", 1400)
        picture(report, "tcp-report.png", 1500)
