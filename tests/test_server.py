"""TcpServer and EchoServer: the whole interface, in this process."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket as blocking_socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from servers import LOCAL, assert_adds_up, dial, echo_server, is_refused, ping, read_to_end, running
from timing import PATIENCE, UNIT, wait_until

from geventecho.config import ServerConfig
from geventecho.connection import Phase
from geventecho.counters import Refusal
from geventecho.drain import StopReport
from geventecho.errors import ConfigError, ListenError, ServerStateError
from geventecho.server import EchoServer, ServerState, TcpServer

pytestmark = pytest.mark.usefixtures("no_leaks")


def upper(sock: socket.socket, _peer: object) -> None:
    while data := sock.recv(4096):
        sock.sendall(data.upper())


def readable(sock: blocking_socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


# Life -----------------------------------------------------------------------------------------------------------------


def test_it_listens_once_started_and_refuses_once_stopped() -> None:
    server = EchoServer(LOCAL)
    assert server.state is ServerState.NEW
    assert server.address is None
    server.start()
    assert server.state is ServerState.LISTENING
    assert server.address is not None
    assert server.address.port > 0
    assert server.address.host == "127.0.0.1"
    with dial(server) as client:
        ping(client)
    assert server.stop() == StopReport(drained=1)
    assert server.state is ServerState.CLOSED
    assert is_refused(server.address)


def test_a_handler_of_ones_own_gets_a_gevent_socket_and_the_peer() -> None:
    seen: list[Any] = []

    def handler(sock: socket.socket, peer: object) -> None:
        seen.append((isinstance(sock, socket.socket), peer, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        upper(sock, peer)

    with running(TcpServer(LOCAL, handler)) as server:
        with dial(server) as client:
            client.sendall(b"msg")
            client.shutdown(socket.SHUT_WR)
            assert read_to_end(client) == b"MSG"
            name = client.getsockname()
        wait_until(lambda: not server.connection_count)
        assert seen == [(True, name, 1)]
        assert server.counters["ended_handler"] == 1
        assert_adds_up(server.counters, echoes=False)


def test_as_a_context_manager_it_starts_and_stops() -> None:
    with EchoServer(LOCAL) as server:
        assert server.state is ServerState.LISTENING
        with dial(server) as client:
            ping(client)
    assert server.state is ServerState.CLOSED


def test_the_context_manager_stops_it_after_an_error_too() -> None:
    with pytest.raises(RuntimeError, match="mine"), EchoServer(LOCAL) as server:
        raise RuntimeError("mine")
    assert server.state is ServerState.CLOSED


def test_serve_forever_inside_the_context_manager_ends_with_stop() -> None:
    with EchoServer(LOCAL) as server:
        serving = gevent.spawn(server.serve_forever)
        gevent.sleep(0)
        server.stop()
        assert serving.get(timeout=PATIENCE) == StopReport()


def test_it_can_be_started_again_and_keeps_its_counters() -> None:
    server = EchoServer(LOCAL)
    for turn in (1, 2, 3):
        server.start()
        with dial(server) as client:
            ping(client)
        server.stop()
        assert server.counters["accepted"] == turn


def test_serve_forever_can_follow_a_stop_that_ended_one() -> None:
    server = EchoServer(LOCAL)
    for _ in range(2):
        serving = gevent.spawn(server.serve_forever)
        wait_until(lambda: server.state is ServerState.LISTENING)
        server.stop()
        serving.get(timeout=PATIENCE)
    assert server.state is ServerState.CLOSED


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


def test_a_stop_that_comes_before_serve_is_not_lost() -> None:
    server = EchoServer(LOCAL)
    assert server.stop() == StopReport()
    assert gevent.spawn(server.serve_forever).get(timeout=PATIENCE) == StopReport()
    assert server.state is ServerState.CLOSED
    assert server.address is None


def test_a_stop_between_start_and_serve_is_not_lost() -> None:
    server = EchoServer(LOCAL)
    server.start()
    server.stop()
    assert gevent.spawn(server.serve_forever).get(timeout=PATIENCE) == StopReport()


def test_a_stop_by_the_listening_hook_is_not_lost() -> None:
    server = EchoServer(LOCAL, on_listening=lambda server: server.stop())
    assert gevent.spawn(server.serve_forever).get(timeout=PATIENCE) == StopReport()
    assert server.state is ServerState.CLOSED


def test_serve_forever_killed_stops_accepting() -> None:
    server = EchoServer(LOCAL)
    serving = gevent.spawn(server.serve_forever)
    wait_until(lambda: server.state is ServerState.LISTENING)
    serving.kill()
    assert server.address is not None
    assert is_refused(server.address)
    assert server.state is ServerState.CLOSED


def test_close_lets_connections_go_on_and_join_waits_for_them() -> None:
    server = EchoServer(LOCAL)
    server.start()
    assert server.address is not None
    with dial(server) as client:
        ping(client)
        server.close()
        server.close()
        assert is_refused(server.address)
        assert not server.join(UNIT)
        ping(client)
        assert server.connection_count == 1
    assert server.join(PATIENCE)
    assert server.state is ServerState.CLOSED


def test_join_without_a_start_returns_at_once() -> None:
    assert EchoServer(LOCAL).join(0)


def test_close_before_start_does_nothing() -> None:
    server = EchoServer(LOCAL)
    server.close()
    assert server.state is ServerState.NEW
    server.start()
    server.close()
    server.start()
    with dial(server) as client:
        ping(client)
    server.stop()


def test_close_serves_what_the_kernel_has_queued() -> None:
    server = EchoServer(LOCAL)
    server.start()
    assert server.address is not None
    clients = [blocking_socket.create_connection(("127.0.0.1", server.address.port)) for _ in range(20)]
    assert server.connection_count == 0
    server.close()
    assert server.connection_count == 20
    for client in clients:
        client.sendall(b"queued")
        wait_until(lambda client=client: readable(client))  # type: ignore[misc]
        assert client.recv(6) == b"queued"
        client.close()
    assert server.join(PATIENCE)
    assert server.counters["ended_peer"] == 20


def test_stop_is_idempotent() -> None:
    server = EchoServer(LOCAL)
    server.start()
    with dial(server) as client:
        ping(client)
        reports = [gevent.spawn(server.stop, timeout) for timeout in (PATIENCE, 0, PATIENCE)]
        assert read_to_end(client) == b""
        client.close()
        got = [report.get(timeout=PATIENCE) for report in reports]
    assert got == [StopReport(cut=1)] * 3 or got == [StopReport(drained=1)] * 3
    assert server.stop() == got[0]


def test_a_second_stop_with_less_patience_wins() -> None:
    server = EchoServer(LOCAL, drain_idle=PATIENCE)
    server.start()
    with dial(server) as client:
        ping(client)
        patient = gevent.spawn(server.stop, 10 * PATIENCE)
        gevent.sleep(UNIT)
        assert not patient.ready()
        assert server.stop(0) == StopReport(cut=1)
        assert patient.get(timeout=PATIENCE) == StopReport(cut=1)


def test_stop_from_inside_a_handler_keeps_its_timeout_for_a_busy_neighbour() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        while data := sock.recv(100):
            if data == b"stop":
                server.stop(timeout=3 * UNIT)
            sock.sendall(data)

    server = TcpServer(LOCAL, handler, drain_idle=2 * UNIT)
    server.start()
    with dial(server) as busy, dial(server) as client:
        client.sendall(b"stop")

        def pings() -> None:
            while True:
                ping(busy)
                gevent.sleep(UNIT / 10)

        pinging = gevent.spawn(pings)
        pinging.link_exception(lambda _: None)
        assert server.join(PATIENCE), "the drain died with the handler that began it"
        pinging.kill()
    report = server.stop()
    assert (report.drained, report.cut) == (1, 1)


@pytest.mark.parametrize("hook", ["on_connection", "on_error", "on_refuse", "on_close"])
def test_stop_from_inside_a_hook(hook: str) -> None:
    stops: list[StopReport] = []

    def stop(*_: object) -> None:
        stops.append(server.stop(timeout=UNIT))

    def fails(_sock: object, _peer: object) -> None:
        raise RuntimeError("a bug")

    most = 0 if hook == "on_refuse" else 5
    hooks: dict[str, Any] = {hook: stop}
    server = TcpServer(LOCAL, fails, max_connections=most, drain_idle=0, **hooks)
    server.start()
    with dial(server) as client:
        assert read_to_end(client) == b""
    if hook == "on_close":
        server.stop()
    assert server.join(PATIENCE)
    assert server.state is ServerState.CLOSED


def test_the_close_hook_may_start_the_server_again() -> None:
    starts = 0

    def again(_report: object) -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            server.start()

    server = EchoServer(LOCAL, on_close=again)
    server.start()
    server.stop()
    wait_until(lambda: starts == 1)
    assert server.state is ServerState.LISTENING
    assert not server.join(UNIT), "join() of the second life returned for the end of the first"
    with dial(server) as client:
        ping(client)
    server.stop()
    assert server.join(PATIENCE)
    assert starts == 2


def test_options_are_a_table_or_keywords() -> None:
    assert EchoServer(LOCAL, idle_timeout=5).config == ServerConfig(idle_timeout=5)
    config = ServerConfig(lifetime=7)
    assert EchoServer(LOCAL, config=config).config is config
    with pytest.raises(ConfigError, match="not both"):
        EchoServer(LOCAL, config=config, lifetime=7)
    with pytest.raises(ConfigError, match="unknown options: idle"):
        EchoServer(LOCAL, idle=5)


@pytest.mark.parametrize("option", ["max_bytes", "max_rate"])
def test_limits_of_the_echo_loop_are_refused_with_a_handler(option: str) -> None:
    with pytest.raises(ConfigError, match="handler"):
        TcpServer(LOCAL, upper, **{option: 5})


def test_repr_tells_where_and_how() -> None:
    server = EchoServer("127.0.0.1:0")
    assert repr(server) == "<EchoServer tcp://127.0.0.1:0 new 0 open>"
    with running(server):
        assert repr(server) == f"<EchoServer {server.address} listening 0 open>"


# Listening ------------------------------------------------------------------------------------------------------------


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


# What it tells --------------------------------------------------------------------------------------------------------


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
        assert info.bytes_received == 1000, "a snapshot does not move"
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


# Hooks ----------------------------------------------------------------------------------------------------------------


def test_hooks_are_called_in_the_order_of_events() -> None:
    events: list[Any] = []
    server = EchoServer(
        LOCAL,
        max_connections=1,
        on_listening=lambda server: events.append(("listening", server.address)),
        on_connection=lambda info: events.append(("connection", info.peer.port)),
        on_refuse=lambda peer, why: events.append(("refuse", peer.port, why)),
        on_close=lambda report: events.append(("close", report)),
        on_error=lambda error: events.append(("error", error)),
    )
    server.start()
    with dial(server) as client:
        ping(client)
        with dial(server) as refused:
            assert read_to_end(refused) == b""
            ports = client.getsockname()[1], refused.getsockname()[1]
        wait_until(lambda: len(events) == 3)
    report = server.stop()
    assert events == [
        ("listening", server.address),
        ("connection", ports[0]),
        ("refuse", ports[1], Refusal.FULL),
        ("close", report),
    ]


@pytest.mark.parametrize("failure", [RuntimeError("bug"), SystemExit(3), KeyboardInterrupt(), SystemError("bug")])
def test_hooks_that_raise_cost_neither_a_connection_nor_the_server(
    failure: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def fails(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise failure

    server = EchoServer(
        LOCAL,
        max_connections=1,
        on_listening=fails,
        on_connection=fails,
        on_refuse=fails,
        on_close=fails,
        on_error=fails,
    )
    with running(server):
        with dial(server) as client:
            ping(client)
            with dial(server) as refused:
                assert read_to_end(refused) == b""
            ping(client)
        wait_until(lambda: calls == 3)
    assert server.join(PATIENCE)
    assert calls == 4
    assert "Traceback" not in capfd.readouterr().err


def test_a_connection_hook_that_blocks_holds_up_its_connection_alone() -> None:
    release = Event()
    seen = 0

    def blocks(_info: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            release.wait()

    with echo_server(on_connection=blocks) as server, dial(server) as held, dial(server) as other:
        ping(other)
        held.sendall(b"late")
        ping(other)
        release.set()
        assert held.recv(4) == b"late"


def test_a_refuse_hook_that_blocks_holds_up_nobody() -> None:
    release = Event()
    with echo_server(max_connections=1, on_refuse=lambda *_: release.wait()) as server:
        with dial(server) as client:
            ping(client)
            for _ in range(5):
                with dial(server) as refused:
                    assert read_to_end(refused) == b""
            ping(client)
        release.set()
        gevent.sleep(0)


def test_who_waits_for_the_stop_waits_for_the_close_hook() -> None:
    release, entered = Event(), Event()

    def blocks(_report: object) -> None:
        entered.set()
        release.wait()

    server = EchoServer(LOCAL, on_close=blocks)
    server.start()
    stopping = gevent.spawn(server.stop, 0)
    assert entered.wait(PATIENCE)
    assert not server.join(0)
    release.set()
    assert stopping.get(timeout=PATIENCE) == StopReport()


# Limits ---------------------------------------------------------------------------------------------------------------


def test_connections_over_the_limit_are_accepted_counted_and_closed_at_once() -> None:
    with echo_server(max_connections=2) as server:
        assert server.max_connections == 2
        first, second = dial(server), dial(server)
        ping(first)
        ping(second)
        for turn in (1, 2, 3):
            began = time.monotonic()
            with dial(server) as refused:
                assert read_to_end(refused) == b""
            assert time.monotonic() - began < 5 * UNIT
            assert server.counters["refused_full"] == turn
        ping(first)
        ping(second)
        assert server.counters["peak"] == 2
        first.close()
        second.close()
        wait_until(lambda: not server.connection_count)
        assert server.counters["accepted"] == 5
        assert_adds_up(server.counters)


def test_a_freed_slot_is_used_at_once() -> None:
    """The next client connects when the FIN of the last one is surely on its way: close() of a plain socket sent it."""

    def come_and_go(port: int) -> int:
        for turn in range(200):
            with blocking_socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(b"ping")
                if client.recv(4) != b"ping":
                    return turn
        return 200

    with echo_server(max_connections=1) as server:
        assert server.address is not None
        assert gevent.get_hub().threadpool.apply(come_and_go, (server.address.port,)) == 200
        wait_until(lambda: not server.connection_count)
        assert server.counters["refused_full"] == 0
        assert server.counters["accepted"] == 200


def test_zero_refuses_all() -> None:
    with echo_server(max_connections=0) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        assert server.counters["refused_full"] == 1


def test_without_a_limit_the_descriptors_are_one() -> None:
    import resource

    with echo_server() as server:
        assert server.max_connections == max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64)


def test_an_idle_connection_is_ended_and_one_with_progress_is_not() -> None:
    with echo_server(idle_timeout=5 * UNIT) as server, dial(server) as idle, dial(server) as busy:
        ping(idle)
        began = time.monotonic()
        ending = gevent.spawn(read_to_end, idle)
        while time.monotonic() - began < 12 * UNIT:
            ping(busy, b"x")
            gevent.sleep(UNIT)
            if not ending.ready():
                assert time.monotonic() - began < 10 * UNIT + 0.3
        assert ending.get(timeout=PATIENCE) == b""
        idle.close()
        wait_until(lambda: server.counters["ended_idle"] == 1)
        ping(busy)


def test_a_connection_that_only_sends_is_not_idle() -> None:
    """Its bytes go one way only, with a handler that reads and never answers."""

    def swallow(sock: socket.socket, _peer: object) -> None:
        while sock.recv(4096):
            pass

    with running(TcpServer(LOCAL, swallow, idle_timeout=3 * UNIT)) as server, dial(server) as client:
        for _ in range(10):
            client.sendall(b"x")
            gevent.sleep(UNIT)
        assert server.connection_count == 1
        assert read_to_end(client) == b""
        client.close()
        wait_until(lambda: server.counters["ended_idle"] == 1)


# Failures of a handler ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (RuntimeError("a bug"), "failure"),
        (SystemExit(3), "failure"),
        (SystemExit(0), "failure"),
        (KeyboardInterrupt(), "failure"),
        (SystemError("a bug"), "failure"),
        (MemoryError(), "failure"),
        (GeneratorExit(), "failure"),
        (gevent.GreenletExit(), "failure"),
        (OSError(errno.ENOSPC, "No space left on device"), "failure"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "reset"),
        (ConnectionResetError("without a number"), "reset"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "reset"),
        (TimeoutError("timed out"), "timeout"),
        (socket.timeout("timed out"), "timeout"),
        (gevent.Timeout(1), "timeout"),
    ],
    ids=str,
)
def test_what_a_handler_raises_ends_its_connection_alone(
    failure: BaseException, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        while data := sock.recv(100):
            if data == b"fail":
                raise failure
            sock.sendall(data)

    with running(TcpServer(LOCAL, handler)) as server:
        with dial(server) as neighbour:
            ping(neighbour)
            with dial(server) as client:
                client.sendall(b"fail")
                assert read_to_end(client) == b""
            wait_until(lambda: server.connection_count == 1)
            ping(neighbour)
            assert server.counters[f"ended_{reason}"] == 1
        wait_until(lambda: not server.connection_count)
        assert_adds_up(server.counters, echoes=False)
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_handler_raises_reaches_the_error_hook() -> None:
    errors: list[BaseException] = []
    failure = ValueError("a bug")

    def handler(_sock: object, _peer: object) -> None:
        raise failure

    with running(TcpServer(LOCAL, handler, on_error=errors.append)) as server, dial(server) as client:
        assert read_to_end(client) == b""
        wait_until(lambda: errors)
    assert errors == [failure]
    errors.clear()
    failure.__traceback__ = None


def test_what_a_handler_had_sent_arrives_although_it_failed_with_input_unread() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.recv(1)
        sock.sendall(b"y" * 100_000)
        raise RuntimeError("a bug")

    with running(TcpServer(LOCAL, handler)) as server, dial(server) as client:
        client.sendall(b"x" * 50_000)
        assert read_to_end(client) == b"y" * 100_000
    assert server.counters["ended_failure"] == 1


def test_a_handler_that_times_out_on_its_socket() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.settimeout(UNIT)
        sock.recv(100)

    with running(TcpServer(LOCAL, handler)) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_timeout"] == 1


def test_a_handler_may_close_its_socket_itself() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.sendall(sock.recv(100))
        sock.close()

    with running(TcpServer(LOCAL, handler)) as server, dial(server) as client:
        ping(client)
        assert read_to_end(client) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_handler"] == 1


def test_a_handler_that_swallows_its_end_does_not_hold_up_the_stop() -> None:
    swallowed = 0

    def stubborn(sock: socket.socket, _peer: object) -> None:
        nonlocal swallowed
        while True:
            try:
                if not sock.recv(100):
                    return
            except gevent.GreenletExit:
                swallowed += 1

    server = TcpServer(LOCAL, stubborn, drain_idle=0)
    server.start()
    with dial(server) as client:
        wait_until(lambda: server.connection_count)
        began = time.monotonic()
        report = server.stop(timeout=UNIT)
        assert time.monotonic() - began < UNIT + 1.0 + 1.0 + 5 * UNIT
        assert swallowed >= 1
        assert report.cut == 1
        assert read_to_end(client) == b""
    assert server.state is ServerState.CLOSED
    assert_adds_up(server.counters, echoes=False)


def test_a_thousand_failures_leave_nothing_behind() -> None:
    def handler(_sock: object, _peer: object) -> None:
        raise SystemExit(1)

    with running(TcpServer(LOCAL, handler)) as server:
        for _ in range(1000):
            with dial(server) as client:
                assert client.recv(1) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_failure"] == 1000


def test_memory_error_of_a_neighbour_leaves_an_echo_alone() -> None:
    """A hook that fails for want of memory is a hook that fails."""
    with echo_server(on_connection=lambda _: (_ for _ in ()).throw(MemoryError())) as server, dial(server) as client:
        ping(client)


INTERRUPTED = """
import sys
from gevent import socket
from geventecho import TcpServer

def busy(sock, address):
    while data := sock.recv(10):
        sock.sendall(data)

server = TcpServer("127.0.0.1:0", busy, on_listening=lambda server: print(server.address.port, flush=True))
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(77)
"""


def test_ctrl_c_is_for_the_process_whatever_handler_it_hits() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A shell's background job ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
            answers = 0

            def keep_busy(client: socket.socket) -> None:
                nonlocal answers
                with contextlib.suppress(OSError):
                    client.sendall(b"x")
                    while client.recv(10):
                        answers += 1
                        client.sendall(b"x")

            chatter = [gevent.spawn(keep_busy, client) for client in clients]
            wait_until(lambda: answers > 1000)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: process.poll() is not None)
            assert process.returncode == 77
            gevent.joinall(chatter, timeout=PATIENCE)
            for client in clients:
                client.close()
        finally:
            process.kill()
