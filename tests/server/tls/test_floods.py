"""A flood of records without payload ends its connection and delays no other client."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import gevent
import pytest

from tests.support.servers import Process, ping, running, serve, wait_for_ending
from tests.support.timing import PATIENCE, figure, median_of
from tests.support.tls import files, secured, tls_server
from tests.support.tls13_client import APPLICATION_DATA, HANDSHAKE, NEW_KEY, NEW_KEYS, Tls13Client

pytestmark = pytest.mark.faults


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serve(*files(tmp_path_factory.mktemp("pem")).options) as process:
        yield process


def flooder(server: Process) -> Tls13Client:
    return Tls13Client(socket.create_connection((server.address.host, server.address.port), PATIENCE))


KINDS = {
    "new key": (NEW_KEY, HANDSHAKE),
    "new keys": (NEW_KEYS, HANDSHAKE),
    "empty": (b"", APPLICATION_DATA),
}


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_records_without_payload_end_the_connection(server: Process, kind: str) -> None:
    client = flooder(server)
    content = KINDS[kind]
    client.send(client.record(b"before"))
    client.send(b"".join(client.record(*content) for _ in range(1000)))
    with secured(server.connect()) as good:
        ping(good)
    found = server.stop_and_count()
    client.sock.close()
    assert found["ended_no_payload"] == 1
    assert (found["bytes_received"], found["bytes_sent"]) == (10, 10)


def test_hub_greenlet_and_handler_end_a_flood(echoes: bool) -> None:
    before = os.urandom(1000)  # the hub receives as many bytes of the flood at once

    def flood(host: str, port: int) -> Tls13Client:
        client = Tls13Client(socket.create_connection((host, port), PATIENCE))
        client.send(client.record(before) + b"".join(client.record(*KINDS["new keys"]) for _ in range(100)))
        return client

    with running(tls_server(echoes=echoes)) as server:
        assert server.address is not None
        # The client blocks, so it runs in a thread: the server is in this one.
        client = gevent.get_hub().threadpool.apply(flood, (server.address.host, server.address.port))
        wait_for_ending(server, "no_payload")
        client.sock.close()
        assert server.counters["bytes_received"] == server.counters["bytes_sent"] == len(before)


@pytest.mark.alone
@pytest.mark.parametrize("payload_every", [10_000, 31], ids=["pure", "with some payload"])
def test_another_client_is_served_soon_beside_a_flood(server: Process, payload_every: int) -> None:
    """The second flood stays below the limit of records in a row, and its payload comes back."""

    def once() -> float:
        client = flooder(server)
        flood = b"".join(
            client.record(*KINDS["new keys"] if at % payload_every else (b"x", APPLICATION_DATA)) for at in range(4000)
        )
        trips = []
        with secured(server.connect()) as good:
            ping(good)
            client.send(flood)
            end = time.monotonic() + 1
            while (began := time.monotonic()) < end:
                ping(good)
                trips.append(1000 * (time.monotonic() - began))
        client.sock.close()
        trips.sort()
        p99 = trips[len(trips) * 99 // 100]
        figure(f"p99 of an echo beside a flood of new keys, payload in one of {payload_every}, ms", round(p99, 1))
        return p99

    median_of(3, once, 50, "p99 of an echo beside a flood of new keys, ms")
