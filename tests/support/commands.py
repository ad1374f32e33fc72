"""`geventecho` commands as processes."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import gevent
import pytest

from geventecho.cli import arguments as arguments_module
from geventecho.cli.commands import main
from tests.support.timing import SCALE

COMMAND = (sys.executable, "-W", "error", "-m", "geventecho")
SECONDS = 60 * SCALE


def environment(**names: str) -> dict[str, str]:
    """This process's environment without the variables that configure the command, and with `names`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GEVENTECHO_")}
    return clean | names


def command(
    arguments: Sequence[str], *, given: bytes = b"", names: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `geventecho ARGUMENTS` to its end, with `given` as standard input."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=given,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env=environment(**names or {}),
    )


@contextlib.contextmanager
def in_this_process(**names: str) -> Iterator[None]:
    """Let a command run here with `names` in the environment, and undo its changes to the process."""
    hub, root = gevent.get_hub(), logging.getLogger()
    handlers, level, limit = root.handlers[:], root.level, resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        mock.patch.dict(os.environ, environment(**names), clear=True),
        mock.patch.object(gevent, "signal_handler"),  # a handler would be the whole process's
        mock.patch.object(hub, "NOT_ERROR", hub.NOT_ERROR),
        mock.patch.object(hub, "print_exception", hub.print_exception),
        mock.patch.object(logging, "raiseExceptions", logging.raiseExceptions),
    ):
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def run_here(
    arguments: Sequence[str], *, given: bytes = b"", names: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """As `command`, in this process: a new one takes a third of a second. Meanwhile the standard streams are files."""
    outputs = (1, 2)
    kept = [os.dup(number) for number in outputs]
    with contextlib.ExitStack() as files:
        source, *streams = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        source.write(given)
        source.seek(0)
        for number, stream in zip(outputs, streams, strict=True):
            os.dup2(stream.fileno(), number)
        try:
            with in_this_process(**names or {}), mock.patch.object(sys, "stdin", source):
                code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            for number, descriptor in zip(outputs, kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
        found = [os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0) for stream in streams]
    return subprocess.CompletedProcess([*COMMAND, *arguments], code, *found)


def usage_error(*arguments: str, names: dict[str, str] | None = None) -> str:
    """Run `geventecho ARGUMENTS` in this process: a new one takes a third of a second.

    It must end with 2 and print an error and a hint; returns the error without the command's name.
    """
    with (
        in_this_process(**names or {}),
        mock.patch.object(arguments_module, "print_error") as print_error,
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    assert ended.value.code == 2
    text: str = print_error.call_args.args[0]
    error, hint = text.splitlines()
    command_name = f"geventecho {arguments[0]}"
    assert hint == f"Try '{command_name} --help'."
    assert error.startswith(f"{command_name}: error: ")
    return error.removeprefix(f"{command_name}: error: ")


def started(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `geventecho ARGUMENTS` with pipes for all three streams."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def handles_signal(process: subprocess.Popen[Any], number: int) -> bool:
    """Whether the process has a handler for a signal now (proc(5), SigCgt)."""
    with open(f"/proc/{process.pid}/status") as status:
        (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("SigCgt:")]
    return bool(mask & 1 << (number - 1))


def send(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `geventecho send ARGUMENTS` to its end, in this process."""
    return run_here(["send", *arguments], given=given)


def failed(done: subprocess.CompletedProcess[bytes], *words: str) -> str:
    """Check for exit code 1 and one line of errors that has the command and these words; returns the line."""
    assert done.returncode == 1, done
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"geventecho {done.args[len(COMMAND)]}: ")
    for word in words:
        assert word in line
    return line
