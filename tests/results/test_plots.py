"""The plots in a real Chromium: values, keys, zoom, themes, sizes, and resources, which must not grow with updates."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from geventecho.results import FLOORS, RUN_COLUMNS, RowSeries, as_json
from tests.results.samples import START, block, result, row
from tests.support.chromium import chromium, complaints_of
from tests.support.plots_page import open_plots, remove, show
from tests.support.sample_result import sample_result

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Locator, Page

pytestmark = pytest.mark.browser

ROW = "TCP echo"
HOSTILE = "TCP </script><script>alert(1)</script>"
ON_TIME = 8  # plots with the common x axis


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def value() -> dict[str, Any]:
    return sample_result(seconds=120, rows=5, rate=2400)


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Page:
    return open_plots(browser)


@pytest.fixture
def page(opened: Page, value: dict[str, Any]) -> Iterator[Page]:
    """The page with new plots, wide and in the light theme."""
    complaints = complaints_of(opened)
    opened.set_viewport_size({"width": 1400, "height": 900})
    opened.evaluate("document.documentElement.dataset.theme = 'light'")
    show(opened, value, ROW)
    yield opened
    remove(opened)
    assert complaints == []


def plot(page: Page, title: str) -> Locator:
    return page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))


def legend(page: Page, title: str) -> list[str]:
    return plot(page, title).locator(".plot-legend > *").all_inner_texts()


def series(value: dict[str, Any], name: str = "echo") -> dict[str, Any]:
    (found,) = (row for row in value["series"]["rows"] if row["name"] == name)
    return dict(found)


def milliseconds(text: str) -> float:
    number, unit = text.split()[-2:]
    assert unit == "ms"
    return float(number)


def ranges(page: Page) -> list[list[float]]:
    """The x range of each plot over time."""
    found: list[list[float]] = page.evaluate(
        "uPlot.sync('tcp-plots').plots.map((one) => [one.scales.x.min, one.scales.x.max])"
    )
    assert len(found) == ON_TIME
    return found


def pixel(page: Page, title: str, x: float, y: float) -> list[int]:
    """The colour of a canvas at a share of its plotting area's width and height, from its upper left corner."""
    over = plot(page, title).locator(".u-over")
    found: list[int] = over.evaluate(
        """(over, [x, y]) => {
            const canvas = over.parentNode.querySelector("canvas");
            const [left, top] = [over.offsetLeft + x * over.clientWidth, over.offsetTop + y * over.clientHeight];
            const ratio = devicePixelRatio;
            return Array.from(canvas.getContext("2d").getImageData(left * ratio, top * ratio, 1, 1).data);
        }""",
        [x, y],
    )
    return found


def inner(value: Any, path: str) -> dict[str, Any]:
    for key in path.split("."):
        value = value[int(key) if key.isdecimal() else key]
    return dict(value)


def test_the_sample_has_the_keys_of_a_result() -> None:
    """Otherwise these tests would not show a value as a run has it."""
    echo = row([block(START + second, [120.0] * 400) for second in range(12)], 12)
    real, sample = as_json(result(echo)), sample_result(seconds=12, rows=2)
    assert sample.keys() == real.keys()
    for path in ("rows.0", "rows.0.distributions.response_us", "series", "connections", "account"):
        assert inner(sample, path).keys() == inner(real, path).keys(), path
    assert set(sample["series"]["run"]) == set(RUN_COLUMNS)
    assert list(series(sample)) == [field.name for field in fields(RowSeries)]


# Scales ---------------------------------------------------------------------------------------------------------------


