"""Scenarios of the end of one process: idle clients, transfers under way, handlers that refuse to end, new connects."""

from __future__ import annotations

import socket
import threading
import time

import gevent
import pytest

from tests.support.servers import Process, is_refused, ping, read_to_end
from tests.support.timing import PATIENCE, UNIT, figure, median_of, wait_until
from tests.support.watch import MIB, Counted, counted, in_threads

pytestmark = pytest.mark.faults


def last_line(server: Process) -> str:
    return next(line for line in reversed(server.lines) if line.startswith("stopped: "))


@pytest.mark.alone
def test_sigterm_ends_idle_clients_soon_and_without_an_error() -> None:
    def once() -> float:
        with counted(drain_idle=2 * UNIT) as server:
            clients = [server.connect() for _ in range(200)]
            for client in clients:
                ping(client)
            gevent.sleep(3 * UNIT)  # longer than drain_idle: the clients are idle
            began = time.monotonic()
            server.signal()
            for client in clients:
                assert read_to_end(client) == b""
                client.close()
            assert server.wait() == 0
            took = time.monotonic() - began
            assert last_line(server) == "stopped: drained 200, cut 0, bytes lost 0"
        return took

    median_of(3, once, 0.5 + UNIT, "exit after SIGTERM with 200 idle clients, s; no client error")


def test_sigterm_lets_bulk_transfers_finish() -> None:
    size = 32 * MIB

    def transfer(server: Counted) -> tuple[int, float]:
        """Send and read `size` bytes; returns the bytes received and the time of the last one."""
        with server.plain_connect() as client:

            def send() -> None:
                for _ in range(size // MIB):
                    client.sendall(b"x" * MIB)
                    time.sleep(UNIT / 5)
                client.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            received, buffer = 0, bytearray(MIB)
            while got := client.recv_into(buffer):
                received += got
            ended = time.monotonic()
            sender.join()
            return received, ended

    def once() -> float:
        with counted() as server:
            transfers = gevent.spawn(in_threads, transfer, [(server,)] * 20)
            wait_until(lambda: server.counters()["bytes_received"] > 20 * MIB)
            server.signal()
            wait_until(lambda: is_refused(server.address))
            done: list[tuple[int, float]] = transfers.get(timeout=PATIENCE)
            assert server.wait() == 0
            ended = time.monotonic()
            assert [received for received, _ in done] == [size] * 20
            found = server.last_report()
            assert found["bytes_lost"] == 0
            figure("bytes returned of bytes received", found["bytes_sent"] / found["bytes_received"])
        return ended - max(last for _, last in done)

    median_of(3, once, 0.1 + 2 * UNIT, "exit after the last byte of 20 transfers, s")


def test_a_handler_that_refuses_to_end_is_cut_soon_after_the_drain_timeout() -> None:
    timeout = 3 * UNIT
    with Counted(handler="stubborn", drain_timeout=timeout, drain_idle=0) as server:
        client = server.plain_connect()
        server.wait_for(open=1)
        began = time.monotonic()
        server.signal()
        assert server.wait() == 0
        took = time.monotonic() - began
        client.settimeout(PATIENCE)
        assert client.recv(1) == b""
        client.close()
        assert last_line(server) == "stopped: drained 0, cut 1, bytes lost 0"
        assert "a handler does not end" in server.errors
        assert "Traceback" not in server.errors
    figure(f"exit with a handler that does not end, drain timeout {timeout:g} s", round(took, 2))
    assert took <= timeout + 1 + 0.1 + 0.5 + 20 * UNIT


def test_sigterm_beside_new_connects_serves_or_refuses_each_client() -> None:
    with counted(drain_idle=2 * UNIT) as server:
        served = refused = 0
        others: list[Exception] = []

        def keep_connecting() -> None:
            nonlocal served, refused
            while True:
                try:
                    with server.connect() as client:
                        ping(client)
                        served += 1
                except ConnectionRefusedError:
                    refused += 1
                    return
                except (OSError, AssertionError) as error:
                    others.append(error)
                    return

        clients = [gevent.spawn(keep_connecting) for _ in range(20)]
        wait_until(lambda: served > 20)
        server.signal()
        gevent.joinall(clients, timeout=PATIENCE)
        assert server.wait() == 0
        assert refused + len(others) == 20, "a client hangs"
        # The kernel resets a connect whose handshake ends at the moment of the close. The server cannot prevent that.
        assert len(others) <= 3
    figure("lifecycle: of 20 clients that kept connecting at SIGTERM, reset at the moment of the close", len(others))
