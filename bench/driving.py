"""Runs the C driver against a server and reads its result."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.contenders import BENCH, BOUND, BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.contenders import Server

__all__ = ["Result", "drive", "hold", "listen_overflows"]

DRIVER: Final = BENCH / "build" / "driver"
TLS_DRIVER: Final = BENCH / "build" / "driver_tls"
Result = dict[str, Any]  # the driver's JSON object; driver/report.c lists its fields
STOP_TIMEOUT: Final = 30.0  # seconds
LONGEST_RUN: Final = 120.0  # seconds


def drive(server: Server, arguments: tuple[str, ...], *, cpu: int, tls: bool = False) -> Result:
    """Make one run; returns its result, also one with failures.

    Raises:
        BenchError: the driver is not built, was misused, or did not end in time.
    """
    program = TLS_DRIVER if tls else DRIVER
    if not program.exists():
        raise BenchError(f"{program} does not exist: `make -C bench tls` builds it")
    try:
        done = subprocess.run(
            _command(program, server, arguments, cpu), capture_output=True, text=True, check=False, timeout=LONGEST_RUN
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"the driver did not end within {LONGEST_RUN:g} s") from error
    return _read(done.returncode, done.stdout, done.stderr)


@contextmanager
def hold(server: Server, connections: int, *, cpu: int) -> Iterator[int]:
    """Hold idle connections, each with one echo before, until the block ends. Yields their number."""
    arguments = ("--mode", "idle", "--size", "64", "--connections", str(connections))
    with subprocess.Popen(
        _command(DRIVER, server, arguments, cpu), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            if not first.startswith('{"ready"'):
                raise BenchError(f"the driver opened no {connections} connections: {first}{process.stdout.read()}")
            yield int(json.loads(first)["ready"])
            process.stdin.close()
            _read(process.wait(STOP_TIMEOUT), process.stdout.read(), "")
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"the driver did not end within {STOP_TIMEOUT:g} s") from error
        finally:
            process.kill()  # does nothing to a process that has ended


def _command(program: Path, server: Server, arguments: tuple[str, ...], cpu: int) -> list[str]:
    where = ("--port", str(server.port), "--server-pid", str(server.pid), "--cpu", str(cpu))
    return [*BOUND, str(program), *where, *arguments]


def _read(status: int, output: str, errors: str) -> Result:
    if status not in {0, 1}:
        raise BenchError(errors.strip() or f"the driver ended with status {status}")
    result: Result = json.loads(output)
    return result


def listen_overflows() -> int:
    """The connections that the kernel has refused because an accept queue was full, since the machine started.

    It is ListenDrops of /proc/net/netstat, which counts the overflows and every other SYN that a listener dropped.
    """
    names, values = (
        line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")
    )
    return int(values[names.index("ListenDrops")])
