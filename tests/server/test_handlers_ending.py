"""The end of a handler's connection: the bytes that it sent arrive, and its close delays no other connection."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from geventecho.server.counters import Ending
from geventecho.server.tcp_server import TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, ping, read_to_end, running
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.tls import dial_tls, server_context

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_handler_that_closes_the_descriptor_of_its_socket_delays_no_stop(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with running(TcpServer(LOCAL, lambda sock, _peer: os.close(sock.fileno()))) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        wait_until(lambda: not server.connection_count)
        assert_adds_up(server.counters, echoes=False)
        assert server.stop(PATIENCE).cut == 0
    assert capfd.readouterr().err == ""


def test_the_bytes_of_a_handler_arrive_although_it_failed_with_unread_input() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.recv(1)
        sock.sendall(b"y" * 100_000)
        raise RuntimeError("a bug")

    with running(TcpServer(LOCAL, handler)) as server, dial(server) as client:
        client.sendall(b"x" * 50_000)
        assert read_to_end(client) == b"y" * 100_000
    assert server.counters["ended_failure"] == 1


def test_a_handler_may_close_its_socket_itself() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.sendall(sock.recv(100))
        sock.close()

    with running(TcpServer(LOCAL, handler)) as server, dial(server) as client:
        ping(client)
        assert read_to_end(client) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_handler"] == 1


def closes_itself(sock: socket.socket) -> None:
    sock.close()


def closes_its_file_last(sock: socket.socket) -> None:
    with sock.makefile("rb"):
        sock.close()


def closes_a_copy(sock: socket.socket) -> None:
    copy = sock.dup()
    sock.close()
    copy.close()


@pytest.mark.parametrize(
    ("close", "secure"),
    [
        (lambda _: None, False),
        (closes_itself, False),
        (closes_its_file_last, False),
        (closes_a_copy, False),
        (lambda _: None, True),
        (closes_itself, True),
    ],
    ids=["open", "closed", "file closed last", "copy closed", "TLS open", "TLS closed"],
)
def test_so_linger_of_a_handler_delays_no_other_connection(
    close: Callable[[socket.socket], object], secure: bool
) -> None:
    """With SO_LINGER close(2) waits in the kernel until the peer has taken all bytes; this peer takes none."""

    def handler(sock: socket.socket, _peer: object) -> None:
        if sock.recv(10) != b"linger":
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
        sock.settimeout(UNIT)
        with contextlib.suppress(TimeoutError):
            while True:
                sock.send(b"x" * 65536)
        close(sock)

    server = TcpServer(LOCAL, handler, ssl_context=server_context() if secure else None)
    dialled = dial_tls if secure else dial
    with running(server), dialled(server) as stuck, dialled(server) as neighbour:
        stuck.sendall(b"linger")
        pauses = [0.0]
        while server.counters["ended_handler"] == 0:
            before = time.monotonic()
            gevent.sleep(0.01)
            pauses.append(time.monotonic() - before)
        assert max(pauses) < 2.5
        assert server.connection_count == 1
        neighbour.sendall(b"end")
        assert read_to_end(neighbour) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_handler"] == 2


def test_a_handler_can_reset_its_connection() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.recv(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with running(TcpServer(LOCAL, handler)) as server, dial(server) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(10)
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_handler"] == 1
        assert_adds_up(server.counters, echoes=False)


def test_the_bytes_that_a_handler_sent_stay_counted_when_its_peer_has_vanished() -> None:
    """Only an echo server counts lost bytes."""
    is_full = Event()

    def handler(sock: socket.socket, _peer: object) -> None:
        with contextlib.suppress(TimeoutError):
            sock.settimeout(UNIT)
            while True:
                sock.send(b"x" * 65536)
        sock.settimeout(None)
        is_full.set()
        sock.recv(1)

    with running(TcpServer(LOCAL, handler)) as server, dial(server):
        assert is_full.wait(PATIENCE)
        sent = server.counters["bytes_sent"]
        assert sent > 65536
        next(iter(server._registry.open)).end(Ending.VANISHED)
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_vanished"] == 1
        assert server.counters["bytes_sent"] == sent
