"""The last lines of a terminal, separate from the output above them.

The lines above are a scrolling region (DECSTBM, ECMA-48 and the VT100). Log lines and prints, even of other processes,
scroll in this region and do not touch the last lines. The cursor stays at its place in the region.
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
"""Moves the cursor down in its column, and scrolls at the end of the region."""
CLEAR: Final = f"{SAVE}{WHOLE_SCREEN}{RESTORE}{ERASE_BELOW}"
"""Erases everything after the cursor, and so the last lines, even if a change of the size has moved them."""

PLAIN: Final = str.maketrans(
    {"\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-", "\N{EN DASH}": "-", "\N{HORIZONTAL ELLIPSIS}": "~"}
)
"""Replacements for a terminal that has only ASCII."""

_select: Final = get_original("select", "select")


class Terminal:
    """A terminal whose last lines we draw.

    Args:
        descriptor: the file descriptor of the terminal.
        encoding: the encoding of its text.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._is_drawn = False

    @classmethod
    def of_log(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """Return the terminal on standard error; None without a terminal or if it cannot move its cursor."""
        try:
            if not sys.stderr.isatty() or variables.get("TERM", "dumb") == "dumb":
                return None
            return cls(sys.stderr.fileno(), sys.stderr.encoding)
        except (AttributeError, OSError, ValueError):  # closed, or replaced by an object that is not a file
            return None

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and lines; None if they are unknown or too few."""
        try:
            columns, lines = os.get_terminal_size(self._descriptor)
        except OSError:
            return None
        return (columns, lines) if columns > 0 and lines > 1 else None

    def draw(self, lines_for: Callable[[int, int], Sequence[str]]) -> None:
        """Draw the last lines again.

        Args:
            lines_for: a function that takes the columns and the most lines (half of the terminal), and returns the
                lines.
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
        except OSError:  # it is not the controlling terminal of this session
            pass
        # After Ctrl-S a write would block the event loop, and so the test.
        return bool(_select([], [self._descriptor], [], 0)[1])

    def _write(self, text: str) -> None:
        """Write the text in one call, so that no other process writes in between."""
        try:
            data = text.encode(self._encoding)
        except UnicodeEncodeError:
            data = text.translate(PLAIN).encode(self._encoding, "backslashreplace")
        try:
            os.write(self._descriptor, data)
        except OSError:  # the terminal is gone
            self._is_drawn = False
