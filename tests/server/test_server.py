"""TcpServer and EchoServer: states, options, connections and counters."""

from __future__ import annotations

import pytest

from geventecho.errors import ConfigError, ServerStateError
from geventecho.server.config import ServerConfig
from geventecho.server.connection import Phase
from geventecho.server.drain import StopReport
from geventecho.server.tcp_server import EchoServer, ServerState
from tests.support.servers import LOCAL, assert_adds_up, dial, echo_server, is_refused, ping, running
from tests.support.timing import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_server_listens_once_started_and_refuses_once_stopped() -> None:
    server = EchoServer(LOCAL)
    states = [server.state]
    assert not server.address
    server.start()
    states.append(server.state)
    assert server.address is not None
    assert server.address.port > 0
    assert server.address.host == "127.0.0.1"
    with dial(server) as client:
        ping(client)
    assert server.stop() == StopReport(drained=1)
    states.append(server.state)
    assert states == [ServerState.NEW, ServerState.LISTENING, ServerState.CLOSED]
    assert is_refused(server.address)


def test_the_context_manager_starts_and_stops_a_server() -> None:
    with EchoServer(LOCAL) as server:
        states = [server.state]
        with dial(server) as client:
            ping(client)
    states.append(server.state)
    assert states == [ServerState.LISTENING, ServerState.CLOSED]


def test_the_context_manager_stops_a_server_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="mine"), EchoServer(LOCAL) as server:
        raise RuntimeError("mine")
    assert server.state is ServerState.CLOSED


def test_a_stopped_server_can_be_started_again_and_keeps_its_counters() -> None:
    server = EchoServer(LOCAL)
    for turn in (1, 2, 3):
        server.start()
        with dial(server) as client:
            ping(client)
        server.stop()
        assert server.counters["accepted"] == turn


def test_a_started_server_cannot_be_started_again() -> None:
    with echo_server() as server, pytest.raises(ServerStateError, match="listening"):
        server.start()


def test_a_draining_server_cannot_be_started() -> None:
    with echo_server() as server, dial(server) as client:
        ping(client)
        server.close()
        assert server.state is ServerState.DRAINING
        with pytest.raises(ServerStateError, match="draining"):
            server.start()


def test_options_are_a_config_or_keywords() -> None:
    assert EchoServer(LOCAL, idle_timeout=5).config == ServerConfig(idle_timeout=5)
    config = ServerConfig(lifetime=7)
    assert EchoServer(LOCAL, config=config).config is config
    with pytest.raises(ConfigError, match="not both"):
        EchoServer(LOCAL, config=config, lifetime=7)
    with pytest.raises(ConfigError, match="unknown options: idle"):
        EchoServer(LOCAL, idle=5)


def test_repr_has_the_address_the_state_and_the_open_connections() -> None:
    server = EchoServer("127.0.0.1:0")
    assert repr(server) == "<EchoServer tcp://127.0.0.1:0 new 0 open>"
    with running(server):
        assert repr(server) == f"<EchoServer {server.address} listening 0 open>"


def test_connections_is_a_snapshot_of_peer_age_and_bytes() -> None:
    with echo_server() as server, dial(server) as client:
        assert server.connections == [] or server.connections[0].bytes_received == 0
        ping(client, b"x" * 1000)
        (info,) = server.connections
        assert (info.bytes_received, info.bytes_sent) == (1000, 1000)
        assert (info.peer.host, info.peer.port) == client.getsockname()
        assert info.phase is Phase.OPEN
        assert 0 <= info.age < PATIENCE
        ping(client)
        assert info.bytes_received == 1000, "the snapshot has changed"
        assert server.connections[0].age > info.age
        assert server.connection_count == 1


def test_counters_include_open_connections_and_the_peak() -> None:
    with echo_server() as server:
        clients = [dial(server) for _ in range(3)]
        for client in clients:
            ping(client, b"12345")
        counters = server.counters
        assert (counters["open"], counters["peak"], counters["accepted"]) == (3, 3, 3)
        assert (counters["bytes_received"], counters["bytes_sent"]) == (15, 15)
        for client in clients:
            client.close()
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert (counters["open"], counters["peak"], counters["ended_peer"]) == (0, 3, 3)
        assert (counters["bytes_received"], counters["bytes_sent"]) == (15, 15)
        assert_adds_up(counters)
