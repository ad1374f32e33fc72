"""The limits that a server keeps: connections at once, and time without progress."""

from __future__ import annotations

import socket as blocking_socket
import time

import gevent
import pytest
from gevent import socket
from servers import LOCAL, assert_adds_up, dial, echo_server, ping, read_to_end, running
from timing import PATIENCE, UNIT, wait_until

from geventecho.server import TcpServer

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_connections_over_the_limit_are_accepted_counted_and_closed_at_once() -> None:
    with echo_server(max_connections=2) as server:
        assert server.max_connections == 2
        first, second = dial(server), dial(server)
        ping(first)
        ping(second)
        for turn in (1, 2, 3):
            began = time.monotonic()
            with dial(server) as refused:
                assert read_to_end(refused) == b""
            assert time.monotonic() - began < 5 * UNIT
            assert server.counters["refused_full"] == turn
        ping(first)
        ping(second)
        assert server.counters["peak"] == 2
        first.close()
        second.close()
        wait_until(lambda: not server.connection_count)
        assert server.counters["accepted"] == 5
        assert_adds_up(server.counters)


def test_a_freed_slot_is_used_at_once() -> None:
    """The next client connects when the FIN of the last one is surely on its way: close() of a plain socket sent it."""

    def come_and_go(port: int) -> int:
        for turn in range(200):
            with blocking_socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(b"ping")
                if client.recv(4) != b"ping":
                    return turn
        return 200

    with echo_server(max_connections=1) as server:
        assert server.address is not None
        assert gevent.get_hub().threadpool.apply(come_and_go, (server.address.port,)) == 200
        wait_until(lambda: not server.connection_count)
        assert server.counters["refused_full"] == 0
        assert server.counters["accepted"] == 200


def test_zero_refuses_all() -> None:
    with echo_server(max_connections=0) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        assert server.counters["refused_full"] == 1


def test_without_a_limit_the_descriptors_are_one() -> None:
    import resource

    with echo_server() as server:
        assert server.max_connections == max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64)


def test_an_idle_connection_is_ended_and_one_with_progress_is_not() -> None:
    with echo_server(idle_timeout=5 * UNIT) as server, dial(server) as idle, dial(server) as busy:
        ping(idle)
        began = time.monotonic()
        ending = gevent.spawn(read_to_end, idle)
        while time.monotonic() - began < 12 * UNIT:
            ping(busy, b"x")
            gevent.sleep(UNIT)
            if not ending.ready():
                assert time.monotonic() - began < 10 * UNIT + 0.3
        assert ending.get(timeout=PATIENCE) == b""
        idle.close()
        wait_until(lambda: server.counters["ended_idle"] == 1)
        ping(busy)


def test_a_connection_that_only_sends_is_not_idle() -> None:
    """Its bytes go one way only, with a handler that reads and never answers."""

    def swallow(sock: socket.socket, _peer: object) -> None:
        while sock.recv(4096):
            pass

    with running(TcpServer(LOCAL, swallow, idle_timeout=3 * UNIT)) as server, dial(server) as client:
        for _ in range(10):
            client.sendall(b"x")
            gevent.sleep(UNIT)
        assert server.connection_count == 1
        assert read_to_end(client) == b""
        client.close()
        wait_until(lambda: server.counters["ended_idle"] == 1)
