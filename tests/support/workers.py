"""The processes, sockets and counters of a `geventecho serve --workers`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from gevent import socket

from tests.support.servers import Process
from tests.support.timing import wait_until

__all__ = ["count_now", "open_sockets", "without_module", "worker_of", "workers"]


def workers(server: Process) -> list[int]:
    """The pids of its children, in the order of their starts."""
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def count_now(server: Process) -> dict[str, int]:
    """The sums of the counters that SIGUSR1 prints."""

    def printed() -> list[str]:
        return [line for line in server.lines if line.startswith("counters: ")]

    before = len(printed())
    server.signal(signal.SIGUSR1)
    wait_until(lambda: len(printed()) > before)
    words = (word.partition("=") for word in printed()[-1].split()[1:])
    counts = {name: int(value) for name, _, value in words if value}  # "counters: none" has no value
    return dict.fromkeys(("open", "restarts", "ended_killed"), 0) | counts


def _sockets(pid: int) -> list[str]:
    """The link of each descriptor of a socket."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return [link for link in links if link.startswith("socket:")]


def open_sockets(pid: int) -> int:
    """The number of descriptors of TCP sockets in a process; two of the same socket count twice."""
    tcp = {f"socket:[{row.split()[9]}]" for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]}
    return sum(name in tcp for name in _sockets(pid))


def worker_of(server: Process, client: socket.socket) -> int:
    """The pid of the worker that serves a client of 127.0.0.1, once a worker has accepted it."""
    port = f":{client.getsockname()[1]:04X}"

    def found() -> list[int]:
        rows = [row.split() for row in Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]]
        names = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(port)}
        return [pid for pid in workers(server) if names.intersection(_sockets(pid))]

    wait_until(found)
    return found()[0]


def without_module(name: str, folder: Path) -> dict[str, str]:
    """The environment of a command that cannot import the module `name`."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{name!r}] = None\n")
    return {"PYTHONPATH": str(folder)}
