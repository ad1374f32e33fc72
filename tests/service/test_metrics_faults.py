"""Scrapers that are slow, stuck, many or hostile: the next one is answered, and the echo does not become slower."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import gevent
import pytest
from gevent import socket

from geventecho.address import Address
from geventecho.service import metrics_http
from geventecho.service.metrics_http import CONNECTIONS, HEAD_BYTES, MetricsServer
from geventecho.service.shared_counters import SharedCounters
from tests.support.properties import HealthCheck, given, settings, st
from tests.support.scraping import get, metrics_of, parsed, scrape
from tests.support.servers import Process, connect_to, ping, read_to_end, serve
from tests.support.timing import PATIENCE, UNIT, figure, median_of, wait_until

pytestmark = pytest.mark.faults


@dataclass
class InProcess:
    """A server of metrics in this process, with short times."""

    server: MetricsServer
    address: Address


@pytest.fixture
def short() -> Iterator[InProcess]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    address = Address.from_sockaddr(listener.getsockname())
    with (
        mock.patch.object(metrics_http, "REQUEST_SECONDS", 6 * UNIT),
        mock.patch.object(metrics_http, "CROWDED_SECONDS", UNIT),
        mock.patch.object(metrics_http, "CHECK_SECONDS", UNIT / 4),
        mock.patch.object(gevent.get_hub(), "print_exception") as told,
    ):
        server = MetricsServer(listener, SharedCounters(), lambda: None)
        server.start()
        yield InProcess(server, address)
        wait_until(lambda: not len(server.pool), goal="the connections' end")
        server.stop()
        told.assert_not_called()


def closed_after(sock: socket.socket, seconds: float) -> float:
    """Wait until the server closes the connection; returns the seconds that it took."""
    began = time.monotonic()
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


def test_a_scraper_that_sends_nothing_is_closed(short: InProcess) -> None:
    with connect_to(short.address) as silent:
        assert 5 * UNIT < closed_after(silent, PATIENCE) < 8 * UNIT


def test_a_scraper_that_sends_a_byte_at_a_time_gets_no_more_time(short: InProcess) -> None:
    with connect_to(short.address) as slow:

        def trickle() -> None:
            for byte in b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 1000:
                slow.sendall(bytes([byte]))
                gevent.sleep(UNIT / 4)

        sending = gevent.spawn(trickle)
        assert closed_after(slow, PATIENCE) < 8 * UNIT
        sending.kill()


def test_a_scraper_that_never_reads_is_reset(short: InProcess) -> None:
    """The answer does not fit into the socket buffers."""
    long_answer = mock.patch.object(short.server._exposition, "render", return_value=("text/plain", b"x" * (16 << 20)))
    with long_answer, connect_to(short.address) as stuck:
        stuck.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        wait_until(lambda: len(short.server.pool) == 1)
        wait_until(lambda: len(short.server.pool) == 0, 8 * UNIT)
        with pytest.raises(ConnectionResetError):
            read_to_end(stuck)


def test_a_scrape_does_not_wait_for_silent_scrapers(short: InProcess) -> None:
    silent = [connect_to(short.address) for _ in range(3 * CONNECTIONS)]
    began = time.monotonic()
    scrape(short.address)
    assert time.monotonic() - began < 3 * 3 * UNIT
    for sock in silent:
        sock.close()


def test_a_new_scraper_is_not_closed_for_another_one(short: InProcess) -> None:
    waiting = [connect_to(short.address) for _ in range(3 * CONNECTIONS)]
    for sock in waiting:
        sock.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert [parsed(read_to_end(sock)).status for sock in waiting] == [200] * len(waiting)
    for sock in waiting:
        sock.close()


@pytest.mark.parametrize("text", ["GET /" + "x" * HEAD_BYTES, "GET / HTTP/1.1\r\n" + "X: y\r\n" * (HEAD_BYTES // 6)])
def test_a_request_that_is_too_long_is_answered_with_431(short: InProcess, text: str) -> None:
    with connect_to(short.address) as sock:
        sock.sendall(text.encode()[:HEAD_BYTES])
        assert parsed(read_to_end(sock)).status == 431


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Process, Address]]:
    with serve("--metrics", "0") as server:
        metrics = metrics_of(server)
        before = server.descriptors
        yield server, metrics
        wait_until(lambda: server.descriptors == before, goal="all descriptors are closed")
        assert server.stop() == 0
        assert server.errors == "", "no scraper makes the server print a line"


HEADERS = "".join(f"X{number}: y\r\n" for number in range(200))
ODD = (
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"GET / HTTP/1\r\n\r\n",
    b"GET / HTTP/\xb2.\xb2\r\n\r\n", f"GET / HTTP/1.1\r\n{HEADERS}\r\n".encode(), b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"HEAD / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n",
    b"GET / HTTP/1.1\r\n folded\r\n\r\n", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"GET % HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"GET /%ff%00 HTTP/1.1\r\nA\r\n\r\n",
)  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_an_unusual_request_is_answered_without_a_line(service: tuple[Process, Address], text: bytes) -> None:
    with connect_to(service[1]) as sock:
        sock.sendall(text)
        answer = read_to_end(sock)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200"))


@given(st.binary(max_size=200), st.sampled_from((b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nA: ")))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_leave_the_server_running(service: tuple[Process, Address], noise: bytes, first: bytes) -> None:
    with connect_to(service[1]) as sock:
        sock.sendall(first + noise + b"\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        try:
            read_to_end(sock)
        except ConnectionResetError:
            pass


@pytest.mark.alone
def test_scrapers_do_not_slow_the_echo(service: tuple[Process, Address]) -> None:
    """50 scrapers at the same time, three times each, beside 25 that never read and 25 that send nothing."""
    server, metrics = service
    idle = [connect_to(metrics) for _ in range(50)]
    for sock in idle[:25]:
        sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

    def scraping() -> None:
        for _ in range(3):
            assert get(metrics).status == 200

    with server.connect() as client:

        def worst() -> float:
            scrapers = [gevent.spawn(scraping) for _ in range(50)]
            times = []
            while not all(scraper.ready() for scraper in scrapers):
                began = time.perf_counter()
                ping(client)
                times.append(time.perf_counter() - began)
                gevent.sleep(0.001)
            gevent.joinall(scrapers, raise_error=True)
            times.sort()
            return times[int(len(times) * 0.99)]

        median_of(3, worst, 0.05, "p99 of a ping beside 50 scrapers, seconds")
    for sock in idle:
        sock.close()
    began = time.perf_counter()
    scrape(metrics)
    figure("a scrape, seconds", time.perf_counter() - began)
