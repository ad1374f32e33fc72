"""The time of an update of the live page and of the tab in Chromium without a GPU, at 20 rows.

The page gets results of 30 minutes, 300 points. Its update begins with the JSON text of a result and ends when tables
and plots are laid out and painted: a read of a pixel of each canvas makes Chromium paint it at once. Each result
differs from the one before in all figures, and shows another row.

The tab is that of a real load test of a few seconds; it has no figures over time. Its update is the CPU time of
Chromium's main thread from one answer to the next. The same time of Locust's own statistics is printed beside it.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from geventecho.results import ASSETS, asset, page
from tests.support import ROOT
from tests.support.chromium import chromium
from tests.support.locust_process import LocustRun
from tests.support.sample_result import sample_result

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

UPDATES: Final = 100
TAB_UPDATES: Final = 15
WARM_UP: Final = 10
ROWS: Final = 20
MINUTES: Final = 30
ADDRESS: Final = "http://load.test/tcp"
MANY_ROWS: Final = ROOT / "bench" / "load" / "many_rows.py"

# The page shows an answer within the task that parses it. The message arrives after that task.
CLOCK: Final = """(() => {
    const plain = window.fetch;
    const after = new MessageChannel();
    let began;
    window.spans = [];
    after.port1.onmessage = () => {
        document.body.getBoundingClientRect();
        for (const one of document.querySelectorAll("canvas")) one.getContext("2d").getImageData(0, 0, 1, 1);
        window.spans.push(performance.now() - began);
    };
    window.fetch = async (...request) => {
        const answer = await plain(...request);
        const text = await answer.text();
        const json = async () => {
            began = performance.now();
            after.port2.postMessage(null);
            return JSON.parse(text);
        };
        return { type: answer.type, status: answer.status, ok: answer.ok, json };
    };
})()"""
UPDATE: Final = """(row) => {
    document.querySelector("#row").value = row;
    document.querySelector("#row").dispatchEvent(new Event("change"));
}"""


def page_spans(browser: Browser, width: int) -> list[float]:
    """Milliseconds of each update."""
    values = [sample_result(seconds=MINUTES * 60, rows=ROWS, seed=seed) for seed in (1, 2)]
    results = cycle(values)

    def answer(route: Route) -> None:
        parts = urlsplit(route.request.url)
        name = parts.path.removeprefix("/tcp/assets/")
        if parts.path == "/tcp":
            route.fulfill(body=page(), content_type="text/html; charset=utf-8")
        elif name in ASSETS:
            route.fulfill(body=asset(name), content_type=ASSETS[name])
        else:
            (row,) = parse_qs(parts.query, keep_blank_values=True)["row"]
            value = next(results)
            series = value["series"]
            rows = [one for one in series["rows"] if f"{one['type']} {one['name']}" == row]
            now = {name: column[-1] for name, column in series["run"].items()}
            live = {"now": now, "state": "running", "elapsed_s": 60.0 * MINUTES, "left_s": None, "started_at": "now"}
            route.fulfill(json={**value, **live, "series": {**series, "rows": rows}})

    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.add_init_script(CLOCK)
    opened.route("http://load.test/**", answer)
    opened.goto(ADDRESS)
    opened.wait_for_function("window.spans.length > 1")
    names = cycle(f"{row['type']} {row['name']}" for row in values[0]["rows"])
    for _ in range(UPDATES + WARM_UP):
        count = opened.evaluate("window.spans.length")
        opened.evaluate(UPDATE, next(names))
        opened.wait_for_function("(count) => window.spans.length > count", arg=count)
    spans: list[float] = opened.evaluate("window.spans")
    opened.close()
    return spans[-UPDATES:]


def tab_spans(browser: Browser, folder: Path) -> dict[str, list[float]]:
    """Milliseconds of the main thread for each update of two tabs, by their names."""
    options = ("-u", "10", "-r", "10", "--autostart", "--tcp-think-time", "0.05")
    found = {}
    with LocustRun(folder, *options, locustfile=MANY_ROWS) as run:
        run.wait_for_log("live page")
        opened = browser.new_page(viewport={"width": 1400, "height": 900})
        session = opened.context.new_cdp_session(opened)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        opened.goto(f"http://127.0.0.1:{run.port}/")
        for name in ("Statistics", "TCP"):
            opened.get_by_role("tab", name=name).click()
            opened.get_by_text("operation 17").first.wait_for()
            busy: list[float] = []
            for _ in range(TAB_UPDATES + 2):
                with opened.expect_response("**/stats/requests"):
                    pass
                metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
                busy.append(1000 * metrics["TaskDuration"])
            found[name] = [after - before for before, after in pairwise(busy[1:])]
    return found


def show(label: str, spans: Sequence[float]) -> None:
    """Print the median and the slowest update."""
    print(f"{label:<24}  median {statistics.median(spans):6.1f} ms  slowest {max(spans):6.1f} ms", flush=True)


def main() -> None:
    """Print the figures of page and tab."""
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        for width in (1400, 400):
            show(f"page, {width} px", page_spans(browser, width))
        for name, spans in tab_spans(browser, Path(folder)).items():
            show(f"tab {name}, CPU time", spans)


if __name__ == "__main__":
    main()
