"""Servers that others wrote, from Debian: redis-server and memcached, each on a free port while the block runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.locust_process import free_port
from tests.support.timing import wait_until

COMMANDS = {
    "redis-server": ["--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
    "memcached": ["-u", "nobody", "-l", "127.0.0.1", "-p", "{port}", "-U", "0"],
}


@contextlib.contextmanager
def real_server(name: str) -> Iterator[int]:
    """Run it; gives its port. Without it the test is skipped, on CI it fails."""
    program = shutil.which(name)
    if program is None:
        reason = f"there is no {name} on this machine: apt-get install {name}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    port = free_port()
    arguments = [argument.format(port=port) for argument in COMMANDS[name]]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(process, port), what=f"{name} on port {port}")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "it ended"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
