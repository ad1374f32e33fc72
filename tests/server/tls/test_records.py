"""Records that arrive together. The hub may receive them at once, and no event of the kernel follows.

In each test a long record comes first: the hub receives as many bytes for the next one. The client sends no FIN.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket, ssl

from geventecho.net import TlsOutbox
from geventecho.server.tcp_server import TcpServer
from tests.support.servers import dial, running, wait_for_ending
from tests.support.timing import UNIT
from tests.support.tls import client_context, handshake_in_memory, tls_server

pytestmark = pytest.mark.usefixtures("no_leaks")


class RecordClient:
    """A TLS client that decides which records go into one write(2). `raw` is its socket."""

    def __init__(self, server: TcpServer) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._layer = client_context().wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.raw = dial(server)
        handshake_in_memory(self._layer, self._incoming, self._outgoing, self.raw)

    def record(self, payload: bytes) -> bytes:
        self._layer.write(payload)
        return bytes(self._outgoing.read())

    def close_notify(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._layer.unwrap()
        return bytes(self._outgoing.read())

    def read(self, count: int) -> bytes:
        """`count` bytes of payload, or fewer at the server's close_notify."""
        payload = b""
        while len(payload) < count:
            try:
                more = self._layer.read(count - len(payload))
            except ssl.SSLWantReadError:
                data = self.raw.recv(65536)
                assert data, f"FIN without close_notify after {len(payload)} of {count} bytes"
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                break
            else:
                if not more:
                    break
                payload += more
        return payload

    def echo(self, payload: bytes) -> None:
        self.raw.sendall(self.record(payload))
        assert self.read(len(payload)) == payload


@pytest.fixture
def client(server: TcpServer) -> Iterator[RecordClient]:
    client = RecordClient(server)
    client.echo(os.urandom(8000))
    yield client
    client.raw.close()


def test_records_that_arrive_together_all_come_back(client: RecordClient) -> None:
    randomly = random.Random(1)
    for _ in range(50):
        payloads = [os.urandom(randomly.choice((1, 2, 50, 900, 7000))) for _ in range(randomly.randrange(1, 40))]
        client.raw.sendall(b"".join(map(client.record, payloads)))
        sent = b"".join(payloads)
        assert client.read(len(sent)) == sent


@pytest.mark.parametrize("part", [1, 4, 5, 6, 100])
def test_a_record_that_arrives_in_two_parts_comes_back(client: RecordClient, part: int) -> None:
    first, second = client.record(b"first"), client.record(os.urandom(100))
    client.raw.sendall(first + second[:part])
    assert client.read(5) == b"first"
    client.raw.sendall(second[part:] + client.record(b"third"))
    assert client.read(105)[100:] == b"third"


def test_a_part_of_a_record_does_not_occupy_the_loop(client: RecordClient) -> None:
    client.raw.sendall(client.record(b"first") + client.record(os.urandom(100))[:50])
    assert client.read(5) == b"first"
    began = time.process_time()
    gevent.sleep(UNIT)
    assert time.process_time() - began < UNIT / 4


def test_a_turn_of_the_loop_returns_one_record_of_a_connection() -> None:
    """Another socket is always readable: the calls of its callback are the turns."""
    turns: list[int] = []
    near, far = socket.socketpair()
    with running(tls_server()) as server, near, far:
        client = RecordClient(server)
        client.echo(os.urandom(8000))
        far.sendall(b"x")
        near._read_event.start(turns.append, 1)
        # More than the hub receives at once: the kernel reports the rest while complete records wait.
        client.raw.sendall(b"".join(client.record(b"x") for _ in range(1000)))
        client.read(1000)
        near._read_event.stop()
        client.raw.close()
    assert len(turns) > 990


def test_a_close_notify_beside_a_record_is_answered(client: RecordClient, server: TcpServer, echoes: bool) -> None:
    client.raw.sendall(client.record(b"last") + client.close_notify())
    assert client.read(100) == b"last"
    client.raw.close()
    wait_for_ending(server, "peer" if echoes else "handler")


def test_junk_beside_a_record_ends_the_connection(client: RecordClient, server: TcpServer) -> None:
    client.raw.sendall(client.record(b"last") + b"junk" * 10)
    assert client.read(4) == b"last"
    wait_for_ending(server, "reset")
    assert server.counters["bytes_received"] == 8004


def test_records_that_wait_for_room_all_come_back(client: RecordClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without room for one record, at the moment when the next ones have been received."""
    send_rest = TlsOutbox._send_rest
    refused: list[Any] = []

    def refuse_once(outbox: TlsOutbox) -> None:
        if not refused:
            refused.append(outbox)
            raise BlockingIOError
        send_rest(outbox)

    monkeypatch.setattr(TlsOutbox, "_send_rest", refuse_once)
    client.raw.sendall(b"".join(map(client.record, (b"one", b"two", b"three"))))
    assert client.read(11) == b"onetwothree"
    assert refused
