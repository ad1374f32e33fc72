"""The hub's part of the echo: what it hands to the connection's greenlet, and how the greenlet is woken."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import greenlet
import pytest
from gevent import get_hub, socket

from geventecho.server.config import ServerConfig
from geventecho.server.connection import Clock, Connection
from geventecho.server.counters import Traffic
from geventecho.server.deadlines import Deadlines
from geventecho.server.echo_in_hub import Buffer, SharedBuffers, _return_message, echo_in_hub
from geventecho.server.tcp_server import EchoServer
from tests.support.servers import dial, ping
from tests.support.timing import PATIENCE

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), ConnectionResetError(104, "reset")], ids=repr)
def test_an_exception_in_the_hub_is_thrown_into_the_connections_greenlet(error: BaseException) -> None:
    seen: list[BaseException] = []

    def own() -> None:
        try:
            greenlet.getcurrent().parent.switch()
        except BaseException as thrown:
            seen.append(thrown)

    def receive(_room: memoryview) -> int:
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
    assert isinstance(echoing.exception, OSError), "it sleeps for ever"


def test_a_server_s_buffers_belong_to_one_hub() -> None:
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

    def live_again() -> None:
        server.start()
        with dial(server) as client:
            ping(client)
        server.stop()
        get_hub().destroy()

    get_hub().threadpool.apply(live_again)
