"""Log lines through a bounded queue to a real thread.

A write to standard error blocks when nobody reads the pipe behind it, and would stop the hub with every connection.
Here the hub only queues; a full queue drops the line and counts it. Only the command line calls this: the library logs,
and never configures logging.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import traceback
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import Any, Final

import gevent

__all__ = ["LogHandler", "configure", "report_hub_errors"]

QUEUE_LINES: Final = 1000
KINDS: Final = 1000
"""How many kinds of warnings are remembered; beyond that the oldest one is forgotten, and passes again."""
LINE_LENGTH: Final = 2000
"""Characters of a message that reach the log."""
TRACEBACK_LENGTH: Final = 8000
"""Characters of a traceback that reach the log: its end, where the error is."""
FLUSH_SECONDS: Final = 0.5
"""How long the end of the process waits for the last lines."""


class LogHandler(QueueHandler):
    """A handler that formats in the caller and writes in a thread of its own.

    Args:
        fd: descriptor to write to.

    Attributes:
        fd: as given.
        dropped: lines that were lost: the queue was full, they could not be formatted, or the descriptor took none.
    """

    queue: SimpleQueue[Any]

    def __init__(self, fd: int) -> None:
        super().__init__(SimpleQueue())
        self.fd = fd
        self.start()

    def start(self) -> None:
        """Start the thread, with an empty queue: a forked process has its parent's lines, but not its thread."""
        # SimpleQueue and not Queue: the collector may run code that logs within put(), and Queue's lock would then wait
        # for itself. SimpleQueue has no limit of its own.
        self.queue = SimpleQueue()
        self.dropped = 0
        self._writer = LogWriter(self)
        self._writer.start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a formatted record, or drop it when the queue is full."""
        if self.queue.qsize() < QUEUE_LINES:
            super().enqueue(record)
        else:
            self.dropped += 1

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 (the names are logging's)
        """Count a line that cannot be formatted. Logging would print a traceback, on the stream that may block."""
        self.dropped += 1

    def close(self) -> None:
        """Write what is queued and held back, for half a second at most: the reader may have stopped reading."""
        for record in [record for each in self.filters if isinstance(each, OncePerSecond) for record in each.release()]:
            self.emit(record)
        self._writer.stop()
        super().close()


class LogWriter(QueueListener):
    """The thread, which writes each line to a descriptor.

    Args:
        handler: has the queue, the descriptor, and the count of dropped lines. Both threads add to the count: CPython
            does not switch within ``+= 1``.
    """

    def __init__(self, handler: LogHandler) -> None:
        super().__init__(handler.queue)
        self._handler = handler
        self._reported = 0

    def handle(self, record: logging.LogRecord) -> None:
        """Write a record, after a line about those that were dropped before it."""
        dropped = self._handler.dropped  # it goes on growing while this is written
        try:
            if dropped > self._reported:
                self._write(f"{dropped - self._reported} log lines were dropped")
                self._reported = dropped
            self._write(record.msg)
        except OSError:
            self._handler.dropped += 1  # /dev/full, or a reader that has gone: the service goes on

    def stop(self) -> None:
        """End after the lines that are queued, or leave the thread alone after FLUSH_SECONDS (the base waits on)."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self.enqueue_sentinel()
            thread.join(FLUSH_SECONDS)

    def _write(self, line: str) -> None:
        # Not to a file object: it has a lock, which a blocked write would hold at the process's end.
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        while data:
            data = data[os.write(self._handler.fd, data) :]


class OncePerSecond(logging.Filter):
    """A filter that lets one warning of a kind pass a second, with the number of those that it held back since.

    The kind is the message before its arguments are filled in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}
        self._held: dict[str, tuple[logging.LogRecord, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind, now = str(record.msg), time.monotonic()
        if now - self._passed.get(kind, -math.inf) < 1.0:
            self._held[kind] = (record, self._held.get(kind, (record, 0))[1] + 1)
            return False
        if len(self._passed) >= KINDS:
            del self._passed[next(iter(self._passed))]
        self._passed[kind] = now
        if kind in self._held:
            record.held_back = self._held.pop(kind)[1]
        return True

    def release(self) -> list[logging.LogRecord]:
        """Return the last record of each kind that was held back and not counted since, and forget them."""
        held, self._held = self._held, {}
        for record, count in held.values():
            if count > 1:
                record.held_back = count - 1
        return [record for record, _ in held.values()]


class TextFormatter(logging.Formatter):
    """``time level logger: message`` on one line, whatever the message holds; a traceback follows on the same line."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname} {record.name}: {_message(record)}{_escaped(_traceback(record))}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line; a traceback is a field of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname, "logger": record.name, "message": _message(record)}
        if trace := _traceback(record):
            fields["traceback"] = trace
        return json.dumps(fields)


def configure(level: str, style: str, fd: int = 2) -> LogHandler:
    """Send the log lines of this process, and of those that it forks, to `fd`.

    Args:
        level: "debug", "info", "warning" or "error".
        style: "text" or "json".
        fd: a descriptor; standard error by default.
    """
    handler = LogHandler(fd)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.addFilter(OncePerSecond())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    os.register_at_fork(after_in_child=handler.start)
    return handler


def report_hub_errors() -> None:
    """Log what the hub would print with a blocking write: one line with the place, and the traceback at debug."""
    logger = logging.getLogger("geventecho.hub")

    def report(_context: object, kind: type[BaseException], value: BaseException, trace: Any) -> None:
        frames = list(traceback.walk_tb(trace))
        where = f"{frames[-1][0].f_code.co_filename}:{frames[-1][1]}" if frames else "an unknown place"
        logger.error("unexpected %s in %s: %s", kind.__name__, where, value)
        logger.debug("unexpected %s", kind.__name__, exc_info=(kind, value, trace))

    gevent.get_hub().print_exception = report


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    held = getattr(record, "held_back", 0)
    if held:
        text += f" (and {held} more like it)"
    return _escaped(text[:LINE_LENGTH])


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()[-TRACEBACK_LENGTH:]


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
