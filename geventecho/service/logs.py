"""Log lines: one line for each message, written by a thread.

Only the command line calls this: the library logs, and never configures logging.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import traceback
from logging.handlers import QueueHandler
from typing import Any, Final

import gevent

from geventecho.service.lines import LineWriter

__all__ = ["ANSWER", "LogHandler", "configure", "report_hub_errors"]

ANSWER: Final = {"is_answer": True}
"""`extra` of a line that answers a command, such as a signal: a user waits for it."""
KINDS: Final = 1000
"""Kinds of warnings that are remembered. At a further kind the oldest one is forgotten, and passes again."""
LINE_LENGTH: Final = 2000
"""Characters of a message in the log."""
TRACEBACK_LENGTH: Final = 8000
"""Characters from the end of a traceback in the log. The error is at the end."""


class LogHandler(QueueHandler):
    """A handler that formats in the caller and writes in a thread.

    Args:
        fd: descriptor to write to.
    """

    def __init__(self, fd: int) -> None:
        self._writer = LineWriter(fd)
        super().__init__(self._writer.queue)

    @property
    def dropped(self) -> int:
        """Lines that were lost: the queue was full, they could not be formatted, or the descriptor took none."""
        return self._writer.dropped

    def prepare(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return self.format(record)

    def enqueue(self, line: Any) -> None:
        """Queue a line, or drop it when the queue is full."""
        self._writer.write(line)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        """Count a line that cannot be formatted. Logging would print a traceback, on the stream that may block."""
        self._writer.lose("it cannot be formatted")

    def start(self) -> None:
        """Start again, in a forked process. Forget the records that were held back: the parent writes them."""
        self._released()
        self._writer.start()

    def close(self) -> None:
        """Write the queued and the held-back records, for FLUSH_SECONDS at most."""
        for record in self._released():
            self.emit(record)
        self._writer.stop()
        super().close()

    def _released(self) -> list[logging.LogRecord]:
        return [record for each in self.filters if isinstance(each, OncePerSecond) for record in each.release()]


class OncePerSecond(logging.Filter):
    """A filter that passes one warning of a kind each second, with the number of warnings that it held back before.

    The kind is the message without its arguments. A record with `ANSWER` always passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}
        self._held: dict[str, tuple[logging.LogRecord, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or getattr(record, "is_answer", False):
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
        """Return the last record of each kind that is held back and not yet counted, and forget it."""
        held, self._held = self._held, {}
        for record, count in held.values():
            if count > 1:
                record.held_back = count - 1
        return [record for record, _ in held.values()]


class TextFormatter(logging.Formatter):
    """``time level logger: message`` on one line; a traceback follows on the same line."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname} {record.name}: {_message(record)}{_escaped(_traceback(record))}"


class JsonFormatter(logging.Formatter):
    """One JSON object in each line; the traceback is a field."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname, "logger": record.name, "message": _message(record)}
        if trace := _traceback(record):
            fields["traceback"] = trace
        return json.dumps(fields)


def configure(level: str, style: str, fd: int = 2) -> LogHandler:
    """Send the log lines of this process, and of the processes that it forks, to `fd`.

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
    """Log errors that the hub would print with a blocking write: one line with the place, the traceback at debug."""
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
