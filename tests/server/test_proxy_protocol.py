"""Connections of proxies: the client that a PROXY header names, and bytes that are no header."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket, ssl

from geventecho.address import Address, SockAddr
from geventecho.client import connect
from geventecho.errors import ConfigError
from geventecho.net import PROXY_VERSIONS, ProxyVersion, make_proxy_header
from geventecho.server.counters import HeaderFailure
from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, echo_server, ping, read_to_end, running
from tests.support.timing import UNIT, wait_until
from tests.support.tls import dial_tls, echo_handler, secured, tls_server

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.faults]
PROXIES = ("127.0.0.0/8", "::1")
SECRET = b"secret-payload"


def header(client: str, version: ProxyVersion = "v2") -> bytes:
    there = "192.0.2.2" if ipaddress.ip_address(client).version == 4 else "2001:db8::2"
    return make_proxy_header(version, (client, 56324), (there, 443))


LOCAL_HEADERS = [make_proxy_header(version, "", "") for version in PROXY_VERSIONS]


@contextmanager
def dial_with(server: TcpServer, first: bytes) -> Iterator[socket.socket]:
    """A client that has sent these bytes."""
    with dial(server) as client:
        client.sendall(first)
        yield client


def peers(server: TcpServer) -> list[str]:
    return [str(connection.peer) for connection in server.connections]


def assert_counts(server: TcpServer, **expected: int) -> None:
    """Wait until no connection is open, then check that these counters and no other failures count, and all add up."""
    wait_until(lambda: server.connection_count == 0)
    counters = server.counters
    assert {name: counters[name] for name in expected} == expected
    assert_adds_up(counters)
    failures = {f"proxy_header_{failure.value}": counters[f"proxy_header_{failure.value}"] for failure in HeaderFailure}
    assert counters["ended_proxy_header"] == sum(failures.values())
    assert not [name for name, count in failures.items() if count and name not in expected]


@pytest.mark.parametrize("in_hub", [True, False])
@pytest.mark.parametrize("version", PROXY_VERSIONS)
@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
def test_the_client_that_a_header_names_is_the_peer(version: ProxyVersion, address: str, in_hub: bool) -> None:
    shown = str(Address.of((address, 56324)))
    hooked: list[str] = []
    server = EchoServer(LOCAL, proxy_protocol_from=PROXIES, on_connection=lambda info: hooked.append(str(info.peer)))
    server.in_hub = in_hub
    with running(server), dial_with(server, header(address, version) + b"with the header") as client:
        assert client.recv(64) == b"with the header"
        ping(client, bytes(200_000))
        assert peers(server) == hooked == [shown]
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
        assert_counts(server, ended_peer=1, bytes_received=200_015)


def test_a_header_may_come_in_single_bytes() -> None:
    with echo_server(proxy_protocol_from=PROXIES) as server, dial(server) as client:
        for byte in header("203.0.113.7") + b"ping":
            client.sendall(bytes((byte,)))
            gevent.sleep(0)
        assert client.recv(4, socket.MSG_WAITALL) == b"ping"
        assert peers(server) == ["tcp://203.0.113.7:56324"]


@pytest.mark.parametrize("first", LOCAL_HEADERS)
def test_a_connection_of_the_proxy_itself_keeps_its_address(first: bytes) -> None:
    with echo_server(proxy_protocol_from=PROXIES, max_per_address=1) as server, dial_with(server, first) as check:
        ping(check)
        assert peers(server) == [str(Address.from_sockaddr(check.getsockname()))]
        with dial_with(server, header("203.0.113.7")) as client:
            ping(client)


def test_a_header_from_another_network_is_payload() -> None:
    first = header("203.0.113.7", "v1")
    with echo_server(proxy_protocol_from=("192.0.2.0/24", "2001:db8::/32")) as server, dial(server) as client:
        ping(client, first)
        assert peers(server) == [str(Address.from_sockaddr(client.getsockname()))]
        client.close()
        assert_counts(server, bytes_received=len(first))


def test_a_handler_gets_the_address_of_the_client_and_the_bytes_after_the_header() -> None:
    got: list[object] = []

    def handler(sock: socket.socket, peer: SockAddr) -> None:
        got.append(peer)
        echo_handler(sock, peer)

    server = TcpServer(LOCAL, handler, proxy_protocol_from=PROXIES)
    with running(server), dial_with(server, header("2001:db8::7") + b"rest") as client:
        assert client.recv(64) == b"rest"
        assert got == [("2001:db8::7", 56324, 0, 0)]


def test_the_header_does_not_count_as_the_first_byte() -> None:
    """The kernel counts the bytes of a handler's connection, and its count includes the header."""

    def handler(sock: socket.socket, _peer: object) -> None:
        sock.recv(1)

    server = TcpServer(LOCAL, handler, proxy_protocol_from=PROXIES, first_byte_timeout=2 * UNIT)
    with running(server), dial_with(server, header("203.0.113.7")) as silent:
        assert silent.recv(1) == b""
        wait_until(lambda: server.counters["ended_first_byte"] == 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"allow": ("2001:db8::/32",)}, ""),
        ({"deny": ("192.0.2.0/24",)}, "the deny list names no IPv6 network"),
    ],
)
def test_the_lists_apply_to_clients_of_both_ip_versions(
    options: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        echo_server(proxy_protocol_from=PROXIES, **options) as server,
        dial_with(server, header("2001:db8::1")) as client,
    ):
        ping(client)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == bool(text)
    assert all(text in line for line in warned)


