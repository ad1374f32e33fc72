"""Log lines through a bounded queue to a real thread.

Writing to standard error blocks when nobody reads the pipe behind it, and would stop the hub with every connection.
Here the hub only queues; a full queue drops the line and counts it. Only the command line calls this: the library logs,
and never configures logging.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
import time
from typing import Any, Final

import gevent

__all__ = ["LogThread", "configure", "report_hub_errors"]

QUEUE_LINES: Final = 1000
KINDS: Final = 1000
"""Kinds of warnings that are told apart; more make the earliest ones pass more often."""
LINE_LENGTH: Final = 2000
"""Characters of a message that reach the log."""
FLUSH_SECONDS: Final = 0.5
"""How long the end of the process waits for the last lines."""


class LogThread(logging.Handler):
    """A handler that formats in the caller and writes in a thread of its own.

    Args:
        fd: descriptor to write to.

    Attributes:
        dropped: lines that were lost, to a full queue or to a descriptor that does not take them.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.dropped = 0
        self._fd = fd
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_lines, name="geventecho-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= QUEUE_LINES:
            self.dropped += 1
            return
        try:
            self._lines.put(self.format(record))
        except Exception:  # a line that cannot be made is a line lost, not a reason to fail
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued and held back, for half a second at most: the reader may have stopped reading."""
        for record in (record for each in self.filters if isinstance(each, OncePerSecond) for record in each.rest()):
            self.emit(record)
        self._lines.put(None)
        self._thread.join(FLUSH_SECONDS)
        super().close()

    def _write_lines(self) -> None:
        told = 0
        while (line := self._lines.get()) is not None:
            dropped = self.dropped  # which goes on growing while this is written
            if dropped > told and self._write(f"{dropped - told} log lines were dropped"):
                told = dropped
            if not self._write(line):
                self.dropped += 1

    def _write(self, line: str) -> bool:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            return False  # /dev/full, a closed reader: the service goes on
        return True


class OncePerSecond(logging.Filter):
    """Lets a warning of the same kind pass once a second, and says then how many it held back.

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

    def rest(self) -> list[logging.LogRecord]:
        """The last record of each kind that was held back and not told of since."""
        held, self._held = self._held, {}
        for record, count in held.values():
            if count > 1:
                record.held_back = count - 1
        return [record for record, _ in held.values()]


class TextFormatter(logging.Formatter):
    """``time level logger: message`` on one line, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname} {record.name}: {_message(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname, "logger": record.name, "message": _message(record)}
        return json.dumps(fields)


def configure(level: str, style: str, fd: int = 2) -> LogThread:
    """Send the process's log lines to `fd`.

    Args:
        level: "debug", "info", "warning" or "error".
        style: "text" or "json".
        fd: a descriptor; standard error by default.
    """
    handler = LogThread(fd)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.addFilter(OncePerSecond())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # A line that cannot be written is counted, not reported on the very stream that fails.
    logging.raiseExceptions = False
    return handler


def report_hub_errors() -> None:
    """Log what the hub would print as a traceback, in one line: it prints with a blocking write."""
    logger = logging.getLogger("geventecho.hub")

    def report(_context: object, kind: type[BaseException], value: BaseException, trace: Any) -> None:
        last = trace
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else "nowhere"
        logger.error("unexpected %s in %s: %s", kind.__name__, where, value)

    gevent.get_hub().print_exception = report


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    held = getattr(record, "held_back", 0)
    if held:
        text += f" (and {held} more like it)"
    text = text[:LINE_LENGTH]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
