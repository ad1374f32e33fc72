"""Text that fits into the cells of a table, and figures as people read them."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["WITHHELD", "byte_count", "milliseconds", "per_second", "printable"]

WITHHELD: Final = "\N{EN DASH}"
"""Where there is no figure."""
UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def printable(text: str) -> str:
    """Return a text that a peer may have made, with escapes for characters that could command a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def per_second(rate: float) -> str:
    """Three or four significant digits, and all of a whole number."""
    return f"{rate:.0f}" if rate >= 1000 else f"{rate:.4g}"


def milliseconds(microseconds: float) -> str:
    """Three significant digits, and none below a microsecond; from 10 s on in seconds, from 10,000 s on in hours."""
    if microseconds == math.inf:
        return "lost"
    if microseconds >= 1e10:
        return f"{microseconds / 3.6e9:.3g}h"
    if microseconds >= 1e7:
        return f"{microseconds / 1e6:.0f}s" if microseconds >= 1e9 else f"{microseconds / 1e6:.3g}s"
    in_ms = microseconds / 1000
    if in_ms >= 100:
        return f"{in_ms:.0f}"
    return f"{in_ms:#.3g}" if in_ms >= 0.1 else f"{in_ms:.3f}"


def byte_count(number: float) -> str:
    """Three significant digits, with a decimal unit."""
    power = 0
    while number >= 999.5 and power < len(UNITS) - 1:
        number /= 1000
        power += 1
    return f"{number:.3g} {UNITS[power]}"
