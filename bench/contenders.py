"""The servers that are compared: one small server per peer, each started the same way on a core of its own."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BOUND", "CONTENDERS", "OURS", "BenchError", "Contender", "Server", "missing", "running"]

BENCH: Final = Path(__file__).parent
BOUND: Final = ("setpriv", "--pdeathsig", "KILL")
"""The words before a command: it ends with this process, even when that is killed (prctl(2), PR_SET_PDEATHSIG)."""

START_TIMEOUT: Final = 20.0  # seconds
STOP_TIMEOUT: Final = 10.0  # seconds


class BenchError(Exception):
    """Raised when a run cannot be made or its result cannot be used."""


@dataclass(frozen=True)
class Contender:
    """One server of the comparison.

    Attributes:
        name: its name in the tables.
        command: program and arguments; it prints a line that ends in its port once it listens.
        needs: a program or file without which it is left out.
        toolchain: the tool that makes that file.
        module: a Python module without which it is left out.
        tls: the command of the same server through TLS, with the certificate of tls-programs in the Makefile, or empty.
    """

    name: str
    command: tuple[str, ...]
    needs: str | None = None
    toolchain: str | None = None
    module: str | None = None
    tls: tuple[str, ...] = ()

    def lacks(self) -> str | None:
        """The reason why it cannot run here, or None if it can."""
        if self.needs is not None and shutil.which(self.needs) is None:
            built = os.sep in self.needs
            return f"{self.toolchain or self.needs} is not installed{', or did not build it' if built else ''}"
        if self.module is not None and not _has_module(self.module):
            return f"the Python module {self.module} is not installed"
        return None


@cache
def _has_module(name: str) -> bool:
    check = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, check=False)
    return check.returncode == 0


def _script(name: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, str(BENCH / "servers" / name), "0", *more)


def _program(name: str) -> tuple[str, ...]:
    return (str(BENCH / "build" / name), "0")


SERVE: Final = (sys.executable, "-m", "geventecho", "serve", "--port", "0")
PAIR: Final = (str(BENCH / "build" / "certificate.pem"), str(BENCH / "build" / "key.pem"))
OURS: Final = Contender("geventecho", SERVE, module="gevent", tls=(*SERVE, "--tls-cert", PAIR[0], "--tls-key", PAIR[1]))
TLS: Final = ("--tls", *PAIR)
NODE: Final = ("node", str(BENCH / "servers" / "node_pipe.js"), "0")
NODE_TLS: Final = ("node", str(BENCH / "servers" / "node_tls.js"), "0", *PAIR)

CONTENDERS: Final = (
    OURS,
    Contender("greenlet loop", _script("greenlet_loop.py"), module="gevent"),
    Contender("TcpServer recv/sendall", _script("tcp_server_handler.py"), module="gevent"),
    Contender("gevent recv/sendall", _script("gevent_plain.py"), module="gevent", tls=_script("gevent_plain.py", *TLS)),
    Contender("asyncio streams", _script("asyncio_streams.py")),
    Contender("asyncio Protocol", _script("asyncio_protocol.py"), tls=_script("asyncio_protocol.py", *TLS)),
    Contender("uvloop streams", _script("asyncio_streams.py", "uvloop"), module="uvloop"),
    Contender(
        "uvloop Protocol",
        _script("asyncio_protocol.py", "uvloop"),
        module="uvloop",
        tls=_script("asyncio_protocol.py", "uvloop", *TLS),
    ),
    Contender("trio", _script("trio_streams.py"), module="trio"),
    Contender("Node pipe", NODE, needs="node", toolchain="Node", tls=NODE_TLS),
    Contender("Go io.Copy", _program("go_echo"), needs=str(BENCH / "build" / "go_echo"), toolchain="Go"),
    Contender("C epoll", _program("c_epoll"), needs=str(BENCH / "build" / "c_epoll"), toolchain="a C compiler"),
)


def missing() -> list[str]:
    """One line for each toolchain that is missing, with the peers that are left out."""
    peers: dict[str, list[str]] = {}
    for contender in CONTENDERS:
        if reason := contender.lacks():
            peers.setdefault(reason, []).append(contender.name)
    return [f"left out: {', '.join(names)} ({reason})" for reason, names in peers.items()]


@dataclass(frozen=True)
class Server:
    """A contender that listens."""

    pid: int
    port: int

    def resident_kib(self) -> int:
        """Memory held now, in KiB (proc(5), VmRSS)."""
        found = re.search(r"^VmRSS:\s+(\d+) kB$", self._read("status"), re.MULTILINE)
        if found is None:
            raise BenchError(f"the server, process {self.pid}, has ended")
        return int(found[1])

    def cpu_ticks(self) -> int:
        """User and system time so far, in clock ticks (proc(5), utime and stime)."""
        fields = self._read("stat").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def _read(self, name: str) -> str:
        try:
            return Path(f"/proc/{self.pid}/{name}").read_text()
        except OSError as error:
            raise BenchError(f"the server, process {self.pid}, has ended") from error


@contextmanager
def running(command: tuple[str, ...], *, cpu: int, log: Path) -> Iterator[Server]:
    """A server on one CPU, from its first line of output until the block ends. Its stderr goes to `log`."""
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parent), "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as errors:
        process = subprocess.Popen(
            (*BOUND, "taskset", "-c", str(cpu), *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=BENCH.parent,
        )
    try:
        yield Server(process.pid, _read_port(process, log))
    finally:
        _stop(process)


def _read_port(process: subprocess.Popen[bytes], log: Path) -> int:
    assert process.stdout is not None
    text = b""
    deadline = time.monotonic() + START_TIMEOUT
    while b"\n" not in text:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        more = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not more:
            raise BenchError(f"{process.args!r} did not print its port; its errors are in {log}")
        text += more
    found = re.match(rb".*:(\d+)\s*$", text.splitlines()[0])
    if found is None:
        raise BenchError(f"{process.args!r} printed {text!r} instead of its port")
    return int(found[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when a signal stops this process during the wait
        process.kill()  # does nothing to a process that has ended
        process.wait()
        process.stdout.close()
