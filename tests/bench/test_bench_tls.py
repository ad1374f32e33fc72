"""The TLS driver compares every byte, and the TLS servers of the comparison return every byte."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.contenders import CONTENDERS, PAIR, Contender, running
from tests.support import ROOT
from tests.support.timing import PATIENCE, UNIT

DRIVER = ROOT / "bench" / "build" / "driver_tls"
SECURE = [contender for contender in CONTENDERS if contender.tls]


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    if not Path("/usr/include/openssl/ssl.h").exists():
        pytest.skip("OpenSSL's headers are not installed")
    make = ["make", "-C", str(ROOT / "bench"), "tls-programs"]
    subprocess.run(make, check=True, capture_output=True, timeout=6 * PATIENCE)


def drive(port: int, *arguments: str) -> dict[str, Any]:
    """The driver's result."""
    command = [str(DRIVER), "--port", str(port), "--warmup", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    "contender",
    [
        pytest.param(contender, id=contender.name, marks=() if contender.name == "geventecho" else pytest.mark.long)
        for contender in SECURE
    ],
)
def test_every_byte_comes_back_through_tls(contender: Contender, tmp_path: Path) -> None:
    if reason := contender.lacks():
        pytest.skip(reason)
    with running(contender.tls, cpu=min(os.sched_getaffinity(0)), log=tmp_path / "errors") as server:
        for size in ("1", "16384", "300000"):
            result = drive(server.port, "--size", size, "--connections", "3", "--duration", str(UNIT))
            assert result["first_failure"] == ""
            assert result["totals"]["bytes_sent"] == result["totals"]["bytes_compared"] > 3 * int(size)
        churn = ("--mode", "churn", "--size", "1", "--connections", "2", "--duration", str(UNIT))
        full, resumed = drive(server.port, *churn)["totals"], drive(server.port, *churn, "--resume")["totals"]
    assert (full["opened"], full["resumed"]) == (full["proven"], 0)
    assert resumed["opened"] == resumed["proven"]
    assert resumed["proven"] - 2 <= resumed["resumed"] < resumed["proven"]  # the first two have no session yet


@contextmanager
def serving(*, secure: bool) -> Iterator[int]:
    """A server for one connection: it changes byte 100,000, or it does not speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*PAIR)

    def serve() -> None:
        sock = listener.accept()[0]
        sock.settimeout(PATIENCE)
        if not secure:
            sock.sendall(sock.recv(65536))
            sock.close()
            return
        count = 0
        with closing(context.wrap_socket(sock, server_side=True)) as peer:
            while data := bytearray(peer.recv(65536)):
                if count <= 100_000 < count + len(data):
                    data[100_000 - count] ^= 1
                count += len(data)
                peer.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE)


def test_a_flipped_byte_is_found_through_tls() -> None:
    with serving(secure=True) as port:
        result = drive(port, "--connections", "1", "--size", "1000")
    assert result["failures"]["corrupt"] == 1
    assert "message 100, byte 100000 of its stream: this byte differs" in result["first_failure"]


def test_a_server_without_tls_is_a_failure() -> None:
    with serving(secure=False) as port:
        result = drive(port, "--connections", "1", "--duration", str(UNIT))
    assert result["failures"]["reset"] == 1
    assert "Protocol error" in result["first_failure"]
