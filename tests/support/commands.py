"""`geventecho` commands as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.support.timing import SCALE

COMMAND = (sys.executable, "-W", "error", "-m", "geventecho")
SECONDS = 60 * SCALE


def environment(**names: str) -> dict[str, str]:
    """This process's environment without what would configure the command, and with `names`."""
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


def started(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `geventecho ARGUMENTS` with pipes for all three streams."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def send(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `geventecho send ARGUMENTS` to its end."""
    return command(["send", *arguments], given=given)


def failed(done: subprocess.CompletedProcess[bytes], *words: str) -> str:
    """It ended with 1 and one line on standard error that names the command and has these words; returns the line."""
    assert done.returncode == 1, done
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"geventecho {done.args[len(COMMAND)]}: ")
    for word in words:
        assert word in line
    return line
