"""Standard input and output without blocking the hub.

The descriptors stay in blocking mode: they may be shared with a shell or another process. To wait until one is ready,
and to write no more than a ready pipe takes (PIPE_BUF, pipe(7)), keeps the hub free all the same. Files on disk are
always ready.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from typing import Final

from gevent import get_hub

from geventecho.errors import GeventechoError
from geventecho.net import wait_ready

__all__ = ["Output", "chunks_of", "occupy_standard_descriptors", "print_error"]

READABLE: Final = 1
WRITABLE: Final = 2
READ_SIZE: Final = 65536
STDERR: Final = 2


def occupy_standard_descriptors() -> None:
    """Open /dev/null as standard input, output and error where they are closed.

    The next socket would get the number otherwise, and a log line for standard error would go to a peer.
    """
    for descriptor in range(STDERR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open(2) gives the lowest number that is free


def print_error(text: str) -> None:
    """Print on standard error, and nowhere when that was closed; print() would take standard output then."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """Yield what can be read from a descriptor, chunk by chunk, until the end.

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
    """A descriptor to write to.

    Args:
        descriptor: stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._watcher = get_hub().loop.io(descriptor, WRITABLE)
        self._at_line_start = True

    def end_line_for_errors(self) -> None:
        """Begin a new line when standard error goes to the same terminal or file and an unfinished line is there."""
        if not self._at_line_start and sys.stderr is not None and os.path.sameopenfile(self._descriptor, STDERR):
            with contextlib.suppress(OSError):
                os.write(STDERR, b"\n")
            self._at_line_start = True

    def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            BrokenPipeError: the reader has gone.
            GeventechoError: it cannot be written.
        """
        if data:
            self._at_line_start = data.endswith(b"\n")
        unsent = memoryview(data)
        while unsent:
            wait_ready(self._watcher, None)
            try:
                unsent = unsent[os.write(self._descriptor, unsent[: select.PIPE_BUF]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise
            except OSError as error:
                raise GeventechoError(f"standard output cannot be written: {error.strerror}") from error
