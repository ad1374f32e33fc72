"""The hub's part of the echo: the work that it hands to the connection's greenlet, and how it wakes the greenlet."""

from __future__ import annotations

import logging
import random
import struct
from types import SimpleNamespace
from unittest import mock

import gevent
import greenlet
import pytest
from gevent import get_hub, socket

from geventecho.server.config import ServerConfig
from geventecho.server.connection import Clock, Connection
from geventecho.server.counters import Traffic
from geventecho.server.deadlines import Deadlines
from geventecho.server.echo_in_hub import Buffer, SharedBuffers, _return_message, echo_in_hub
from geventecho.server.registry import Registry
from geventecho.server.tcp_server import EchoServer
from tests.support.servers import dial, echo_server, ping, read_exactly, wait_for_ending
from tests.support.timing import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), ConnectionResetError(104, "reset")], ids=repr)
def test_an_exception_in_the_hub_is_thrown_into_the_connections_greenlet(error: BaseException) -> None:
    seen: list[BaseException] = []

    def own() -> None:
        try:
            greenlet.getcurrent().parent.switch()
        except BaseException as thrown:
            seen.append(thrown)

    def receive(_memory: memoryview) -> int:
        raise error

    connection = Connection(SimpleNamespace(), "", Clock(), Traffic())
    owner = greenlet.greenlet(own)
    owner.switch()
    connection.greenlet = owner
    _return_message(connection, SimpleNamespace(recv_into=receive), 1, 9, Buffer(memoryview(bytearray(8))))
    assert seen == [error]


def test_closing_the_socket_from_elsewhere_wakes_the_greenlet() -> None:
    near, far = socket.socketpair()
    connection = Connection(near, "", Clock(), Traffic())
    deadlines = Deadlines(ServerConfig(), connection.clock)
    echoing = gevent.spawn(echo_in_hub, connection, deadlines, SharedBuffers())
    connection.greenlet = echoing
    with far:
        ping(far)
        near.close()
        echoing.join(PATIENCE)
    assert isinstance(echoing.exception, OSError), "the greenlet sleeps for ever"


def test_the_buffers_of_a_server_belong_to_one_hub() -> None:
    """recv(2) and splice(2) run without the interpreter's lock: connections of two threads would mix their bytes."""
    buffers = get_hub().threadpool.apply(SharedBuffers)
    near, far = socket.socketpair()
    with near, far, pytest.raises(AssertionError, match="hub"):
        echo_in_hub(Connection(near, "", Clock(), Traffic()), Deadlines(ServerConfig(), Clock()), buffers)


def test_a_server_can_be_started_again_in_another_thread() -> None:
    server = EchoServer("127.0.0.1:0")
    server.start()
    with dial(server) as client:
        ping(client)
    server.stop()

    def run_again() -> None:
        server.start()
        with dial(server) as client:
            ping(client)
        server.stop()
        get_hub().destroy()

    get_hub().threadpool.apply(run_again)


def greenlets(server: EchoServer) -> int:
    """The number of connections that have a greenlet."""
    return sum(connection.greenlet is not None for connection in server._registry.open)


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=logging.getLevelName)
def test_whole_messages_need_no_greenlet(level: int, caplog: pytest.LogCaptureFixture) -> None:
    """The peer's FIN needs none either, unless its log line may have to wait."""
    caplog.set_level(level, "geventecho.server")
    with echo_server() as server:
        clients = [dial(server) for _ in range(5)]
        for client in clients:
            ping(client)
        assert greenlets(server) == 0
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
            client.close()
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_peer"] == 5
    assert caplog.text.count("ended: peer") == (5 if level == logging.DEBUG else 0)


def test_a_greenlet_goes_on_where_the_hub_has_stopped() -> None:
    """The peer takes a large payload in parts, then sends a small message, and then the server stops."""
    payload = random.Random(1).randbytes(16 << 20)
    with echo_server() as server, dial(server) as client:
        ping(client)
        assert greenlets(server) == 0
        sender = gevent.spawn(client.sendall, payload)
        wait_until(server._registry.owed)
        assert read_exactly(client, len(payload)) == payload
        sender.join()
        assert greenlets(server) == 1
        ping(client)
        report = server.stop(0)
        assert client.recv(1) == b""
    assert (report.cut, report.bytes_lost) == (1, 0)


def test_an_error_that_the_hub_meets_first_ends_the_connection() -> None:
    with echo_server() as server:
        client = dial(server)
        ping(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        wait_for_ending(server, "reset")
        assert server.counters["ended_failure"] == 0


@pytest.mark.parametrize("ending", ["peer", "reset"])
def test_the_peers_end_begins_no_greenlet(ending: str) -> None:
    with echo_server() as server, dial(server) as other, mock.patch.object(Registry, "_begin") as begin:
        ping(other)
        client = dial(server)
        ping(client)
        if ending == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        wait_for_ending(server, ending)
        begin.assert_not_called()


def test_a_connection_without_a_greenlet_is_ended_in_order() -> None:
    with echo_server(idle_timeout=0.1) as server, dial(server) as client:
        ping(client)
        assert client.recv(1) == b""
        client.close()
        wait_for_ending(server, "idle")
