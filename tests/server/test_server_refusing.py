"""Refusals in bulk, while each turn of the event loop is long: a refused peer is closed at once and takes no slot."""

from __future__ import annotations

import socket as plain
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import get_hub

from geventecho.server.tcp_server import EchoServer
from tests.support.servers import assert_adds_up, dial, echo_server, ping
from tests.support.timing import PATIENCE, SCALE, UNIT, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("no_leaks")]
TURN = 0.005
"""Seconds that a turn of the loop takes, as with some 500 busy connections."""
PEERS = 200


@contextmanager
def long_turns(seconds: float = TURN) -> Iterator[None]:
    """Block the loop for `seconds` in each of its turns."""
    timer = get_hub().loop.timer(0, 0.0001)
    timer.start(time.sleep, seconds)
    try:
        yield
    finally:
        timer.close()


@contextmanager
def queued(server: EchoServer, count: int, source: str = "127.0.0.1") -> Iterator[list[plain.socket]]:
    """Clients that wait in the accept queue; the loop does not run meanwhile."""
    assert server.address is not None
    clients = [plain.socket() for _ in range(count)]
    try:
        for client in clients:
            client.settimeout(PATIENCE)
            client.bind((source, 0))
            client.connect(server.address.sockaddr)
        yield clients
    finally:
        for client in clients:
            client.close()


def seconds_until_closed(clients: list[plain.socket]) -> float:
    """Seconds until all clients have read FIN, measured in a thread while the loop runs."""

    def measure() -> float:
        began = time.monotonic()
        for client in clients:
            assert client.recv(1) == b""
        return time.monotonic() - began

    found: float = get_hub().threadpool.apply(measure)
    return found


@pytest.mark.parametrize(
    ("options", "counter"),
    [
        ({"max_connections": 1}, "refused_full"),
        ({"deny": ("127.0.0.2",)}, "refused_denied"),
        ({"max_per_address": 1}, "refused_address_full"),
        ({"connect_rate": 0.01}, "refused_connect_rate"),
    ],
)
def test_two_hundred_peers_are_refused_at_once(options: dict[str, Any], counter: str) -> None:
    with echo_server(**options) as server, dial(server) as neighbour:
        ping(neighbour)
        source = "127.0.0.2" if "deny" in options else "127.0.0.1"
        with long_turns(), queued(server, PEERS, source) as clients:
            assert seconds_until_closed(clients) < 0.1 * SCALE
        ping(neighbour)
        assert server.counters[counter] == PEERS
        assert server.counters["peak"] == 1
        neighbour.close()
        wait_until(lambda: not server.connection_count)
        assert_adds_up(server.counters)


def test_a_denied_flood_takes_no_slot_from_allowed_clients() -> None:
    """The allowed clients wait in the queue behind the flood, and there is a slot for each of them."""
    slots = 10
    with echo_server(max_connections=slots, deny=("127.0.0.2",)) as server, long_turns():
        with queued(server, PEERS, "127.0.0.2") as flood, queued(server, slots) as allowed:

            def measure() -> float:
                began = time.monotonic()
                for client in allowed:
                    client.sendall(b"x")
                    assert client.recv(1) == b"x"
                return time.monotonic() - began

            assert get_hub().threadpool.apply(measure) < 0.2 * SCALE
            assert seconds_until_closed(flood) < 0.1 * SCALE
        counters = server.counters
        assert (counters["refused_denied"], counters["refused_full"]) == (PEERS, 0)


def test_a_flood_of_refusals_delays_no_served_client() -> None:
    """The refusals of one turn are bounded: beside 2,000 refusals an echo takes a few milliseconds."""
    slowest = 0.0
    with echo_server(deny=("127.0.0.2",)) as server, dial(server) as neighbour:
        ping(neighbour)
        with queued(server, 2000, "127.0.0.2"):
            while server.counters["refused_denied"] < 2000:
                began = time.monotonic()
                ping(neighbour)
                slowest = max(slowest, time.monotonic() - began)
                gevent.sleep(0)
    assert slowest < 0.5 * UNIT


def test_a_full_server_refuses_each_of_several_clients_in_turn_at_once() -> None:
    with echo_server(max_connections=0) as server, long_turns():
        began = time.monotonic()
        for turn in range(1, 6):
            with queued(server, 1) as clients:
                assert seconds_until_closed(clients) < 0.1 * SCALE
            assert server.counters["refused_full"] == turn
        assert time.monotonic() - began < 0.5 * SCALE
