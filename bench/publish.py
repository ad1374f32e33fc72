"""`python -m bench.publish RESULTS`: puts the tables and plots of one comparison into the documentation.

The part of the page between its two marks is replaced; the plots, if there are any, go to a folder beside the page.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.contenders import BENCH, BenchError

__all__ = [
    "ACCURACY_RESULTS",
    "END",
    "MAIN",
    "PAGE",
    "RESULTS",
    "SECURE",
    "TABLES",
    "TLS_RESULTS",
    "Part",
    "latest",
    "publish",
]

TABLES: Final = "tables.md"
PAGE: Final = BENCH.parent / "docs" / "reference" / "performance-tables.md"
ACCURACY_PAGE: Final = BENCH.parent / "docs" / "reference" / "accuracy-tables.md"
RESULTS: Final = BENCH / "results"
ACCURACY_RESULTS: Final = RESULTS / "accuracy"
TLS_RESULTS: Final = RESULTS / "tls"
END: Final = "<!-- to here -->"


@dataclass(frozen=True)
class Part:
    """A part of a page that is replaced.

    Attributes:
        target: the Makefile's target in the mark at its beginning.
        images: the folder of its plots, beside the page.
    """

    target: str = "publish"
    images: str = "images/bench"

    @property
    def begin(self) -> str:
        return f"<!-- made by `make -C bench {self.target}`, from here -->"

    def of(self, page: Path) -> tuple[str, str, str]:
        """The page's text before the part with its mark, the part, and the text after it.

        Raises:
            BenchError: the page lacks a mark.
            OSError: the page cannot be read.
        """
        before, begin, rest = page.read_text().partition(self.begin)
        part, end, after = rest.partition(END)
        if not (begin and end):
            raise BenchError(f"{page} lacks a line {self.begin!r} and below it a line {END!r}")
        return before + begin, part, end + after


MAIN: Final = Part()
SECURE: Final = Part("publish-tls", "images/bench-tls")


def publish(results: Path, page: Path, part: Part = MAIN) -> None:
    """Replace the page's text between the marks of the part, and all plots in its folder if the tables have any.

    Raises:
        BenchError: there are no such results, one of their plots is missing, or the page lacks a mark.
        OSError: a file could not be read or written.
    """
    tables = results / TABLES
    if not tables.is_file():
        raise BenchError(f"{results} has no {TABLES}: it is not the output of a comparison")
    before, _, after = part.of(page)
    text = tables.read_text()
    plots = _plots(text)
    if gone := [name for name in plots if not (results / name).is_file()]:
        raise BenchError(f"{results} lacks {', '.join(gone)}, which its tables show")
    if plots:
        images = page.parent / part.images
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        for name in plots:
            shutil.copy(results / name, images / name)
    page.write_text(f"{before}\n\n{_fitted(text, part.images)}\n{after}")


def latest(page: Path, results: Path, part: Part = MAIN) -> Path:
    """The last comparison with all plots of a part of a page, so none of a few scenarios.

    Args:
        page: with the plots of an earlier comparison.
        results: the folder of all comparisons.

    Raises:
        BenchError: there is no such comparison, or the page lacks a mark.
        OSError: the page cannot be read.
    """
    shown = set(_plots(part.of(page)[1]))
    for tables in sorted(results.glob(f"*/{TABLES}"), reverse=True):
        if shown <= set(_plots(tables.read_text())):
            return tables.parent
    raise BenchError(f"no comparison in {results} has all plots of {page}: make one, or name one (RESULTS=)")


def _plots(text: str) -> list[str]:
    """The names of the plots in a page or in tables."""
    return re.findall(r"\]\((?:[\w-]+/)*([\w-]+\.svg)\)", text)


def _fitted(text: str, images: str) -> str:
    """The tables without their title, with headings one level lower and with the new paths of plots."""
    lower = re.sub(r"^(#+ )", r"#\1", text.partition("\n")[2].strip(), flags=re.MULTILINE)
    return re.sub(r"\]\(([\w-]+\.svg)\)", rf"]({images}/\1)", lower)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.publish", description=__doc__)
    default = "the latest with all plots of the page"
    parser.add_argument("results", type=Path, nargs="?", help=f"a folder of bench/results ({default})")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--tls", action="store_true", help="a comparison through TLS")
    kind.add_argument("--accuracy", action="store_true", help="a comparison of accuracy, into accuracy-tables.md")
    parser.add_argument("--page", type=Path, help="Markdown with the two marks (docs/reference/performance-tables.md)")
    options = parser.parse_args()
    page = options.page or (ACCURACY_PAGE if options.accuracy else PAGE)
    part = SECURE if options.tls else MAIN
    folder = ACCURACY_RESULTS if options.accuracy else TLS_RESULTS if options.tls else RESULTS
    try:
        results = options.results or latest(page, folder, part)
        publish(results, page, part)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"{page} has the tables of {results}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
