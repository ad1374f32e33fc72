"""Servers to test, in this process or as `geventecho serve` in another, and the checks of their counters."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any, Self, TypeVar

import gevent
from gevent import socket

from geventecho.address import Address
from geventecho.server.counters import Ending, Refusal
from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support.commands import environment
from tests.support.timing import PATIENCE, wait_until

Server = TypeVar("Server", bound=TcpServer)
LOCAL = "127.0.0.1:0"


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and stop it with a timeout of 0 at the end of the block."""
    server.start()
    try:
        yield server
    finally:
        server.stop(timeout=0)


def echo_server(**options: Any) -> contextlib.AbstractContextManager[EchoServer]:
    """A running EchoServer on a free port."""
    return running(EchoServer(LOCAL, **options))


def dial(server: TcpServer) -> socket.socket:
    """A cooperative client of a server in this process; each of its waits fails after PATIENCE."""
    assert server.address is not None
    return connect_to(server.address)


def connect_to(address: Address) -> socket.socket:
    """A cooperative client; each of its waits fails after PATIENCE."""
    sock = socket.socket(address.family or socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """All bytes until FIN."""
    chunks = []
    while chunk := sock.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """`count` bytes; fails at an earlier FIN."""
    received = bytearray()
    while len(received) < count:
        chunk = sock.recv(count - len(received))
        assert chunk, f"FIN after {len(received)} of {count} bytes"
        received += chunk
    return bytes(received)


def ping(sock: socket.socket, data: bytes = b"ping") -> None:
    """One echo, compared."""
    sock.sendall(data)
    assert read_exactly(sock, len(data)) == data


def transfer(client: socket.socket, size: int, chunk: int, pause: float) -> int:
    """Send `size` bytes, with a pause after each chunk, half-close, and read meanwhile; returns the bytes received."""

    def send() -> None:
        for _ in range(size // chunk):
            client.sendall(b"x" * chunk)
            gevent.sleep(pause)
        client.shutdown(socket.SHUT_WR)

    sending = gevent.spawn(send)
    received = len(read_to_end(client))
    sending.get()
    return received


def fill_output(server: TcpServer, client: socket.socket) -> int:
    """Send without reading until the server has output that the client does not take; returns the bytes sent."""
    client.setblocking(False)
    sent, end = 0, time.monotonic() + PATIENCE
    while not any(connection.pending for connection in server._registry.open):
        assert time.monotonic() < end, "the server never stopped reading"
        try:
            sent += client.send(b"x" * 65536)
        except BlockingIOError:
            pass
        gevent.sleep(0)
    return sent


def assert_adds_up(counters: dict[str, int], *, echoes: bool = True) -> None:
    """Check that each connection is refused, ended or open, and that each byte is returned, discarded or lost."""
    refused = sum(counters[f"refused_{refusal.value}"] for refusal in Refusal)
    ended = sum(counters[f"ended_{ending.value}"] for ending in Ending)
    assert counters["accepted"] == refused + ended + counters["open"], counters
    if echoes and not counters["open"]:
        accounted = counters["bytes_sent"] + counters["bytes_discarded"] + counters["bytes_lost"]
        assert counters["bytes_received"] == accounted, counters


def wait_for_ending(server: TcpServer, name: str) -> None:
    """Wait until one connection has ended for the reason `name`, and check the counters."""
    wait_until(lambda: server.counters[f"ended_{name}"] == 1, goal=f"ended_{name}: {server.counters}")
    assert_adds_up(server.counters)


def resident(pid: int) -> int:
    """The resident set of a process, in bytes."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Process:
    """A server program; killed at the end of the block if it still runs.

    Args:
        arguments: of the Python interpreter.
        prefix: a command that becomes the interpreter, with its arguments.
        stderr: a file for standard error; by default a temporary file that `errors` reads.
        options: of Popen.

    Attributes:
        target: the address in its first line.
        lines: further lines of standard output so far.
    """

    def __init__(
        self, *arguments: str, stderr: IO[Any] | int | None = None, prefix: tuple[str, ...] = (), **options: Any
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self.popen = subprocess.Popen(
                [*prefix, sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=self._stderr if stderr is None else stderr,
                text=True,
                **{"env": environment(), **options},
            )
        except BaseException:
            self._stderr.close()
            raise
        self.pid = self.popen.pid
        self.lines: list[str] = []
        assert self.popen.stdout is not None
        first = self.popen.stdout.readline().strip()
        self._reader = threading.Thread(target=self._read, daemon=True)
        if not first.startswith("listening on "):
            self.popen.wait(PATIENCE)
            self.__exit__()
            raise AssertionError(f"the server did not start: {first!r} {self.errors}")
        self.target = first.removeprefix("listening on ")
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def address(self) -> Address:
        return Address.parse(self.target)

    @property
    def errors(self) -> str:
        """Its output on standard error."""
        if self._stderr.closed:
            return self._last_errors
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode()

    def connect(self) -> socket.socket:
        """A cooperative client; each of its waits fails after PATIENCE."""
        return connect_to(self.address)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code; standard output is complete then. Greenlets run meanwhile."""
        wait_until(lambda: self.popen.poll() is not None, seconds, "the server's exit")
        self._reader.join(PATIENCE)
        return self.popen.returncode

    def stop(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.signal()
        return self.wait()

    def stop_and_count(self) -> dict[str, int]:
        """Send SIGTERM, and check for exit code 0; returns the counters that `geventecho serve` prints at its end."""
        assert self.stop() == 0, self.errors
        line = next(line for line in reversed(self.lines) if line.startswith("counters: "))
        return {name: int(value) for name, _, value in (word.partition("=") for word in line.split()[1:])}

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def memory(self) -> int:
        """Resident set, in bytes."""
        return resident(self.pid)

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        if self._reader.is_alive():
            self._reader.join(PATIENCE)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        self._last_errors = self.errors
        self._stderr.close()


def serve(*arguments: str, **options: Any) -> Process:
    """`geventecho serve` with these arguments, on a free port unless they have an address."""
    has_address = {"--listen", "--port"} & set(arguments) or (arguments and not arguments[0].startswith("-"))
    where = () if has_address else ("--port", "0")
    return Process("-m", "geventecho", "serve", *where, *arguments, **options)


def capacity(server: Process) -> str:
    """The line of `geventecho serve` with the number of connections that it has room for."""
    wait_until(lambda: server.lines)
    return server.lines[0]


def is_refused(address: Address) -> bool:
    """Whether a connect to the address is refused."""
    probe = socket.socket(address.family or socket.AF_INET, socket.SOCK_STREAM)
    probe.settimeout(1)
    try:
        probe.connect(address.sockaddr)
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except ConnectionResetError:
        return False  # the listener closed during the connect
    finally:
        probe.close()
    return False


def time_until_refused(address: Address, seconds: float = PATIENCE) -> float:
    """Seconds until a connect is refused, by the monotonic clock."""
    began = time.monotonic()
    while not is_refused(address):
        assert time.monotonic() - began < seconds, f"{address} still listens"
    return time.monotonic() - began
