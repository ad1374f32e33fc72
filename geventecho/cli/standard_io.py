"""Standard input and output without blocking the hub.

The inherited descriptors stay in blocking mode: they may be shared with a shell or another process. The hub still never
blocks: each call waits until the descriptor is ready, and writes no more than a ready pipe takes (PIPE_BUF, pipe(7)).
Files on disk are always ready.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
from collections.abc import Iterator
from typing import Final, TextIO

from gevent import get_hub

from geventecho.errors import GeventechoError
from geventecho.net import wait_ready
from geventecho.service import LineWriter

__all__ = ["STDOUT", "Output", "chunks_of", "encoding_of", "occupy_standard_descriptors", "print_all", "print_error"]

READABLE: Final = 1
WRITABLE: Final = 2
READ_SIZE: Final = 65536
STDOUT: Final = 1
STDERR: Final = 2


def occupy_standard_descriptors() -> None:
    """Open /dev/null as standard input, output and error where they are closed.

    Otherwise the next socket would get the number, and log lines for standard error would go to a peer.
    """
    for descriptor in range(STDERR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open(2) returns the lowest free number


def encoding_of(stream: TextIO | None) -> str:
    """The encoding of a standard stream; UTF-8 for a closed stream."""
    return "utf-8" if stream is None else stream.encoding


def print_error(text: str) -> None:
    """Print on standard error. A failed write neither changes the exit code nor delays the exit."""
    writer = LineWriter(STDERR, encoding_of(sys.stderr))
    writer.write(text)
    writer.stop()


def print_all(text: str) -> None:
    """Print on standard output. After a failed print() Python would write again at exit, and exit with 120.

    Raises:
        SystemExit: with 1, after a message: standard output cannot be written.
    """
    data = text.encode(encoding_of(sys.stdout), "backslashreplace")
    try:
        while data:
            data = data[os.write(STDOUT, data) :]
    except OSError as error:
        print_error(f"geventecho: standard output cannot be written: {error.strerror}")
        raise SystemExit(1) from None


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """Yield the bytes of a descriptor, chunk by chunk, until the end.

    Raises:
        GeventechoError: it cannot be read.
    """
    watcher = get_hub().loop.io(descriptor, READABLE)
    try:
        while True:
            wait_ready(watcher, None)
            try:
                chunk = os.read(descriptor, READ_SIZE)
            except BlockingIOError:
                continue
            except OSError as error:
                raise GeventechoError(f"standard input cannot be read: {error.strerror}") from error
            if not chunk:
                return
            yield chunk
    finally:
        watcher.close()


class Output:
    """Standard output.

    It writes to a second descriptor that never blocks, if the kernel allows a second open (a pipe, or a terminal of
    this user). A terminal that Ctrl-S has stopped, or that is almost full, is reported as writable and still blocks.
    """

    def __init__(self) -> None:
        self._descriptor = _opened_again(STDOUT)
        self._watcher = get_hub().loop.io(self._descriptor, WRITABLE)
        self._at_line_start = True

    def end_line_for_errors(self) -> None:
        """End an unfinished line if standard error goes to the same terminal or file."""
        if not self._at_line_start and sys.stderr is not None and os.path.sameopenfile(self._descriptor, STDERR):
            with contextlib.suppress(OSError):
                os.write(STDERR, b"\n")
            self._at_line_start = True

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Write all of `data`. The reader may take `timeout` seconds for each part; None is no limit.

        Raises:
            GeventechoError: standard output cannot be written, or the reader has gone or took too long.
        """
        if data:
            self._at_line_start = data.endswith(b"\n")
        unsent = memoryview(data)
        while unsent:
            if not wait_ready(self._watcher, timeout):
                raise GeventechoError("standard output cannot be written: nobody reads it")
            try:
                unsent = unsent[os.write(self._descriptor, unsent[: select.PIPE_BUF]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise GeventechoError(f"standard output cannot be written: {error.strerror}") from error


def _opened_again(descriptor: int) -> int:
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    return descriptor
