"""The accept loop of a whole server: peers that reset in the queue, no descriptors left, clients that are refused."""

from __future__ import annotations

import os
import resource
import socket as plain
import struct
import time

import pytest

from tests.support.servers import dial, echo_server, ping, read_to_end
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")
RST = struct.pack("ii", 1, 0)


def test_resets_before_the_accept_delay_no_later_client_and_log_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with echo_server() as server:
        assert server.address is not None
        for _ in range(500):
            with plain.create_connection((server.address.host, server.address.port), PATIENCE) as client:
                client.setsockopt(plain.SOL_SOCKET, plain.SO_LINGER, RST)
        assert server.counters["accepted"] == 0, "a client was accepted before its reset"
        with dial(server) as client:
            began = time.monotonic()
            ping(client)
            assert time.monotonic() - began < 10 * UNIT
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters["accept_errors"] == 0
        assert counters["ended_reset"] + counters["ended_peer"] == counters["accepted"]
    assert capfd.readouterr().err == ""


def test_a_server_without_descriptors_refuses_at_once_and_serves_again_later(capfd: pytest.CaptureFixture[str]) -> None:
    """Connections that are served already are not affected."""
    with echo_server(max_connections=1000) as server, dial(server) as served:
        assert server.address is not None
        target = server.address.host, server.address.port
        ping(served)
        clients = [plain.socket() for _ in range(5)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        hogs = [os.open(os.devnull, os.O_RDONLY)]
        while hogs[-1] < highest:
            hogs.append(os.open(os.devnull, os.O_RDONLY))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hogs[-1] + 1, hard))
            for client in clients:
                client.settimeout(PATIENCE)
                client.connect(target)
            began = time.monotonic()
            wait_until(lambda: server.counters["refused_no_descriptor"] == 5)
            assert time.monotonic() - began < 5 * UNIT
            for client in clients:
                assert client.recv(1) == b""
            ping(served)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for hog in hogs:
                os.close(hog)
            for client in clients:
                client.close()
        with dial(server) as again:
            ping(again)
        served.close()
        wait_until(lambda: not server.connection_count)
        assert server.counters["accept_errors"] >= 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_refused_client_that_has_sent_bytes_reads_a_fin_or_a_reset() -> None:
    with echo_server(max_connections=0) as server, dial(server) as client:
        client.sendall(b"hello")
        try:
            assert read_to_end(client) == b""
        except ConnectionResetError:
            pass
        wait_until(lambda: server.counters["refused_full"] == 1)