@pytest.mark.parametrize("echoes", [True, False])
def test_the_header_comes_before_the_handshake(echoes: bool) -> None:
    with running(tls_server(echoes=echoes, proxy_protocol_from=PROXIES)) as server:
        client = dial(server)
        client.sendall(header("203.0.113.7", "v1"))
        with secured(client) as tls:
            ping(tls, bytes(100_000))
            assert peers(server) == ["tcp://203.0.113.7:56324"]
        wait_until(lambda: server.connection_count == 0)
        with pytest.raises((ssl.SSLError, ConnectionError)):  # a handshake is no header
            dial_tls(server)
        wait_until(lambda: server.counters["proxy_header_malformed"] == 1)
        assert server.counters["ended_handshake"] == 0


def test_limits_apply_to_the_clients_and_not_to_the_proxy() -> None:
    refused: list[tuple[str, str]] = []
    with (
        echo_server(
            proxy_protocol_from=PROXIES, max_per_address=2, deny=("203.0.113.0/24", "127.0.0.0/8"),
            on_refuse=lambda peer, why: refused.append((peer.host, why.value)),
        ) as server,
        dial_with(server, header("192.0.2.1")) as one,
        dial_with(server, header("192.0.2.1")) as two,
        dial_with(server, header("192.0.2.9")) as other,
    ):  # fmt: skip
        for client in (one, two, other):
            ping(client)
        for client, times in (("192.0.2.1", 1), ("203.0.113.5", 2)):
            for _ in range(times):
                with dial_with(server, header(client)) as third, pytest.raises((ConnectionError, AssertionError)):
                    ping(third, SECRET)
        one.close()
        wait_until(lambda: len(peers(server)) == 2)
        with dial_with(server, header("192.0.2.1")) as next_one:  # the slot of the first; refused clients took none
            ping(next_one)
        ping(two)
        two.close()
        other.close()
        wait_until(lambda: server._registry._limits._open.total() == 0)
        assert_counts(server, refused_address_full=1, refused_denied=2, ended_proxy_header=0)
    assert refused == [("192.0.2.1", "address_full"), *2 * [("203.0.113.5", "denied")]]


def test_connect_rate_applies_to_the_clients() -> None:
    with echo_server(proxy_protocol_from=PROXIES, connect_rate=1) as server:
        for number in range(5):
            with dial_with(server, header(f"192.0.2.{number}")) as client:
                ping(client)
        with dial_with(server, header("192.0.2.4")) as client:
            assert client.recv(1) == b""
        assert_counts(server, refused_connect_rate=1, accepted=6)


