"""The page and the report: files, numbers and texts."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from geventecho.results import ASSETS, asset, byte_count, milliseconds, page, report, table
from tests.results.samples import START, block, result, row

FOLDER = Path(__file__).parents[2] / "geventecho" / "results" / "html"
SCRIPTS = sorted(FOLDER.glob("*.js"))
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node")
HOSTILE = "</script><script>alert(1)</script><!-- \u2028 & \" '"


def node(*arguments: str) -> str:
    assert NODE is not None
    done = subprocess.run([NODE, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_loads_nothing_but_its_assets() -> None:
    links = re.findall(r'(?:src|href)="([^"]+)"', page())
    assets = {link.removeprefix("tcp/assets/") for link in links if link.startswith("tcp/assets/")}
    assert assets == set(ASSETS)
    assert all(asset(name) for name in assets)
    assert all(link.startswith(("tcp/", "./")) for link in links)
    assert "style=" not in page()
    assert not re.search(r"\son\w+=", page())
    with pytest.raises(KeyError):
        asset("../__init__.py")


def test_a_report_is_one_file_with_its_result() -> None:
    made = result(row([block(START + second, [100.0] * 400) for second in range(12)], 12, ("TCP", HOSTILE)))
    text = report(made)
    assert not re.findall(r'(?:src|href)="(?!data:|\./|tcp/(?:report|result|rows)\.)', text)
    assert "tcp/assets/" not in text
    (embedded,) = re.findall(r'<script type="application/json" id="result">(.*?)</script>', text)
    assert json.loads(embedded)["rows"][0]["name"] == HOSTILE
    assert HOSTILE not in text
    assert "<title>TCP load test of tcp://127.0.0.1:1, " in text
    assert table(made).splitlines()[-1] in text, "the console's table, for browsers without scripts"


@needs_node
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_the_scripts_are_javascript(script: Path) -> None:
    node("--check", str(script))


@needs_node
def test_times_are_written_as_on_the_console(tmp_path: Path) -> None:
    generator = random.Random(4)
    times = [round(10 ** generator.uniform(-1, 7.9), 1) for _ in range(5000)]
    times += [
        1125.0,
        1135.0,
        10_250.0,
        10_350.0,
        100_500.0,
        101_500.0,
        62.5,
        187.5,
        312.5,
        99.9,
        100.0,
        999.4,
        9994.9,
        99_949.9,
        99_950.0,
        99_960.0,
    ]
    times += [999_499_000.0, 999_500_000.0, 999_960_000.0, 9_999_600.0]
    check_texts(tmp_path, "time", times, milliseconds)


@needs_node
def test_bytes_are_written_as_in_the_tab(tmp_path: Path) -> None:
    generator = random.Random(5)
    numbers = [10 ** generator.uniform(-1, 15) for _ in range(5000)]
    numbers += [0, 1, 2.5, 3.5, 999, 999.4, 999.5, 1000, 7700, 99_940, 99_950, 99_960, 999_499, 999_500, 1e15, 1e16]
    check_texts(tmp_path, "bytes", numbers, byte_count)


def check_texts(folder: Path, name: str, numbers: list[float], expected: Callable[[float], str]) -> None:
    """Check that a function of numbers.js writes each number as the function `expected` does."""
    script = folder / "texts.js"
    script.write_text(
        f"globalThis.window = {{}}; require({str(FOLDER / 'numbers.js')!r});"
        f"console.log(JSON.stringify({json.dumps(numbers)}.map(window.TcpNumbers.{name})))"
    )
    written = json.loads(node(str(script)))
    found = {number: (text, expected(number)) for number, text in zip(numbers, written, strict=True)}
    assert {number: pair for number, pair in found.items() if pair[0] != pair[1]} == {}
