"""Lines to a descriptor through a thread."""

from __future__ import annotations

import os
import select

from geventecho.service.lines import LineWriter
from tests.support.timing import PATIENCE, wait_until


def test_the_writer_waits_for_a_full_descriptor_that_does_not_block() -> None:
    """A parent such as Node or ssh may have made the pipe non-blocking."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lines = LineWriter(writer)
    for number in range(500):
        lines.write(f"{number:05d} {'x' * 5000}")  # more than PIPE_BUF: the pipe may take a part of it (pipe(7))
    wait_until(lambda: not select.select([], [writer], [], 0)[1], goal="the pipe is full")
    text = b""
    while text.count(b"\n") < 500 and select.select([reader], [], [], PATIENCE)[0]:
        text += os.read(reader, 65536)
    lines.stop()
    assert [(int(line[:5]), len(line)) for line in text.splitlines()] == [(number, 5006) for number in range(500)]
    assert lines.dropped == 0
    os.close(reader)
    os.close(writer)


def test_the_first_loss_is_reported_once_with_its_reason() -> None:
    reasons: list[str] = []
    full = os.open("/dev/full", os.O_WRONLY)
    lines = LineWriter(full, on_loss=reasons.append)
    for _ in range(3):
        lines.write("lost")
    wait_until(lambda: lines.dropped == 3)
    lines.stop()
    assert reasons == ["No space left on device"]
    os.close(full)


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    reader, writer = os.pipe()
    lines = LineWriter(writer, "ascii")
    lines.write("ü \udcff \u20ac")
    lines.stop()
    assert os.read(reader, 100) == rb"\xfc \udcff \u20ac" + b"\n"
    os.close(reader)
    os.close(writer)
