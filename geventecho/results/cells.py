"""Text that fits into the cells of a terminal, and figures as people read them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from typing import Final

__all__ = ["WITHHELD", "byte_count", "cells", "fitted", "lines_of", "milliseconds", "per_second", "printable"]

WITHHELD: Final = "\N{EN DASH}"
"""Stands in place of a missing figure."""
UNITS: Final = ("B", "kB", "MB", "GB", "TB")
CUT: Final = "\N{HORIZONTAL ELLIPSIS}"


def printable(text: str) -> str:
    """Return a text with escapes for characters that could control a terminal. The text may come from a peer."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cells(text: str) -> int:
    """Return the number of terminal columns of a printable text: two for a wide character (Unicode, Annex 11)."""
    return len(text) if text.isascii() else sum(map(_width, text))


def fitted(text: str, width: int) -> str:
    """Return a printable text, cut to `width` columns with an ellipsis at the end if it is wider."""
    if cells(text) <= width:
        return text
    kept, taken = "", cells(CUT)
    for character in text:
        taken += _width(character)
        if taken > width:
            break
        kept += character
    return (kept + CUT)[: max(width, 0)]


def lines_of(text: str, width: int, first: str = "", later: str = "  ") -> Iterator[str]:
    """Break a printable text between its words into lines of at most `width` columns.

    A word that is longer than a line is cut.

    Args:
        text: a text without line breaks.
        width: the columns of each line.
        first: the beginning of the first line.
        later: the beginning of the other lines.
    """
    line, is_empty = first, True
    for word in text.split(" "):
        longer = f"{line}{word}" if is_empty else f"{line} {word}"
        if not is_empty and cells(longer) > width:
            yield fitted(line, width)
            longer = f"{later}{word}"
        line, is_empty = longer, False
    yield fitted(line, width)


def per_second(rate: float) -> str:
    """A rate with four significant digits, or with all digits before the point from 1,000 on."""
    return f"{rate:.0f}" if rate >= 1000 else f"{rate:.4g}"


def milliseconds(microseconds: float) -> str:
    """A time in milliseconds with three significant digits, to the microsecond at most; from 10 s on in seconds."""
    if microseconds == math.inf:
        return "lost"
    if microseconds >= 1e7:
        return f"{microseconds / 1e6:.0f}s" if microseconds >= 999.5e6 else f"{microseconds / 1e6:.3g}s"
    in_ms = microseconds / 1000
    return _three_digits(in_ms) if in_ms >= 0.1 else f"{in_ms:.3f}"


def byte_count(number: float) -> str:
    """A number of bytes with three significant digits and a decimal unit, or a whole number of bytes."""
    power = 0
    while number >= 999.5 and power < len(UNITS) - 1:
        number /= 1000
        power += 1
    return f"{_three_digits(number) if power else f'{number:.0f}'} {UNITS[power]}"


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:#.3g}"  # "#.3g" would give "100." for 99.96


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):  # drawn over the character before
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
