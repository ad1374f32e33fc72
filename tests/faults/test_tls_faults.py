"""Scenarios of TLS: silence, junk and storms of handshakes, on a server that is a process of its own."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from tests.support.servers import Process, ping, read_to_end, serve
from tests.support.sinks import unread_pipe
from tests.support.timing import PATIENCE, UNIT, figure, wait_until
from tests.support.tls import client_context, files, secured

pytestmark = pytest.mark.faults


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with serve(*files(tmp_path).options, "--tls-handshake-timeout", str(PATIENCE)) as process:
        yield process


def wait_for_descriptors(server: Process, descriptors: int) -> None:
    wait_until(lambda: server.descriptors <= descriptors, goal=f"back to {descriptors} descriptors")


def test_silent_clients_are_closed_in_time_and_delay_no_other_client(tmp_path: Path) -> None:
    count = 200
    with serve(*files(tmp_path).options, "--tls-handshake-timeout", str(20 * UNIT)) as server:
        before = server.descriptors
        silent = [server.connect() for _ in range(count)]
        with secured(server.connect()) as good:
            ping(good)
            endings = [gevent.spawn(read_to_end, client) for client in silent]
            while not all(ending.ready() for ending in endings):
                ping(good)
                gevent.sleep(UNIT / 5)
            assert [ending.get() for ending in endings] == [b""] * count
        wait_for_descriptors(server, before)
        for client in silent:
            client.close()
        assert len(server.errors.splitlines()) <= 3
        assert server.stop_and_count()["handshake_timeout"] == count


def send_plain_text(server: Process) -> None:
    with server.connect() as client:
        client.sendall(b"GET /secret HTTP/1.1\r\n\r\n")
        try:
            read_to_end(client)
        except ConnectionResetError:
            pass


def test_a_flood_of_plain_text_costs_at_most_20_bytes_of_log_for_each_client(server: Process) -> None:
    rounds, at_once = 10, 30
    before = server.descriptors
    with secured(server.connect()) as good:
        for _ in range(rounds):
            gevent.joinall([gevent.spawn(send_plain_text, server) for _ in range(at_once)], raise_error=True)
            ping(good, os.urandom(1000))
    wait_for_descriptors(server, before)
    assert server.stop_and_count()["handshake_not_tls"] == rounds * at_once
    size = len(server.errors) / (rounds * at_once)
    figure("log of a client that sends plain text, bytes", f"{size:.1f}")
    assert size <= 20
    assert "secret" not in server.errors
    assert "Traceback" not in server.errors


def test_a_log_that_is_not_read_delays_no_handshake(tmp_path: Path) -> None:
    options = (*files(tmp_path).options, "--log-level", "debug")
    with unread_pipe() as pipe, serve(*options, stderr=pipe) as server:
        for _ in range(10):
            gevent.joinall([gevent.spawn(send_plain_text, server) for _ in range(30)], raise_error=True)
        assert not select.select([], [pipe], [], 0)[1], "the pipe is not full"
        with secured(server.connect()) as good:
            ping(good)
        assert server.stop_and_count()["handshake_not_tls"] == 300


def test_a_storm_of_handshakes_leaves_no_descriptor_and_no_log_line(server: Process) -> None:
    context = client_context()
    before = server.descriptors

    def shake_hands(number: int) -> None:
        client = secured(server.connect(), context)
        if number % 3 == 0:
            client.unwrap()
        elif number % 3 == 1:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()

    with secured(server.connect()) as good:
        for start in range(0, 300, 50):
            storm = [gevent.spawn(shake_hands, number) for number in range(start, start + 50)]
            while not all(client.ready() for client in storm):
                ping(good)
            gevent.joinall(storm, raise_error=True)
    wait_for_descriptors(server, before)
    found = server.stop_and_count()
    assert found["accepted"] == 301
    assert sum(value for name, value in found.items() if name.startswith("ended_")) == 301
    assert "ended_failure" not in found
    assert not server.errors