def test_floors_are_the_same_as_in_python(opened: Page) -> None:
    assert {percent: opened.evaluate(f"TcpPlotScales.fewest({percent / 100})") for percent in FLOORS} == FLOORS
    for percent, fewest in FLOORS.items():
        assert opened.evaluate(f"TcpPlotScales.highest({fewest})") >= percent / 100
        assert opened.evaluate(f"TcpPlotScales.highest({fewest - 1})") < percent / 100


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("ticks([0, 500, 1000], TIME, false)", ["0 ms", "0.5 ms", "1 ms"]),
        ("ticks([0, 200, 400, 600], TIME, false)", ["0 \u00b5s", "200 \u00b5s", "400 \u00b5s", "600 \u00b5s"]),
        ("ticks([500, 1000, 2e6], TIME, true)", ["500 \u00b5s", "1 ms", "2 s"]),
        ("ticks([0, 250, 1000], PER_SECOND, false)", ["0/s", "250/s", "1000/s"]),
        ("ticks([0, 5e5, 1e6], BYTES_PER_SECOND, false)", ["0 MB/s", "0.5 MB/s", "1 MB/s"]),
        ("ticks([0, 0.5, 1], SHARE, false)", ["0 %", "50 %", "100 %"]),
        ("moment(12, 60)", "12 s"),
        ("moment(65, 120)", "1:05"),
        ("moment(3605, 7200)", "1:00:05"),
        ("logarithmicRange(130, 4100)", [100, 5000]),
        ("logarithmicRange(100, 100)", [50, 200]),
        ("logarithmicTicks(80, 2100, 9)", [100, 200, 500, 1000, 2000]),
        ("logarithmicTicks(80, 2100, 4)", [100, 1000]),
        ("percentText(99.96)", "99.96 %"),
        ("percentText(99.99567)", "99.9956 %"),
        ("percentText(87.96)", "87.9 %"),
        ("percentText(percentAt(nines(99.99, 0)))", "99.99 %"),
        ("nines(100, 1000)", 3),
        ("binOf(binFloor(57))", 57),
        ("shade(1)", 255),
        ("shade(1e-5)", 0),
    ],
)
def test_scales_have_round_ticks_and_short_texts(opened: Page, call: str, found: object) -> None:
    assert opened.evaluate(f"(() => {{ with (TcpPlotScales) return {call} }})()") == found


def lightness(colour: list[int]) -> float:
    """The lightness of a colour in OKLab (Ottosson 2020)."""
    red, green, blue = (part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour)
    long = 0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue
    middle = 0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue
    short = 0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue
    return 0.2104542553 * math.cbrt(long) + 0.793617785 * math.cbrt(middle) - 0.0040720468 * math.cbrt(short)


@pytest.mark.parametrize("is_dark", [True, False])
def test_the_steps_of_the_palette_are_even(opened: Page, is_dark: bool) -> None:
    found = [lightness(colour) for colour in opened.evaluate(f"TcpPlotScales.palette({json.dumps(is_dark)})")]
    steps = [after - before for before, after in itertools.pairwise(found[::15])]
    assert max(abs(step) for step in steps) < 1.4 * min(abs(step) for step in steps)
    assert all(step > 0 for step in steps) is is_dark, "a higher share is farther from the page's background"
    assert abs(found[0] - found[-1]) > 0.5


# Values ---------------------------------------------------------------------------------------------------------------


def test_a_legend_has_the_latest_values(page: Page, value: dict[str, Any]) -> None:
    echo = series(value)
    where, p50, p90, p99, longest, *_ = legend(page, "Latency over time")
    assert where == "1:59"
    for text, key in ((p50, "p50_us"), (p90, "p90_us"), (p99, "p99_us"), (longest, "max_us")):
        assert milliseconds(text) == pytest.approx(echo[key][-1] / 1000, rel=0.006)
    label = plot(page, "Latency over time").get_by_role("img").get_attribute("aria-label")
    assert label is not None
    assert label.startswith("Latency over time of TCP echo. At 1:59: p50 ")
    assert p99 in label
    achieved = float(legend(page, "Throughput")[2].split()[-1].removesuffix("/s").replace(",", ""))
    assert achieved == pytest.approx(value["series"]["run"]["achieved"][-1], rel=0.001)


def test_the_percentile_plot_has_a_note_of_its_floor(page: Page, value: dict[str, Any]) -> None:
    (echo,) = (row for row in value["rows"] if row["name"] == "echo")
    found = plot(page, "Latency by percentile")
    highest = 100 * 0.025 ** (1 / echo["ok"])
    note = found.locator(".plot-note").inner_text()
    limit = math.floor(highest * 10**4) / 10**4
    assert note.startswith(f"The lines are faint beyond {limit} %: {echo['ok']:,} operations")
    label = found.get_by_role("img").get_attribute("aria-label") or ""
    assert "99.99 %: response " in label
    show(page, sample_result(seconds=60, rows=2, rate=60), ROW)
    label = found.get_by_role("img").get_attribute("aria-label") or ""
    assert "90 %: response " in label
    assert "99.9 %: response " not in label


