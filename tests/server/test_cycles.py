"""An ended connection leaves no cycle of references: its memory is free without the cycle collector."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import gevent
import pytest
from gevent import socket

from geventecho.net import abort
from geventecho.server.connection import Connection, Phase
from geventecho.server.counted_socket import CountedSocket
from geventecho.server.registry import _Serving
from geventecho.server.splice import SplicedSocket
from geventecho.server.tcp_server import TcpServer
from tests.support.servers import LOCAL, dial, echo_server, fill_output, ping, read_to_end, running, transfer
from tests.support.timing import UNIT, wait_until

LARGE = 256 * 1024


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def before() -> int:
    """The parts that an earlier test left, for example by an exception that a module keeps."""
    return parts()


def parts() -> int:
    """The number of objects of the server's connections, open and ended."""
    kinds = Connection | _Serving | CountedSocket | SplicedSocket
    return sum(isinstance(found, kinds) for found in gc.get_objects())


def assert_freed(server: TcpServer, ending: str, before: int) -> None:
    wait_until(lambda: server.counters[f"ended_{ending}"] == 1, goal=f"ended_{ending}: {server.counters}")
    wait_until(lambda: parts() == before, 10 * UNIT, goal=f"{before} parts of connections, {parts()}")


def leave(_: TcpServer, client: socket.socket) -> None:
    ping(client)


def leave_after_much(_: TcpServer, client: socket.socket) -> None:
    assert transfer(client, 4 * LARGE, LARGE, 0) == 4 * LARGE


def break_off(_: TcpServer, client: socket.socket) -> None:
    ping(client)
    abort(client)


def break_off_unread(server: TcpServer, client: socket.socket) -> None:
    fill_output(server, client)
    abort(client)


def stay(_: TcpServer, client: socket.socket) -> None:
    ping(client)
    read_to_end(client)


def stay_silent(_: TcpServer, client: socket.socket) -> None:
    read_to_end(client)


def stay_unread(server: TcpServer, client: socket.socket) -> None:
    fill_output(server, client)
    wait_until(lambda: not server.connection_count)


def be_drained(server: TcpServer, client: socket.socket) -> None:
    ping(client)
    stopping = gevent.spawn(server.stop)
    read_to_end(client)
    client.close()
    stopping.get()


def be_cut(server: TcpServer, client: socket.socket) -> None:
    fill_output(server, client)
    stopping = gevent.spawn(server.stop, timeout=0)
    wait_until(lambda: server.connections[0].phase is Phase.ENDING)
    client.close()
    stopping.get()


@pytest.mark.usefixtures("both_loops")
@pytest.mark.parametrize(
    ("ending", "options", "behave"),
    [
        ("peer", {}, leave),
        ("peer", {"max_rate": 1_000_000}, leave),
        ("peer", {}, leave_after_much),
        ("reset", {}, break_off),
        ("reset", {}, break_off_unread),
        ("idle", {"idle_timeout": UNIT}, stay),
        ("first_byte", {"first_byte_timeout": UNIT}, stay_silent),
        ("lifetime", {"lifetime": UNIT}, stay),
        ("bytes", {"max_bytes": 4}, stay),
        ("write_stall", {"write_stall": UNIT}, stay_unread),
        ("drained", {"drain_idle": UNIT}, be_drained),
        ("cut", {"write_stall": None}, be_cut),
    ],
)
def test_an_ended_connection_leaves_no_cycle(
    ending: str, options: dict[str, Any], behave: Callable[[TcpServer, socket.socket], None], before: int
) -> None:
    with echo_server(**options) as server:
        with dial(server) as client:
            behave(server, client)
        assert_freed(server, ending, before)


def returns(sock: socket.socket, _peer: object) -> None:
    while data := sock.recv(4096):
        sock.sendall(data)


def fails(sock: socket.socket, _peer: object) -> NoReturn:
    raise ValueError(sock.recv(4096))


def times_out(sock: socket.socket, _peer: object) -> None:
    with gevent.Timeout(UNIT / 10):
        while sock.recv(4096):
            pass


@pytest.mark.parametrize(
    ("ending", "handler", "behave"),
    [
        ("handler", returns, leave),
        ("failure", fails, lambda _, client: client.sendall(b"x")),
        ("timeout", times_out, stay_silent),
        ("reset", returns, break_off),
    ],
)
def test_an_ended_connection_of_a_handler_leaves_no_cycle(
    ending: str,
    handler: Callable[[socket.socket, object], None],
    behave: Callable[[TcpServer, socket.socket], None],
    before: int,
) -> None:
    with running(TcpServer(LOCAL, handler)) as server:
        with dial(server) as client:
            behave(server, client)
        assert_freed(server, ending, before)
