"""The listeners of a server: ports in use, IPv6, Unix sockets, inherited listeners, several at once."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from geventecho.errors import ConfigError, ListenError
from geventecho.net import linger_time
from geventecho.server.acceptor import SWEEP_SECONDS, Acceptor
from geventecho.server.tcp_server import EchoServer, ServerState
from tests.support.servers import assert_adds_up, connect_to, dial, echo_server, ping, read_to_end, running
from tests.support.timing import wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_port_in_use_is_a_listen_error_and_leaves_the_server_new() -> None:
    errors: list[BaseException] = []
    with echo_server() as first:
        assert first.address is not None
        second = EchoServer(first.address, on_error=errors.append)
        with pytest.raises(ListenError, match="another process has this address") as caught:
            second.start()
        assert caught.value.errno == errno.EADDRINUSE
        assert caught.value.address == first.address
        assert caught.value.phase == "listen"
        assert errors == [caught.value]
        assert second.state is ServerState.NEW
        with dial(first) as client:
            ping(client)
    with running(second), dial(second) as client:
        ping(client)


def test_a_server_listens_on_ipv6() -> None:
    with running(EchoServer("[::1]:0")) as server, dial(server) as client:
        ping(client)
        assert str(server.address).startswith("tcp://[::1]:")
        assert server.connections[0].peer.host == "::1"


def test_the_ipv6_wildcard_also_takes_ipv4_and_names_its_peers_as_ipv4() -> None:
    with running(EchoServer("[::]:0")) as server:
        assert server.address is not None
        with socket.create_connection(("127.0.0.1", server.address.port)) as client:
            ping(client)
            assert str(server.connections[0].peer) == f"tcp://127.0.0.1:{client.getsockname()[1]}"


def test_unix_socket_is_removed_after_the_stop(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    server = EchoServer(f"unix:{path}")
    server.start()
    assert str(server.address) == f"unix:{path}"
    with dial(server) as client:
        ping(client)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    server.stop()
    assert not path.exists()
    assert_adds_up(server.counters)


def test_all_listeners_share_the_time_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    shut = Acceptor.shut

    def record(acceptor: Acceptor, seconds: float) -> None:
        given.append(seconds)
        shut(acceptor, seconds)

    monkeypatch.setattr(Acceptor, "shut", record)
    with running(EchoServer(["127.0.0.1:0"] * 3)):
        pass
    assert given == [SWEEP_SECONDS / 3] * 3


def test_unix_socket_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    with running(EchoServer(f"unix:{path}")) as server, dial(server) as client:
        ping(client)


def test_unix_socket_of_a_live_server_is_refused(tmp_path: Path) -> None:
    target = f"unix:{tmp_path / 'echo.sock'}"
    with running(EchoServer(target)) as first:
        with pytest.raises(ListenError, match="a process that listens there"):
            EchoServer(target).start()
        with dial(first) as client:
            ping(client)


def test_a_server_listens_on_an_abstract_unix_socket() -> None:
    with running(EchoServer(f"unix:@geventecho-test-{os.getpid()}")) as server, dial(server) as client:
        assert str(server.address) == f"unix:@geventecho-test-{os.getpid()}"
        ping(client)


def test_an_inherited_listener_stays_open_for_its_owner() -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        for _ in range(2):
            with running(EchoServer(f"fd:{owner.fileno()}")) as server, dial(server) as client:
                assert server.address is not None
                assert server.address.port == owner.getsockname()[1]
                ping(client)
        with socket.create_connection(owner.getsockname()):
            accepted, _ = owner.accept()
            accepted.close()


def test_connections_do_not_keep_the_so_linger_of_an_inherited_listener() -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
        with running(EchoServer(f"fd:{owner.fileno()}")) as server, dial(server) as client:
            ping(client)
            (connection,) = server._registry.open
            assert not linger_time(connection.sock)


# Several listeners ----------------------------------------------------------------------------------------------------


def test_one_server_listens_on_several_addresses(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    server = EchoServer(["127.0.0.1:0", "[::1]:0", f"unix:{path}", f"unix:@geventecho-several-{os.getpid()}"])
    for _ in range(2):
        with running(server):
            assert [address.scheme for address in server.addresses] == ["tcp", "tcp", "unix", "unix"]
            assert server.address == server.addresses[0]
            clients = [connect_to(address) for address in server.addresses]
            for client in clients:
                ping(client)
            assert server.connection_count == 4
            for client in clients:
                client.close()
        assert not path.exists()
        for address in server.addresses:
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                connect_to(address)
    assert server.counters["accepted"] == 8
    assert_adds_up(server.counters)


def test_all_listeners_share_max_connections() -> None:
    with running(EchoServer(["127.0.0.1:0", "127.0.0.1:0"], max_connections=5)) as server:
        clients = [connect_to(address) for _ in range(20) for address in server.addresses]
        wait_until(lambda: server.counters["accepted"] == 40)
        assert server.connection_count == server.counters["peak"] == 5
        assert server.counters["refused_full"] == 35
        for client in clients:
            client.close()
        wait_until(lambda: not server.connection_count)
        assert_adds_up(server.counters)


def test_a_stop_serves_the_clients_queued_at_each_listener() -> None:
    server = EchoServer(["127.0.0.1:0", "[::1]:0"])
    server.start()
    clients = [connect_to(address) for _ in range(5) for address in server.addresses]
    stopping = gevent.spawn(server.stop)
    for client in clients:
        ping(client)
        client.close()
    assert stopping.get().drained == 10


def test_a_listener_that_fails_is_named_and_the_others_are_closed(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    path = tmp_path / "echo.sock"
    with echo_server() as busy, socket.socket() as free:
        assert busy.address is not None
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        targets: list[Any] = [f"127.0.0.1:{port}", f"unix:{path}", busy.address, "[::1]:0"]
        server = EchoServer(targets, on_error=errors.append)
        with pytest.raises(ListenError, match="another process has this address") as caught:
            server.start()
        assert caught.value.address == busy.address
        assert errors == [caught.value]
        assert server.state is ServerState.NEW
        assert not path.exists()
        with running(EchoServer(f"127.0.0.1:{port}")):
            pass
    with running(server):
        assert path.exists()


def test_two_addresses_that_exclude_each_other_are_a_listen_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ListenError, match=rf"this server has the port already, by tcp://\[::\]:{port}; \[::\] takes"):
        EchoServer([f"[::]:{port}", f"0.0.0.0:{port}"]).start()


def test_an_empty_list_of_addresses_is_refused() -> None:
    with pytest.raises(ConfigError, match="the list of addresses is empty"):
        EchoServer([])


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o770])
def test_unix_mode_is_the_mode_of_the_socket_file(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with running(EchoServer(f"unix:{path}", unix_mode=mode)) as server, dial(server) as client:
        assert stat.S_IMODE(path.stat().st_mode) == mode
        ping(client)


@pytest.mark.parametrize("mode", [-1, 0o1000, 1.5, "660", True])
def test_a_unix_mode_out_of_range_is_refused(mode: object) -> None:
    with pytest.raises(ConfigError, match="unix_mode"):
        EchoServer(unix_mode=mode)
