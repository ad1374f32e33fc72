"""`python -m bench.publish RESULTS`: puts the tables and plots of one comparison into the documentation.

The part of the page between the two marks is replaced; the plots, if there are any, go to images/bench beside the page.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import Final

from bench.contenders import BENCH, BenchError

__all__ = ["ACCURACY_RESULTS", "TABLES", "latest", "publish"]

TABLES: Final = "tables.md"
PAGE: Final = BENCH.parent / "docs" / "performance.md"
ACCURACY_PAGE: Final = BENCH.parent / "docs" / "accuracy.md"
RESULTS: Final = BENCH / "results"
ACCURACY_RESULTS: Final = RESULTS / "accuracy"
BEGIN: Final = "<!-- made by `make -C bench publish`, from here -->"
END: Final = "<!-- to here -->"
IMAGES: Final = Path("images") / "bench"  # beside the page


def publish(results: Path, page: Path) -> None:
    """Replace what the page has between its marks, and all plots in its folder for them if these have any.

    Raises:
        BenchError: there are no such results, one of their plots is gone, or the page has not both marks.
        OSError: something could not be read or written.
    """
    tables = results / TABLES
    if not tables.is_file():
        raise BenchError(f"{results} has no {TABLES}: it is not the output of a comparison")
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{page} lacks a line {BEGIN!r} and below it a line {END!r}")
    text = tables.read_text()
    plots = _plots(text)
    if gone := [name for name in plots if not (results / name).is_file()]:
        raise BenchError(f"{results} lacks {', '.join(gone)}, which its tables show")
    if plots:
        images = page.parent / IMAGES
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        for name in plots:
            shutil.copy(results / name, images / name)
    page.write_text(f"{before}{BEGIN}\n\n{_fitted(text)}\n{END}{after}")


def latest(page: Path, results: Path) -> Path:
    """The last comparison that has all the plots that a page shows: not one of parts of them.

    Args:
        page: shows those of an earlier one.
        results: the folder of all comparisons.

    Raises:
        BenchError: there is none.
        OSError: the page cannot be read.
    """
    shown = set(_plots(page.read_text()))
    for tables in sorted(results.glob(f"*/{TABLES}"), reverse=True):
        if shown <= set(_plots(tables.read_text())):
            return tables.parent
    raise BenchError(f"no comparison in {results} has all that {page} shows: make one, or name one (RESULTS=)")


def _plots(text: str) -> list[str]:
    """The names of the plots that a page or tables show."""
    return re.findall(r"\]\((?:[\w-]+/)*([\w-]+\.svg)\)", text)


def _fitted(text: str) -> str:
    """Without the title, headings one level lower, pictures where they are now."""
    lower = re.sub(r"^(#+ )", r"#\1", text.partition("\n")[2].strip(), flags=re.MULTILINE)
    return re.sub(r"\]\(([\w-]+\.svg)\)", rf"]({IMAGES}/\1)", lower)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.publish", description=__doc__)
    default = "the latest with all that the page shows"
    parser.add_argument("results", type=Path, nargs="?", help=f"a folder of bench/results ({default})")
    parser.add_argument("--page", type=Path, help="Markdown with the two marks (docs/performance.md)")
    parser.add_argument("--accuracy", action="store_true", help="a comparison of accuracy, into docs/accuracy.md")
    options = parser.parse_args()
    page = options.page or (ACCURACY_PAGE if options.accuracy else PAGE)
    try:
        results = options.results or latest(page, ACCURACY_RESULTS if options.accuracy else RESULTS)
        publish(results, page)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"{page} has the tables of {results}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
