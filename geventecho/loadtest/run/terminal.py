"""The last lines of a terminal, separate from the output above them.

The lines above are a scrolling region (DECSTBM, ECMA-48 and the VT100): log lines and prints, also of other processes,
scroll there and do not touch the last lines. The cursor stays in the region, where it was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

from gevent.monkey import get_original

__all__ = ["Terminal"]

SAVE: Final = "\x1b7"
RESTORE: Final = "\x1b8"
WHOLE_SCREEN: Final = "\x1b[r"
ERASE_BELOW: Final = "\x1b[J"
DOWN: Final = "\x1bD"
"""Keeps the column, and scrolls at the end of the region."""
CLEAR: Final = f"{SAVE}{WHOLE_SCREEN}{RESTORE}{ERASE_BELOW}"
"""Erases all after the cursor: the last lines, too, where a change of the size has moved them."""

PLAIN: Final = str.maketrans(
    {"\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-", "\N{EN DASH}": "-", "\N{HORIZONTAL ELLIPSIS}": "~"}
)
"""For a terminal that has ASCII alone."""

_select: Final = get_original("select", "select")


class Terminal:
    """A terminal with some last lines of ours.

    Args:
        descriptor: of the terminal.
        encoding: of its text.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._is_drawn = False

    @classmethod
    def of_log(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """Return the terminal on standard error; None where there is none, or one that does not move its cursor."""
        try:
            if not sys.stderr.isatty() or variables.get("TERM", "dumb") == "dumb":
                return None
            return cls(sys.stderr.fileno(), sys.stderr.encoding)
        except (AttributeError, OSError, ValueError):  # closed, or replaced by an object that is no file
            return None

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and lines; None where they are not known, or too few to share."""
        try:
            columns, lines = os.get_terminal_size(self._descriptor)
        except OSError:
            return None
        return (columns, lines) if columns > 0 and lines > 1 else None

    def draw(self, lines_for: Callable[[int, int], Sequence[str]]) -> None:
        """Draw the last lines anew.

        Args:
            lines_for: given columns and lines, at most half of the terminal's, returns the lines.
        """
        size = self.size
        if size is None or not self._is_ours():
            return
        columns, height = size
        lines = lines_for(columns, height // 2)
        above = height - len(lines)
        room = f"{DOWN * len(lines)}\x1b[{len(lines)}A"
        shown = "".join(f"\x1b[{above + number};1H{line}" for number, line in enumerate(lines, 1))
        self._write(f"{CLEAR}{room}{SAVE}\x1b[1;{above}r{shown}{RESTORE}")
        self._is_drawn = True

    def clear(self) -> None:
        """Remove the last lines."""
        if self._is_drawn:
            self._is_drawn = False
            self._write(CLEAR)

    def _is_ours(self) -> bool:
        """Whether the terminal takes output now, and this process is not in the background of a shell."""
        try:
            if os.tcgetpgrp(self._descriptor) != os.getpgrp():
                return False
        except OSError:  # it is a terminal, but not the one of this session
            pass
        # After Ctrl-S a write would hold the event loop, and with it the test.
        return bool(_select([], [self._descriptor], [], 0)[1])

    def _write(self, text: str) -> None:
        """Write all at once, so that no other process writes in between."""
        try:
            data = text.encode(self._encoding)
        except UnicodeEncodeError:
            data = text.translate(PLAIN).encode(self._encoding, "backslashreplace")
        try:
            os.write(self._descriptor, data)
        except OSError:  # the terminal is gone
            self._is_drawn = False
