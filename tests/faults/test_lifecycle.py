"""Scenarios of the end of one process: idle clients, transfers under way, stuck peers, stubborn handlers."""

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
def test_sigterm_with_idle_clients() -> None:
    def once() -> float:
        with counted(drain_idle=2 * UNIT) as server:
            clients = [server.connect() for _ in range(200)]
            for client in clients:
                ping(client)
            gevent.sleep(3 * UNIT)
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


def test_sigterm_during_bulk_transfers() -> None:
    size = 32 * MIB

    def transfer(server: Counted) -> tuple[int, float]:
        """Bytes that came back, and when the last one did."""
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
            figure("bytes returned of bytes owed", found["bytes_sent"] / found["bytes_received"])
        return ended - max(last for _, last in done)

    median_of(3, once, 0.1 + 2 * UNIT, "exit after the last byte of 20 transfers, s")


def test_a_handler_that_swallows_its_end() -> None:
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
        assert "a handler refuses to end" in server.errors
        assert "Traceback" not in server.errors
    figure(f"exit with a handler that swallows its end, drain timeout {timeout:g} s", round(took, 2))
    assert took <= timeout + 1 + 0.1 + 0.5 + 20 * UNIT


def test_sigterm_beside_connects_that_keep_coming() -> None:
    """Each accepted client is served, each other one is refused, and none hangs."""
    with counted(drain_idle=2 * UNIT) as server:
        served = refused = 0
        others: list[Exception] = []

        def comes() -> None:
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

        visitors = [gevent.spawn(comes) for _ in range(20)]
        gevent.sleep(3 * UNIT)
        server.signal()
        gevent.joinall(visitors, timeout=PATIENCE)
        assert server.wait() == 0
        # A connect whose handshake the kernel finished in the instant of the close is reset: nobody can prevent that.
        assert refused + len(others) == 20
        assert len(others) <= 3
        assert served > 20
    figure("lifecycle: of 20 who kept coming at SIGTERM, reset in the instant of the close", len(others))
