"""Log lines through a bounded queue to a real thread: each record is one printable line, and no caller waits."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import gevent
import pytest

from geventecho.service import logs
from geventecho.service.lines import FLUSH_SECONDS, QUEUE_LINES
from tests.support import ROOT
from tests.support.properties import given, st
from tests.support.timing import PATIENCE, UNIT, wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading end, not blocking, and the writing end of a pipe."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture(autouse=True)
def root_logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo configure(), which changes the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)  # it cannot be undone
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def read(reader: int) -> str:
    try:
        return os.read(reader, 1 << 20).decode()
    except BlockingIOError:
        return ""


def lines_after(log: logs.LogHandler, reader: int) -> list[str]:
    log.close()
    return read(reader).splitlines()


def thread_of(log: logs.LogHandler) -> threading.Thread:
    thread = log._writer._thread
    assert thread is not None
    return thread


def record(message: str, *arguments: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("geventecho.test", level, "file", 1, message, arguments, None)


def test_text_lines_have_time_level_logger_and_message(pipe: tuple[int, int]) -> None:
    log = logs.configure("info", "text", pipe[1])
    logging.getLogger("geventecho.server").info("listening on %s", "tcp://127.0.0.1:1")
    logging.getLogger("geventecho.server").debug("not shown")
    (line,) = lines_after(log, pipe[0])
    stamp, rest = line.split(" ", 1)
    assert rest == "INFO geventecho.server: listening on tcp://127.0.0.1:1"
    assert time.strptime(stamp[:-5], "%Y-%m-%dT%H:%M:%S")
    assert stamp.endswith("Z")


def test_json_lines_are_objects(pipe: tuple[int, int]) -> None:
    log = logs.configure("debug", "json", pipe[1])
    logging.getLogger("geventecho.server").debug('say "%s"', "hello\n")
    (line,) = lines_after(log, pipe[0])
    found = json.loads(line)
    assert set(found) == {"time", "level", "logger", "message"}
    assert (found["level"], found["logger"], found["message"]) == ("DEBUG", "geventecho.server", 'say "hello\\n"')


@pytest.mark.parametrize("formatter", [logs.TextFormatter(), logs.JsonFormatter()], ids=["text", "json"])
@given(text=st.text(max_size=300) | st.text("\n\r\x1b\u202e\u2028\x85\0\ud800", max_size=50))
def test_any_message_is_one_printable_line(formatter: logging.Formatter, text: str) -> None:
    line = formatter.format(record("%s", text))
    assert line.isprintable()
    assert line.encode()


def test_a_message_is_bounded() -> None:
    assert len(logs.TextFormatter().format(record("%s", "x" * 1_000_000))) < 2200
    assert len(logs.TextFormatter().format(record("%s", "\x1b" * 1_000_000))) < 8200


def test_an_unread_pipe_blocks_no_caller_and_dropped_lines_are_counted(pipe: tuple[int, int]) -> None:
    log = logs.LogHandler(pipe[1])
    log.setFormatter(logs.TextFormatter())
    began = time.monotonic()
    for number in range(20_000):
        log.handle(record("line %06d %s", number, "x" * 100))
    assert time.monotonic() - began < PATIENCE / 2
    assert log.dropped > 10_000
    text = ""

    def read_all() -> bool:
        nonlocal text
        text += read(pipe[0])
        return log._writer.queue.empty()

    wait_until(read_all)
    log.handle(record("the last"))
    wait_until(read_all)
    log.close()
    text += read(pipe[0])
    lines = text.splitlines()
    reported = sum(int(line.split()[0]) for line in lines if line.endswith("lines were dropped"))
    assert reported == log.dropped
    assert sum("line" in line and "WARNING" in line for line in lines) == 20_000 - reported
    assert lines[-1].endswith("the last")


def test_closing_does_not_wait_for_a_reader_that_has_stopped(pipe: tuple[int, int]) -> None:
    log = logs.LogHandler(pipe[1])
    log.setFormatter(logs.TextFormatter())
    thread = thread_of(log)
    for _ in range(2000):
        log.handle(record("x" * 100))
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < FLUSH_SECONDS + 5 * UNIT
    log.close()
    assert time.monotonic() - began < FLUSH_SECONDS + 5 * UNIT, "the second close() does not wait"
    wait_until(lambda: read(pipe[0]) == "" and not thread.is_alive(), goal="the end of the thread")


@pytest.mark.parametrize("fault", ["/dev/full", "closed reader"])
def test_a_descriptor_that_takes_no_byte_loses_only_lines(fault: str) -> None:
    if fault == "/dev/full":
        fd = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, fd = os.pipe()
        os.close(reader)
    log = logs.LogHandler(fd)
    log.setFormatter(logs.TextFormatter())
    for _ in range(10):
        log.handle(record("lost"))
    wait_until(lambda: log.dropped == 10)
    assert thread_of(log).is_alive()
    log.close()
    os.close(fd)


def test_a_full_queue_and_a_wrong_format_print_nothing(
    pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert logging.raiseExceptions
    log = logs.configure("info", "text", pipe[1])
    logger = logging.getLogger("geventecho.test")
    logger.info("%d", "no number")
    assert log.dropped == 1
    for number in range(4 * QUEUE_LINES):
        logger.info("line %d", number)
    assert log.dropped > QUEUE_LINES
    log.close()
    assert capfd.readouterr() == ("", "")


def test_a_forked_process_has_a_thread_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.service.scripts.logging_fork"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = [line.split(" ", 2)[2] for line in done.stderr.splitlines()]
    expected = [f"{name}: line {number}" for name in ("child", "parent") for number in range(3)]
    assert sorted(lines) == sorted([*expected, "parent: before"])


def raised(message: str) -> Exception:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_a_traceback_is_escaped_on_the_line_of_its_record(pipe: tuple[int, int]) -> None:
    log = logs.configure("debug", "text", pipe[1])
    logging.getLogger("geventecho.server").debug("the handler failed", exc_info=raised("first\nsecond\x1b"))
    (line,) = lines_after(log, pipe[0])
    assert line.isprintable()
    assert "DEBUG geventecho.server: the handler failed\\nTraceback (most recent call last):\\n  File" in line
    assert line.endswith("\\nValueError: first\\nsecond\\x1b")
    assert "test_logs.py" in line


def test_a_traceback_is_a_field_of_a_json_line(pipe: tuple[int, int]) -> None:
    log = logs.configure("debug", "json", pipe[1])
    logging.getLogger("geventecho.server").debug("the handler failed", exc_info=raised("first"))
    logging.getLogger("geventecho.server").debug("nothing was raised", exc_info=True)
    first, second = map(json.loads, lines_after(log, pipe[0]))
    assert first["message"] == "the handler failed"
    assert first["traceback"].splitlines()[-1] == "ValueError: first"
    assert "traceback" not in second


@pytest.mark.parametrize("formatter", [logs.TextFormatter(), logs.JsonFormatter()], ids=["text", "json"])
def test_a_traceback_is_bounded_and_keeps_its_end(formatter: logging.Formatter) -> None:
    error = raised("x" * 100_000 + "the end")
    found = logging.LogRecord("test", logging.DEBUG, "file", 1, "failed", (), (type(error), error, error.__traceback__))
    line = formatter.format(found)
    assert len(line) < 8500
    assert "the end" in line


def test_a_line_that_cannot_be_formatted_is_dropped_and_raises_no_error(pipe: tuple[int, int]) -> None:
    class Awkward:
        def __str__(self) -> str:
            raise RuntimeError("a bug")

    log = logs.LogHandler(pipe[1])
    log.setFormatter(logs.TextFormatter())
    log.handle(record("%s", Awkward()))
    log.handle(record("%d", "wrong type"))
    assert log.dropped == 2
    log.close()


def test_a_repeated_warning_is_one_line_a_second_with_a_count(pipe: tuple[int, int]) -> None:
    log = logs.configure("debug", "text", pipe[1])
    logger = logging.getLogger("geventecho.server")
    began = time.monotonic()
    for number in range(100):
        logger.warning("accept on %s failed", number)
    logger.warning("another kind")
    logger.debug("lines of debug")
    logger.debug("lines of debug")
    while time.monotonic() - began < 1.05:
        gevent.sleep(0.05)
    logger.warning("accept on %s failed", "again")
    lines = [line.split(": ", 1)[1] for line in lines_after(log, pipe[0])]
    assert lines == [
        "accept on 0 failed",
        "another kind",
        "lines of debug",
        "lines of debug",
        "accept on again failed (and 99 more like it)",
    ]


def test_lines_that_were_held_back_are_written_at_the_end(pipe: tuple[int, int]) -> None:
    log = logs.configure("info", "text", pipe[1])
    for number in range(100):
        logging.getLogger("geventecho.server").warning("accept on %s failed", number)
    logging.getLogger("geventecho.server").warning("once")
    for _ in range(2):
        logging.getLogger("geventecho.server").warning("twice")
    lines = [line.split(": ", 1)[1] for line in lines_after(log, pipe[0])]
    assert lines == ["accept on 0 failed", "once", "twice", "accept on 99 failed (and 98 more like it)", "twice"]


def test_any_number_of_kinds_of_messages_takes_bounded_memory(pipe: tuple[int, int]) -> None:
    log = logs.LogHandler(pipe[1])
    log.setFormatter(logs.TextFormatter())
    once = logs.OncePerSecond()
    log.addFilter(once)
    for number in range(3000):
        log.handle(record(f"kind {number}"))
    for message in ({"un": "hashable"}, ValueError("error"), None):
        log.handle(record(message))  # type: ignore[arg-type]
    assert len(once._passed) == logs.KINDS
    wait_until(lambda: read(pipe[0]) == "" and log._writer.queue.empty())
    log.close()


def test_an_error_that_the_hub_would_print_becomes_a_line(
    pipe: tuple[int, int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "print_exception", hub.print_exception)
    log = logs.configure("warning", "text", pipe[1])
    logs.report_hub_errors()

    def fails() -> None:
        raise ValueError("first\nsecond" + "x" * 5000)

    gevent.spawn_raw(fails)
    gevent.sleep(0)  # it runs, and fails
    (line,) = lines_after(log, pipe[0])
    assert "unexpected ValueError in " in line
    assert "test_logs.py:" in line
    assert len(line) < 2200
    assert capfd.readouterr().err == ""
