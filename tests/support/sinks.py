"""Descriptors for a program's output that cannot be written to for long: context managers of a descriptor."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

CTRL_S = b"\x13"


@contextlib.contextmanager
def unread_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield writer
    os.close(reader)
    os.close(writer)


@contextlib.contextmanager
def closed_reader() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextlib.contextmanager
def full_device() -> Iterator[int]:
    fd = os.open("/dev/full", os.O_WRONLY)
    yield fd
    os.close(fd)


@contextlib.contextmanager
def stopped_terminal() -> Iterator[int]:
    terminal, inner = os.openpty()
    os.write(terminal, CTRL_S)
    yield inner
    os.close(terminal)
    os.close(inner)
