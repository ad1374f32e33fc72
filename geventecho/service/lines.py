"""Writes lines to a descriptor, through a bounded queue and a thread.

A write to a pipe or a terminal blocks when nobody reads. In the hub it would stop every connection. Here the hub only
queues a line. A line is dropped and counted when the queue is full.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from logging.handlers import QueueListener
from queue import SimpleQueue
from typing import Any, Final

__all__ = ["FLUSH_SECONDS", "QUEUE_LINES", "LineWriter"]

QUEUE_LINES: Final = 1000
FLUSH_SECONDS: Final = 0.25
"""Time limit for the last lines of each of the two outputs at the end of the process."""


class LineWriter(QueueListener):
    """Writes lines in a thread, in their order. The descriptor may also be a non-blocking one.

    Args:
        fd: descriptor to write to.
        encoding: the encoding of the lines. Characters that it lacks are written as backslash escapes.
        on_loss: is called with the reason when the first line is lost, in the thread or in the caller of `write`.

    Attributes:
        dropped: lines that were lost: the queue was full, or the descriptor took none.
    """

    queue: SimpleQueue[Any]

    def __init__(self, fd: int, encoding: str = "utf-8", on_loss: Callable[[str], object] = lambda _: None) -> None:
        # SimpleQueue and not Queue: the collector may run code that logs within put(), and Queue's lock would be taken
        # twice: a deadlock. SimpleQueue has no size limit.
        super().__init__(SimpleQueue())
        self._fd = fd
        self._encoding = encoding
        self._on_loss = on_loss
        self.start()

    def start(self) -> None:
        """Start the thread, with an empty queue: a forked process has its parent's lines, but not the thread.

        The thread is a daemon: a blocked write must not delay the exit of the interpreter.
        """
        self.queue, self._thread = SimpleQueue(), None
        self.dropped = self._reported = 0
        super().start()

    def write(self, line: str) -> None:
        """Queue a line, or drop it when the queue is full."""
        if self.queue.qsize() < QUEUE_LINES:
            self.queue.put_nowait(line)
        else:
            self.lose("nobody reads it")

    def lose(self, reason: str, lines: int = 1) -> None:
        """Count lost lines. Both threads call this: CPython does not switch threads within ``+=`` of an attribute."""
        self.dropped += lines
        if self.dropped == lines:
            self._on_loss(reason)

    def stop(self) -> None:
        """Write the queued lines, for FLUSH_SECONDS at most: the reader may have stopped reading. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self.enqueue_sentinel()
            thread.join(FLUSH_SECONDS)
            if unwritten := self.queue.qsize():  # the sentinel counts for the line that is being written
                self.lose("nobody reads it", unwritten)

    def handle(self, line: Any) -> None:
        """Write a line, in the thread."""
        dropped = self.dropped  # it may grow during the write
        try:
            if dropped > self._reported:
                self._write_all(f"{dropped - self._reported} lines were dropped")
                self._reported = dropped
            self._write_all(line)
        except OSError as error:
            self.lose(str(error.strerror))  # such as /dev/full, or a reader that has gone

    def _write_all(self, line: str) -> None:
        # Not a file object: a blocked write would hold its lock at the end of the process.
        data = line.encode(self._encoding, "backslashreplace") + b"\n"
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select.select((), (self._fd,), ())
