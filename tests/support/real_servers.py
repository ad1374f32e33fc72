"""Servers of other projects, from Debian: redis-server, memcached and HAProxy, on free ports while the block runs."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.locust_process import free_port
from tests.support.missing import skip
from tests.support.timing import wait_until

COMMANDS = {
    "redis-server": ["--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
    "memcached": ["-u", "nobody", "-l", "127.0.0.1", "-p", "{port}", "-U", "0"],
}

HAPROXY = """
global
    stats socket {api} mode 600 level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option redispatch
    retries 3
listen echo
    bind 127.0.0.1:{port} {tls}
    default-server check inter 100ms fall 1 rise 1
    {servers}
"""


@contextlib.contextmanager
def real_server(name: str) -> Iterator[int]:
    """Run the server; yields its port. Where it is not installed the test is skipped, and on CI it fails."""
    port = free_port()
    with _running(name, port, [argument.format(port=port) for argument in COMMANDS[name]]):
        yield port


class HAProxy:
    """HAProxy in TCP mode, with one backend.

    Args:
        folder: for its files.
        servers: the lines of the backend's servers.
        tls: options of `bind` with which HAProxy ends TLS itself, such as "ssl crt FILE".

    Attributes:
        port: of its listener on 127.0.0.1.
    """

    def __init__(self, folder: Path, *servers: str, tls: str = "") -> None:
        self.port = free_port()
        self._folder = folder
        self._api = folder / "haproxy.sock"
        lines = "\n    ".join(servers)
        (folder / "haproxy.cfg").write_text(HAPROXY.format(api=self._api, port=self.port, servers=lines, tls=tls))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with _running("haproxy", self.port, ["-db", "-q", "-f", str(self._folder / "haproxy.cfg")]):
            wait_until(self._api.exists)  # HAProxy renames it into place after its port listens
            yield

    def tell(self, command: str) -> str:
        """Give a command to the runtime API; returns the answer."""
        with socket.socket(socket.AF_UNIX) as api:
            api.connect(str(self._api))
            api.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: api.recv(65536), b"")).decode()

    def figures(self, server: str) -> dict[str, str]:
        """Its statistics of a server, by the names of `show stat`."""
        names, *rows = csv.reader(self.tell("show stat").removeprefix("# ").splitlines())
        return next(found for row in rows if (found := dict(zip(names, row, strict=False))).get("svname") == server)


@contextlib.contextmanager
def _running(name: str, port: int, arguments: list[str]) -> Iterator[None]:
    program = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    if program is None:
        skip(f"there is no {name} on this machine: apt-get install {name}")
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(process, port), goal=f"{name} on port {port}")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "the server ended"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
