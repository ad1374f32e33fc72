"""The echo loop returns every byte, over real sockets."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from geventecho.server.connection import RECEIVE_SIZE
from geventecho.server.tcp_server import EchoServer
from tests.support.properties import HealthCheck, given, settings, st
from tests.support.servers import (
    assert_adds_up,
    dial,
    echo_server,
    fill_output,
    ping,
    read_exactly,
    read_to_end,
)
from tests.support.timing import PATIENCE, figure, wait_until

MIB = 1 << 20


pytestmark = pytest.mark.usefixtures("both_loops")


@pytest.fixture(scope="module")
def server(both_loops: None) -> Iterator[EchoServer]:
    with echo_server() as server:
        yield server


def exchange(server: EchoServer, pieces: list[bytes]) -> bytes:
    """Send the pieces one by one, half-close, and read to the end, all at the same time."""
    with dial(server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            for piece in pieces:
                client.sendall(piece)
                gevent.sleep(0)
            client.shutdown(socket.SHUT_WR)

        sending = gevent.spawn(send)
        received = read_to_end(client)
        sending.get()
    return received


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_in_any_pieces_come_back(server: EchoServer, pieces: list[bytes]) -> None:
    assert exchange(server, pieces) == b"".join(pieces)


@given(size=st.integers(1, 200_001), seed=st.integers(0, 2**32), pieces=st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_payload_of_any_size_comes_back(server: EchoServer, size: int, seed: int, pieces: int) -> None:
    payload = random.Random(seed).randbytes(size)
    step = -(-size // pieces)
    assert exchange(server, [payload[start : start + step] for start in range(0, size, step)]) == payload


@pytest.mark.parametrize("size", [RECEIVE_SIZE - 1, RECEIVE_SIZE, RECEIVE_SIZE + 1, 5 * RECEIVE_SIZE])
def test_payloads_around_the_size_of_one_read_come_back(server: EchoServer, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    assert exchange(server, [payload]) == payload


def test_every_byte_value_comes_back(server: EchoServer) -> None:
    with dial(server) as client:
        for value in range(256):
            ping(client, bytes([value]))
        ping(client, bytes(range(256)))
    special = b"\r\n\n\r\0\x04\x03\x1a\x1b[0m\xff\xfe\xef\xbb\xbf" * 7
    assert exchange(server, [special]) == special


def test_the_server_sends_no_greeting_and_needs_no_line_end(server: EchoServer) -> None:
    with dial(server) as client:
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        ping(client, b"no line end")


def test_order_is_kept_with_many_pings_in_flight(server: EchoServer) -> None:
    pieces = [b"%06d," % number for number in range(20_000)]
    assert exchange(server, pieces) == b"".join(pieces)


def test_one_byte_segments_come_back(server: EchoServer) -> None:
    payload = random.Random(1).randbytes(5000)
    assert exchange(server, [payload[at : at + 1] for at in range(len(payload))]) == payload


@pytest.mark.parametrize("size", [0, 1, 64 << 10, 64 * MIB], ids=["0", "1", "64 KiB", "64 MiB"])
@pytest.mark.usefixtures("no_leaks")
def test_a_half_closed_client_gets_every_byte_and_then_a_fin(size: int) -> None:
    chunk = random.Random(size).randbytes(min(size, MIB))
    with echo_server() as server, dial(server) as client:

        def send() -> str:
            digest = hashlib.sha256()
            for start in range(0, size, MIB):
                piece = chunk[: size - start]
                client.sendall(piece)
                digest.update(piece)
            client.shutdown(socket.SHUT_WR)
            return digest.hexdigest()

        sending = gevent.spawn(send)
        digest, received = hashlib.sha256(), 0
        while data := client.recv(MIB):
            digest.update(data)
            received += len(data)
        assert received == size
        assert digest.hexdigest() == sending.get()
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters["ended_peer"] == 1
        assert (counters["bytes_received"], counters["bytes_sent"]) == (size, size)
        assert_adds_up(counters)


def test_a_reset_in_the_middle_of_an_echo_is_counted_as_a_reset() -> None:
    with echo_server() as server:
        with dial(server) as client, dial(server) as neighbour:
            fill_output(server, client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            wait_until(lambda: server.counters["ended_reset"] == 1)
            ping(neighbour)
        wait_until(lambda: not server.connection_count)
        assert server.counters["bytes_lost"] > 0
        assert_adds_up(server.counters)


def test_a_flooding_client_gets_few_messages_between_two_pings_of_another() -> None:
    with echo_server() as server, dial(server) as flooder, dial(server) as client:
        ping(client)

        def flood() -> None:
            while True:
                flooder.sendall(b"x" * 65536)

        def read() -> None:
            while flooder.recv(65536):
                pass

        busy = [gevent.spawn(flood), gevent.spawn(read)]
        wait_until(lambda: server.counters["bytes_received"] > 10 * MIB)
        before = server.counters["bytes_received"]
        for _ in range(20):
            ping(client)
        between = (server.counters["bytes_received"] - before) / 20
        gevent.killall(busy)
    figure("KiB of a flood between two pings", round(between / 1024))
    assert between < MIB / 4


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_thousand_messages_of_random_sizes_come_back() -> None:
    with echo_server() as server, dial(server) as client:
        generator = random.Random(7)
        for _ in range(10_000):
            payload = generator.randbytes(generator.randint(1, 200_001))
            sending = gevent.spawn(client.sendall, payload)
            assert read_exactly(client, len(payload)) == payload
            sending.get()
