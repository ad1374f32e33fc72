"""The output of a comparison: ratios, tables, plots, and a part of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.contenders import BenchError
from bench.figures import Measured, summarise
from bench.publish import END, MAIN, PAGE, SECURE, Part, latest, publish
from bench.tables import growth_table
from tests.support import ROOT
from tests.support.timing import PATIENCE

BEGIN = MAIN.begin
BENCH_PYTHON = ROOT / "bench" / "build" / "venv" / "bin" / "python"


def test_results_are_put_between_the_marks(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "tables.md").write_text("# Results\n\n- date: today\n\n## Echo\n\n| a |\n\n![Echo](echo.svg)\n")
    (results / "echo.svg").write_text("<svg/>")
    page = tmp_path / "docs" / "page.md"
    stale = page.parent / "images" / "bench" / "old.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("<svg/>")
    page.write_text(f"# Page\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):  # the second time replaces the output of the first
        publish(results, page)
        text = page.read_text()
        assert text.startswith(f"# Page\n\nbefore\n\n{BEGIN}\n\n- date: today\n\n### Echo\n")
        assert text.endswith(f"{END}\n\nafter\n")
        assert "![Echo](images/bench/echo.svg)" in text
        assert "old" not in text
    assert [path.name for path in stale.parent.iterdir()] == ["echo.svg"]


@pytest.mark.parametrize("lack", ["results", "marks", "plot"])
def test_a_publication_that_fails_changes_no_file(tmp_path: Path, lack: str) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n" if lack == "marks" else f"{BEGIN}\n{END}\n")
    text = page.read_text()
    shown = tmp_path / "images" / "bench" / "echo.svg"
    shown.parent.mkdir(parents=True)
    shown.write_text("<svg/>")
    if lack != "results":
        (tmp_path / "tables.md").write_text("# Results\n\n![Echo](echo.svg)\n")
    if lack != "plot":
        (tmp_path / "echo.svg").write_text("<svg/>")
    command = [sys.executable, "-m", "bench.publish", str(tmp_path), "--page", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.startswith("bench: ")
    assert "Traceback" not in done.stderr
    assert page.read_text() == text
    assert shown.is_file()


def test_the_latest_comparison_is_the_last_with_all_plots_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n![a](images/bench/a.svg) ![b](images/bench/b.svg)\n{END}\n")
    for name, plots in (("1", "ab"), ("2", "abc"), ("3", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tables.md").write_text("".join(f"![{plot}]({plot}.svg)\n" for plot in plots))
    assert latest(page, tmp_path) == tmp_path / "2"
    (tmp_path / "1" / "tables.md").unlink()
    (tmp_path / "2" / "tables.md").unlink()
    with pytest.raises(BenchError, match="has all plots of"):
        latest(page, tmp_path)


def test_each_part_of_a_page_is_replaced_alone(tmp_path: Path) -> None:
    page, shown = tmp_path / "page.md", tmp_path / "images" / "bench" / "echo.svg"
    page.write_text(f"{BEGIN}\nplain\n{END}\n{SECURE.begin}\nold\n{END}\n")
    shown.parent.mkdir(parents=True)
    shown.write_text("<svg/>")
    (tmp_path / "tables.md").write_text("# Results\n\n![Echo](tls.svg)\n")
    (tmp_path / "tls.svg").write_text("<svg/>")
    publish(tmp_path, page, SECURE)
    text = page.read_text()
    assert text == f"{BEGIN}\nplain\n{END}\n{SECURE.begin}\n\n![Echo](images/bench-tls/tls.svg)\n{END}\n"
    assert shown.is_file()


@pytest.mark.parametrize("part", [MAIN, SECURE])
def test_the_documentation_has_the_marks_and_the_plots(part: Part) -> None:
    for image in re.findall(r"\]\((images/[^)]+)\)", part.of(PAGE)[1]):
        assert (PAGE.parent / image).is_file(), image


def test_ratios_are_between_neighbours() -> None:
    """The machine got twice as slow in between: a ratio of medians over all runs would be wrong."""
    rates = [("ours", 100), ("peer", 50), ("ours", 100), ("other", 25), ("ours", 50)]
    figures = [{"rate": float(rate), "capacity": float(rate)} for _, rate in rates]
    runs = [Measured("echo", name, 0, place, figures[place], {}) for place, (name, _) in enumerate(rates)]
    ours, *others = summarise("echo", runs)
    assert ours.name == "ours"
    assert {other.name: other.ratios["rate"].middle for other in others} == {"peer": 2.0, "other": 3.0}


def test_the_growth_table_has_the_last_figure_over_the_first() -> None:
    table = growth_table({"ours": [(10, 5.0), (10000, 7.5)], "few": [(10, 4.0)]})
    assert "| ours | 5.00 | 7.50 | 1.50 |" in table
    assert "| few | 4.00 |  |  |" in table


def test_plots_are_well_formed_and_the_same_again(tmp_path: Path) -> None:
    """Names are escaped, all figures can be 0, and waiting times that lie far apart have a logarithmic scale."""
    if not BENCH_PYTHON.exists():
        pytest.skip("matplotlib is in the environment of the comparison: make -C bench build")
    folders = (tmp_path / "one", tmp_path / "two")
    for folder in folders:
        folder.mkdir()
        command = [BENCH_PYTHON, Path(__file__).parent / "scripts" / "draw_plots.py", folder]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=environment, check=True, timeout=6 * PATIENCE)
    drawn = [{path.name: path.read_text() for path in folder.iterdir()} for folder in folders]
    assert drawn[0] == drawn[1]
    for name, svg in drawn[0].items():
        texts = [element.text for element in ElementTree.fromstring(svg).iter()]
        assert "a < b" in texts
        assert "<ours> & co" in texts
        assert ("logarithmic" in svg) is (name == "burst-one.svg"), name
