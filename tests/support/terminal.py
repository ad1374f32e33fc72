"""A program in a terminal of its own, whose screen `pyte` renders."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

from tests.support import ROOT
from tests.support.timing import SCALE


class TerminalRun:
    """A program on the controlling terminal of its own session, so that keys reach it as signals.

    Args:
        command: the program and its arguments.
        columns, lines: of the terminal.
        environment: of the program.

    Attributes:
        screen: the rendered screen.
        process: the program.
    """

    def __init__(self, command: Sequence[str], columns: int, lines: int, environment: Mapping[str, str]) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=100_000)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self._set_size(columns, lines)
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, start_new_session=True, env=dict(environment),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )  # fmt: skip
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        if error is not None:
            error.add_note("\n".join([*self.scrolled(), "--- the screen", *self.shown()]))

    def press(self, key: str) -> None:
        """Press keys, such as "\\x03" for Ctrl-C."""
        os.write(self._master, key.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the terminal's size. As in xterm, that ends a scrolling region."""
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)

    def shown(self) -> list[str]:
        """The lines of the screen."""
        return [line.rstrip() for line in self.screen.display]

    def scrolled(self) -> list[str]:
        """The lines that have scrolled off the screen."""
        columns = range(self.screen.columns)
        return ["".join(line[column].data for column in columns).rstrip() for line in self.screen.history.top]

    def text(self) -> str:
        """All lines; a line that the terminal wrapped is one line again."""
        width = self.screen.columns
        ended = (line if len(line) == width else f"{line}\n" for line in [*self.scrolled(), *self.shown()])
        return "".join(ended)

    def wait_for(self, pattern: str) -> None:
        """Wait until the screen shows the pattern."""
        while not re.search(pattern, "\n".join(self.shown())):
            assert self._reads(), f"the program ended without {pattern}"

    def wait(self) -> int:
        """Wait for the program's end; returns its exit code."""
        while self._reads():
            pass
        return self.process.wait(10 * SCALE)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _reads(self) -> bool:
        """Render the next output; returns False after the end."""
        assert select.select([self._master], [], [], 60 * SCALE)[0], "nothing is printed"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last process has closed the terminal
            return False
        self._stream.feed(data)
        return True
