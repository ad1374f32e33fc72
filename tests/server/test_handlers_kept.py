"""Time limits with handlers whose bytes bypass the socket that the server gave them: TLS, a copy, the descriptor."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket, ssl

from geventecho.server.counted_socket import CountedSocket
from geventecho.server.tcp_server import TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, ping, running
from tests.support.timing import UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")
LIMIT = 3 * UNIT


@pytest.fixture(scope="module")
def contexts() -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """TLS contexts of a server and of a client, with a certificate made for this run."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key"), Path(folder, "certificate")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", key, "-out", certificate, "-subj", "/CN=localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(certificate)
        yield server, client


def echo(sock: socket.socket) -> None:
    while data := sock.recv(100):
        sock.sendall(data)


def by_copy(sock: socket.socket) -> None:
    with sock.dup() as copy:
        echo(copy)


def by_descriptor(sock: socket.socket) -> None:
    while True:
        socket.wait_read(sock.fileno())
        data = os.read(sock.fileno(), 100)
        if not data:
            return
        os.write(sock.fileno(), data)


def by_new_socket(sock: socket.socket) -> None:
    with socket.socket(fileno=sock.detach()) as own:
        echo(own)


def by_other_calls(sock: socket.socket) -> None:
    buffer = bytearray(100)
    while size := sock.recvmsg_into([buffer])[0]:
        sock.sendmsg([buffer[:size]])


Dial = Callable[[TcpServer], Any]


@pytest.fixture(params=[by_copy, by_descriptor, by_new_socket, by_other_calls, "tls", "tls_held"])
def server_and_dial(
    request: pytest.FixtureRequest, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> tuple[TcpServer, Dial]:
    """A server whose handlers read and write in that way, and the function that connects to it."""
    at_server, at_client = contexts
    how = request.param
    held: list[ssl.SSLSocket] = []

    def handler(sock: socket.socket, _peer: object) -> None:
        if callable(how):
            how(sock)
            return
        with at_server.wrap_socket(sock, server_side=True) as wrapped:
            if how == "tls_held":
                held.append(wrapped)  # as a server does that keeps a list of its connections
            echo(wrapped)

    def dial_tls(server: TcpServer) -> ssl.SSLSocket:
        return at_client.wrap_socket(dial(server), server_hostname="localhost")

    server = TcpServer(LOCAL, handler, idle_timeout=LIMIT, first_byte_timeout=LIMIT, drain_idle=LIMIT)
    return server, dial if callable(how) else dial_tls


def speak(client: socket.socket, times: int) -> None:
    for _ in range(times):
        ping(client)
        gevent.sleep(UNIT)


def test_an_active_client_stays_and_a_silent_one_is_ended(server_and_dial: tuple[TcpServer, Dial]) -> None:
    server, connect = server_and_dial
    with running(server), connect(server) as active, connect(server) as silent:
        speaking = gevent.spawn(speak, active, 8)
        assert silent.recv(10) == b""
        silent.close()
        assert not speaking.ready(), "the silent client was ended too late"
        speaking.get()
        assert server.connection_count == 1
        counters = server.counters
        assert counters["ended_idle"] + counters["ended_first_byte"] == 1


def test_in_a_drain_an_active_client_stays_and_a_silent_one_is_ended(server_and_dial: tuple[TcpServer, Dial]) -> None:
    server, connect = server_and_dial
    with running(server), connect(server) as active, connect(server) as silent:
        ping(active)
        ping(silent)
        stopping = gevent.spawn(server.stop)
        speaking = gevent.spawn(speak, active, 8)
        assert silent.recv(10) == b""
        silent.close()
        speaking.get()
        assert server.connection_count == 1
        assert active.recv(10) == b""
        active.close()
        assert str(stopping.get()).startswith("drained 2, cut 0")
        assert server.counters["ended_drained"] + server.counters["ended_idle"] == 2
        assert_adds_up(server.counters, echoes=False)


def test_a_detached_socket_does_not_use_a_later_socket_of_its_number() -> None:
    near, far = socket.socketpair()
    counted = CountedSocket(fileno=near.detach())
    fd = counted.detach()
    with far:
        assert counted.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        os.close(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            counted.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        with contextlib.closing(socket.socket()) as other:
            assert other.fileno() == fd
            with pytest.raises(OSError, match="Bad file descriptor"):
                counted.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            assert other.fileno() == fd
            assert other.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM


def test_a_handler_that_closed_its_descriptor_is_ended_by_the_idle_timeout() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        os.close(sock.detach())
        gevent.get_hub().switch()

    with running(TcpServer(LOCAL, handler, idle_timeout=LIMIT)) as server, dial(server) as client:
        assert client.recv(10) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_idle"] == 1