def test_no_value_is_read_beyond_the_last_sample(page: Page) -> None:
    distribution = {"percentiles": [0, 50, 75, 87.5, 100], "values": [1, 2, 3, 4, 4], "counts": [1, 2, 3, 4, 4]}
    parts = page.evaluate("([one, floor]) => TcpPercentilePlot.split(one, floor)", [distribution, 0.5])
    assert parts == [
        [[0, pytest.approx(math.log10(2))], [1, 2]],
        [[pytest.approx(math.log10(2)), math.log10(4)], [2, 4]],
    ]
    assert page.evaluate("(one) => TcpPercentilePlot.valueAt(one, 60)", distribution) == 3


def test_gaps_are_explained(page: Page) -> None:
    assert not plot(page, "Latency over time").locator(".plot-note").is_visible()
    show(page, sample_result(seconds=60, rows=2, rate=60), ROW)
    note = plot(page, "Latency over time").locator(".plot-note")
    reason = "a point has too few operations for the percentile (minimum: p99 368)"
    assert note.inner_text() == f"A line has a gap where {reason}."
    assert legend(page, "Latency over time")[3].endswith("\u2013")


def test_the_heat_map_is_coloured_where_operations_are(page: Page, value: dict[str, Any]) -> None:
    heat = series(value)["heat"]
    points = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in heat]
    low, high = page.evaluate("(heat) => { const { low, high } = TcpHeatMap.cellsOf(heat); return [low, high] }", heat)
    palette = page.evaluate("TcpPlotScales.palette(false)")
    bins = high - low + 1
    for index in (20, 80):
        counts = points[index]
        most = max(counts, key=lambda bin_: counts[bin_])
        x = (index + 0.5) / len(points)
        found = pixel(page, "Latency heat map", x, (high - most + 0.5) / bins)
        share = counts[most] / sum(counts.values())
        assert found == [*palette[min(255, page.evaluate(f"TcpPlotScales.shade({share})"))], 255]
        assert pixel(page, "Latency heat map", x, 0.5 / bins)[:3] not in palette, "no operation was so slow"


def test_plots_show_a_test_of_one_second_and_a_row_without_figures(page: Page) -> None:
    show(page, sample_result(seconds=1, rows=3), ROW)
    assert legend(page, "Latency over time")[0] == "0 s"
    assert pixel(page, "Latency heat map", 0.5, 0.5)[3] == 255
    show(page, sample_result(seconds=1, rows=3), "TASK EchoUser")
    assert legend(page, "Latency over time")[1] == "p50 \u2013"
    assert page.get_by_text("This row has no figures over time.").is_visible()
    assert page.get_by_text("No operations yet").count() == 1


def test_names_of_rows_are_shown_as_text(page: Page, value: dict[str, Any]) -> None:
    scripts = page.locator("script").count()
    show(page, value, HOSTILE)
    assert plot(page, "Latency heat map").get_by_role("img", name=HOSTILE).count() == 1
    assert page.locator("script").count() == scripts


# Cursor and zoom ------------------------------------------------------------------------------------------------------


