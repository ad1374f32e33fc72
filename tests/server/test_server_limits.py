"""The limits that a server keeps: connections, bytes, rates, and time without progress."""

from __future__ import annotations

import socket as blocking_socket
import time

import gevent
import pytest
from gevent import socket

from geventecho.server.counters import Refusal
from geventecho.server.tcp_server import TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, echo_server, ping, read_exactly, read_to_end, running
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("both_loops", "no_leaks")


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
    """The next client connects after the FIN of the last one: close() of a plain socket has sent it."""

    def connect_in_turn(port: int) -> int:
        for turn in range(200):
            with blocking_socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(b"ping")
                if client.recv(4) != b"ping":
                    return turn
        return 200

    with echo_server(max_connections=1) as server:
        assert server.address is not None
        assert gevent.get_hub().threadpool.apply(connect_in_turn, (server.address.port,)) == 200
        wait_until(lambda: not server.connection_count)
        assert server.counters["refused_full"] == 0
        assert server.counters["accepted"] == 200


def test_max_connections_of_0_refuses_all() -> None:
    with echo_server(max_connections=0) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        assert server.counters["refused_full"] == 1


def test_without_max_connections_the_limit_is_the_number_of_descriptors() -> None:
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
    """The handler reads and never answers."""

    def discard(sock: socket.socket, _peer: object) -> None:
        while sock.recv(4096):
            pass

    with running(TcpServer(LOCAL, discard, idle_timeout=3 * UNIT)) as server, dial(server) as client:
        for _ in range(10):
            client.sendall(b"x")
            gevent.sleep(UNIT)
        assert server.connection_count == 1
        assert read_to_end(client) == b""
        client.close()
        wait_until(lambda: server.counters["ended_idle"] == 1)


def test_max_bytes_returns_exactly_that_many_bytes_and_a_fin() -> None:
    with echo_server(max_bytes=100_000) as server:
        for sent in (100_000, 100_001, 300_000):
            with dial(server) as client:
                client.sendall(b"x" * sent)
                assert len(read_to_end(client)) == 100_000
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters["ended_bytes"] == 3
        assert (counters["bytes_sent"], counters["bytes_lost"]) == (300_000, 0)
        assert counters["bytes_discarded"] == 200_001
        assert_adds_up(counters)


def test_less_than_max_bytes_is_an_ordinary_end() -> None:
    with echo_server(max_bytes=100) as server, dial(server) as client:
        client.sendall(b"x" * 99)
        client.shutdown(socket.SHUT_WR)
        assert len(read_to_end(client)) == 99
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_peer"] == 1


def test_max_rate_slows_a_connection_and_does_not_end_it() -> None:
    rate = 200_000
    with echo_server(max_rate=rate) as server, dial(server) as client, dial(server) as neighbour:
        began = time.monotonic()
        sending = gevent.spawn(client.sendall, b"x" * rate)
        slowest = 0.0
        reading = gevent.spawn(read_exactly, client, rate)
        while not reading.ready():
            asked = time.monotonic()
            ping(neighbour)
            slowest = max(slowest, time.monotonic() - asked)
            gevent.sleep(UNIT / 5)
        took = time.monotonic() - began
        sending.get()
        assert 0.85 <= took <= PATIENCE / 2
        assert slowest < took / 2, "the rate of one connection slowed another one down"
        assert server.connection_count == 2


def test_an_address_at_its_limit_is_refused_and_others_are_not() -> None:
    with echo_server(max_per_address=2) as server:
        assert server.address is not None
        target = server.address.sockaddr

        def come(source: str) -> socket.socket:
            return socket.create_connection(target, PATIENCE, source_address=(source, 0))

        clients = [come(f"127.0.0.{number}") for number in (2, 2, 3, 3)]
        for client in clients:
            ping(client)
        for _ in range(5):
            with come("127.0.0.2") as refused:
                assert read_to_end(refused) == b""
        for client in clients:
            ping(client)
        assert server.counters["refused_address_full"] == 5
        clients.pop(0).close()
        wait_until(lambda: server.connection_count == 3)
        with come("127.0.0.2") as again:
            ping(again)
        for client in clients:
            client.close()
        wait_until(lambda: not server.connection_count)
        assert_adds_up(server.counters)


def test_a_denied_peer_is_refused_and_counted() -> None:
    seen: list[tuple[str, Refusal]] = []
    with echo_server(deny=("127.0.0.1",), on_refuse=lambda peer, why: seen.append((peer.host, why))) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        wait_until(lambda: seen)
    assert seen == [("127.0.0.1", Refusal.DENIED)]
    assert server.counters["refused_denied"] == 1


def test_connect_rate_refuses_only_the_fast_address() -> None:
    with echo_server(connect_rate=3) as server:
        assert server.address is not None
        served = 0
        for _ in range(20):
            with dial(server) as client:
                client.sendall(b"x")
                try:
                    served += client.recv(1) == b"x"
                except ConnectionResetError:
                    pass
        assert 3 <= served < 20
        assert server.counters["refused_connect_rate"] == 20 - served
        with socket.create_connection(server.address.sockaddr, source_address=("127.0.0.9", 0)) as other:
            ping(other)
