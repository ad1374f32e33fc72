"""How long a redraw of the live page's plots takes in Chromium without a GPU, at 20 rows and 300 points.

A redraw begins with a Result's value. It ends when all canvases are painted: reading a pixel of each makes Chromium
paint what it has put off.
"""

from __future__ import annotations

import statistics
from typing import Final

from tests.support.chromium import chromium
from tests.support.plots_page import open_plots
from tests.support.sample_result import sample_result

REDRAWS: Final = 200
WARM_UP: Final = 20
ROWS: Final = 20
MINUTES: Final = 30

MEASURE: Final = """async ([rows, times]) => {
    const canvases = () => [...document.querySelectorAll("canvas")].map((one) => one.getContext("2d"));
    window.shown ??= TcpPlots.create(document.querySelector("#plots"));
    const spans = [];
    for (let index = 0; index < times; index += 1) {
        const began = performance.now();
        window.shown.update(window.value, rows[index % rows.length]);
        await null;
        const scripted = performance.now();
        for (const context of canvases()) context.getImageData(0, 0, 1, 1);
        spans.push([scripted - began, performance.now() - began]);
        await new Promise(requestAnimationFrame);
    }
    return spans;
}"""


def main() -> None:
    """Print the median and the slowest of both spans."""
    value = sample_result(seconds=MINUTES * 60, rows=ROWS)
    rows = [f"{row['type']} {row['name']}" for row in value["rows"]]
    with chromium() as browser:
        for width in (1400, 400):
            page = open_plots(browser, width=width)
            page.evaluate("(value) => { window.value = value }", value)
            page.evaluate(MEASURE, [rows, WARM_UP])
            spans = page.evaluate(MEASURE, [rows, REDRAWS])
            for name, times in zip(("scripts", "scripts and painting"), zip(*spans, strict=True), strict=True):
                median, slowest = statistics.median(times), max(times)
                print(f"{width:>5} px  {name:<20}  median {median:6.1f} ms  slowest {slowest:6.1f} ms")
            page.close()


if __name__ == "__main__":
    main()
