"""Where a server listens: ports in use, IPv6, Unix sockets, listeners of others."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from gevent import socket

from geventecho.errors import ListenError
from geventecho.net import linger_time
from geventecho.server.tcp_server import EchoServer, ServerState
from tests.support.servers import assert_adds_up, dial, echo_server, ping, read_to_end, running

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


def test_ipv6() -> None:
    with running(EchoServer("[::1]:0")) as server, dial(server) as client:
        ping(client)
        assert str(server.address).startswith("tcp://[::1]:")
        assert server.connections[0].peer.host == "::1"


def test_every_ipv6_interface_takes_ipv4_too_and_names_it_so() -> None:
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


def test_abstract_unix_socket() -> None:
    with running(EchoServer(f"unix:@geventecho-test-{os.getpid()}")) as server, dial(server) as client:
        assert str(server.address) == f"unix:@geventecho-test-{os.getpid()}"
        ping(client)


def test_an_inherited_listener_stays_its_owner_s() -> None:
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


def test_the_so_linger_of_an_inherited_listener_holds_nobody_up() -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
        with running(EchoServer(f"fd:{owner.fileno()}")) as server, dial(server) as client:
            ping(client)
            (connection,) = server._registry.open
            assert not linger_time(connection.sock)