def resets(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    client.close()


FAILURES: list[tuple[str, bytes, Callable[[Any], object]]] = [
    ("malformed", b"GET / HTTP/1.1\r\n\r\n" + SECRET, read_to_end),
    ("malformed", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 70000\r\n" + SECRET, read_to_end),
    ("malformed", b"PROXY " + 200 * b"x", read_to_end),
    ("gone", header("192.0.2.1")[:20], socket.socket.close),
    ("gone", b"PROXY TCP4 192", resets),
    ("probe", b"", socket.socket.close),
    ("probe", b"", resets),
    ("timeout", b"", read_to_end),
    ("timeout", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 ", read_to_end),
]


@pytest.mark.parametrize(("why", "first", "then"), FAILURES)
def test_a_failed_header_ends_only_its_connection(
    why: str, first: bytes, then: Callable[[Any], object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geventecho")
    with (
        echo_server(proxy_protocol_from=PROXIES, proxy_header_timeout=3 * UNIT, max_per_address=1) as server,
        dial_with(server, header("203.0.113.7")) as neighbour,
    ):
        ping(neighbour)
        for _ in range(3):
            with dial_with(server, first) as client:
                try:
                    then(client)
                except ConnectionError:
                    pass
        wait_until(lambda: server.counters[f"proxy_header_{why}"] == 3)
        ping(neighbour)
        neighbour.close()
        assert_counts(server, accepted=4, ended_proxy_header=3, bytes_received=8, **{f"proxy_header_{why}": 3})
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert bool(lines) == (why != "probe")
    assert len(lines) <= 2 + (why == "timeout")
    assert all(f"no PROXY header: {why}" in line for line in lines)
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


def test_the_header_timeout_is_for_the_whole_header() -> None:
    """Single bytes do not extend it."""
    with echo_server(proxy_protocol_from=PROXIES, proxy_header_timeout=3 * UNIT) as server, dial(server) as client:
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012
            for byte in header("203.0.113.7", "v1") * 3:
                client.sendall(bytes((byte,)))
                sent += 1
                gevent.sleep(UNIT / 2)
        assert sent < 20
        assert_counts(server, proxy_header_timeout=1, bytes_received=0)


def test_a_stop_does_not_wait_for_headers() -> None:
    with echo_server(proxy_protocol_from=PROXIES, drain_idle=0.0) as server, dial(server) as waiting:
        wait_until(lambda: server.connection_count == 1)
        report = server.stop(5)
        assert (report.drained, report.cut, report.bytes_lost) == (1, 0, 0)
        assert waiting.recv(1) == b""
        assert_counts(server, ended_drained=1, ended_proxy_header=0)


@pytest.mark.parametrize("version", PROXY_VERSIONS)
def test_a_client_sends_a_header_with_its_own_address(version: ProxyVersion) -> None:
    with (
        echo_server(proxy_protocol_from=PROXIES) as server,
        connect(server.address or "", source="127.0.0.9:0", proxy_protocol=version) as client,
    ):
        assert client.echo(b"ping") == b"ping"
        assert peers(server) == [str(client.local_address)]
    with pytest.raises(ConfigError, match="proxy_protocol is 'v3'"):
        connect(server.address or "", proxy_protocol="v3")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", PROXY_VERSIONS)
def test_a_proxy_may_connect_to_a_unix_socket(version: ProxyVersion, tmp_path: Path) -> None:
    with running(
        EchoServer(f"unix:{tmp_path}/echo", proxy_protocol_from=("unix",), deny=("203.0.113.0/24",))
    ) as server:
        with connect(server.address or "", proxy_protocol=version) as client:
            client.echo(b"ping")
        with dial_with(server, header("192.0.2.1", version)) as other:
            ping(other)
            assert "tcp://192.0.2.1:56324" in peers(server)
        with dial_with(server, header("203.0.113.1", version)) as denied:
            assert denied.recv(1) == b""
        assert_counts(server, refused_denied=1, ended_peer=2)


@pytest.mark.parametrize("networks", ["127.0.0.1", ("localhost",), ("unix:/run",)])
def test_a_proxy_that_is_no_network_is_refused(networks: Any) -> None:
    with pytest.raises(ConfigError, match="proxy_protocol_from"):
        EchoServer(LOCAL, proxy_protocol_from=networks)
