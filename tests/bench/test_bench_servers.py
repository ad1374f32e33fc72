"""Every server of the comparison returns all bytes, also to a peer that reads late."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from bench.contenders import CONTENDERS, Contender, running
from tests.support import ROOT
from tests.support.timing import PATIENCE

MAX_HELD = 32 * 1024  # KiB: half of the bytes that the peer below reads late


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    make = ["make", "-C", str(ROOT / "bench"), "programs"]
    subprocess.run(make, check=True, capture_output=True, timeout=6 * PATIENCE)


@pytest.mark.parametrize(
    "contender",
    [
        pytest.param(contender, id=contender.name, marks=() if contender.name == "geventecho" else pytest.mark.long)
        for contender in CONTENDERS
    ],
)
def test_a_server_returns_every_byte_and_holds_little_memory_for_a_slow_peer(
    contender: Contender, tmp_path: Path
) -> None:
    """The server also survives a reset, and ends the connection after the last byte."""
    if reason := contender.lacks():
        pytest.skip(reason)
    payload = os.urandom(1 << 20) * 64
    cpu = min(os.sched_getaffinity(0))
    with running(contender.command, cpu=cpu, log=tmp_path / "errors") as server:
        with _connected(server.port) as resetting:
            resetting.sendall(b"x" * 100_000)
            resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        before = server.resident_kib()
        with _connected(server.port) as peer:
            sender = threading.Thread(target=_send, args=(peer, payload))
            sender.start()
            sender.join(0.5)
            assert sender.is_alive()  # the server takes no more than the kernel's buffers and a little
            assert server.resident_kib() - before < MAX_HELD
            back = bytearray()
            while data := peer.recv(1 << 20):
                back += data
            sender.join(PATIENCE)
        assert back == payload


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def _send(peer: socket.socket, payload: bytes) -> None:
    peer.sendall(payload)
    peer.shutdown(socket.SHUT_WR)