def test_arrow_keys_move_one_cursor_in_all_plots_over_time(page: Page, value: dict[str, Any]) -> None:
    canvas = plot(page, "Latency over time").get_by_role("img")
    canvas.focus()
    for key in ("Home", "ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    where, p50, *_ = legend(page, "Latency over time")
    assert where == "0:11"
    assert milliseconds(p50) == pytest.approx(series(value)["p50_us"][11] / 1000, rel=0.006)
    assert legend(page, "Bytes")[0] == "0:11"
    announced = page.locator("[aria-live]").inner_text()
    assert announced.startswith("At 0:11: p50 ")
    show(page, sample_result(seconds=240, rows=5, rate=2400), ROW)
    assert legend(page, "Bytes")[0] == "0:11", "the cursor stays at its moment on a longer axis"
    assert page.locator("[aria-live]").inner_text() == announced, "an update announces nothing"
    show(page, value, ROW)
    page.keyboard.press("Escape")
    assert legend(page, "Latency over time")[0] == "1:59"


def test_arrow_keys_go_through_heat_map_and_percentiles(page: Page) -> None:
    plot(page, "Latency heat map").get_by_role("img").focus()
    for key in ("End", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    text = legend(page, "Latency heat map")[0]
    assert text.startswith("1:59, ")
    assert text == page.locator("[aria-live]").inner_text()
    page.keyboard.press("ArrowDown")
    assert legend(page, "Latency heat map")[0] != text
    plot(page, "Latency by percentile").get_by_role("img").focus()
    page.keyboard.press("Home")
    assert legend(page, "Latency by percentile")[0] == "0 %"


def test_a_drag_zooms_all_plots_over_time_until_a_double_click(page: Page, value: dict[str, Any]) -> None:
    assert ranges(page) == [[0, 120]] * ON_TIME
    below_floor = pixel(page, "Latency by percentile", 0.05, 0.02)
    assert below_floor != pixel(page, "Latency by percentile", 0.98, 0.02), "the area beyond the floor is shaded"
    over = plot(page, "Throughput").locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20, steps=4)
    page.mouse.up()
    for _ in range(2):
        assert ranges(page) == [[pytest.approx(30, abs=1), pytest.approx(60, abs=1)]] * ON_TIME
        show(page, value, ROW)
        assert pixel(page, "Latency by percentile", 0.05, 0.02) == below_floor, "percentiles have an axis of their own"
    assert page.locator(".u-select").evaluate_all("(all) => all.every((one) => one.offsetWidth === 0)")
    over.dblclick()
    assert ranges(page) == [[0, 120]] * ON_TIME
    assert not page.get_by_role("button", name="Show the whole test").is_visible()


def test_a_click_on_the_legend_takes_a_line_away(page: Page) -> None:
    shown = "uPlot.sync('tcp-plots').plots[0].series.map(({ show }) => show)"
    assert page.evaluate(shown) == [True] * 13
    button = plot(page, "Latency over time").get_by_role("button", name="p99").first
    button.click()
    assert page.evaluate(shown) == [True] * 7 + [False] * 3 + [True] * 3
    assert button.get_attribute("aria-pressed") == "false"
    plot(page, "Latency over time").get_by_role("button", name="Linear scale").click()
    assert page.evaluate(f"{shown.replace('plots[0]', 'plots.at(-1)')}") == [True] * 7 + [False] * 3 + [True] * 3


def test_plots_follow_the_theme_and_the_width_of_the_page(page: Page) -> None:
    middle = pixel(page, "Latency heat map", 0.5, 0.5)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert pixel(page, "Latency heat map", 0.5, 0.5) != middle
    for width in (400, 1400, 600):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function(
            """[...document.querySelectorAll('.plot-stage')]
                .every((one) => one.clientWidth === one.firstChild.clientWidth)"""
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


# Resources ------------------------------------------------------------------------------------------------------------


def sizes(session: CDPSession) -> dict[str, float]:
    """The nodes, listeners and bytes of the heap that are in use after a garbage collection."""
    session.send("HeapProfiler.collectGarbage")
    counted = session.send("Memory.getDOMCounters")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    return {"nodes": counted["nodes"], "listeners": counted["jsEventListeners"], "heap": heap}


@pytest.mark.long
def test_nothing_grows_in_900_updates_and_nothing_stays_after_the_end(browser: Browser) -> None:
    """Half an hour of a page that asks every two seconds."""
    page = open_plots(browser)
    complaints = complaints_of(page)
    session = page.context.new_cdp_session(page)
    empty = sizes(session)
    page.evaluate("(value) => { window.value = value }", sample_result(seconds=40, rows=3))
    update = """async ([row, times]) => {
        window.shown ??= TcpPlots.create(document.querySelector("#plots"));
        for (let index = 0; index < times; index += 1) {
            window.shown.update(window.value, row);
            await null;
        }
    }"""
    page.evaluate(update, [ROW, 20])
    before = sizes(session)
    page.evaluate(update, [ROW, 900])
    after = sizes(session)
    assert after["nodes"] <= before["nodes"]
    assert after["listeners"] <= before["listeners"]
    assert after["heap"] < before["heap"] + 500_000
    remove(page)
    page.evaluate("window.value = null")
    end = sizes(session)
    assert page.evaluate("uPlot.sync('tcp-plots').plots.length") == 0
    assert page.locator("#plots").inner_html() == ""
    assert end["listeners"] == empty["listeners"]
    assert end["nodes"] < empty["nodes"] + 20
    assert complaints == []
    page.close()
