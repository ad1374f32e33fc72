"""The end of a TcpServer: close, join and stop, from outside and from inside, once and several times."""

from __future__ import annotations

import errno
import os
import select
import shutil
import socket as blocking_socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import gevent
import pytest
from gevent import socket

from geventecho.errors import ServerStateError
from geventecho.server.drain import StopReport
from geventecho.server.socket_file import SocketFile
from geventecho.server.tcp_server import EchoServer, ServerState, TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, is_refused, ping, read_to_end
from tests.support.timing import PATIENCE, UNIT, wait_until

Result = TypeVar("Result")
pytestmark = pytest.mark.usefixtures("no_leaks")


def readable(sock: blocking_socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def test_serve_forever_inside_the_context_manager_ends_with_stop() -> None:
    with EchoServer(LOCAL) as server:
        serving = gevent.spawn(server.serve_forever)
        gevent.sleep(0)
        server.stop()
        assert serving.get(timeout=PATIENCE) == StopReport()


def test_serve_forever_can_be_called_again_after_a_stop() -> None:
    server = EchoServer(LOCAL)
    for _ in range(2):
        serving = gevent.spawn(server.serve_forever)
        wait_until(lambda: server.state is ServerState.LISTENING)
        server.stop()
        serving.get(timeout=PATIENCE)
    assert server.state is ServerState.CLOSED


def test_a_stop_before_serve_forever_is_not_lost() -> None:
    server = EchoServer(LOCAL)
    assert server.stop() == StopReport()
    assert gevent.spawn(server.serve_forever).get(timeout=PATIENCE) == StopReport()
    assert server.state is ServerState.CLOSED
    assert server.address is None


def test_a_stop_between_start_and_serve_forever_is_not_lost() -> None:
    server = EchoServer(LOCAL)
    server.start()
    server.stop()
    assert gevent.spawn(server.serve_forever).get(timeout=PATIENCE) == StopReport()


def test_a_stop_by_the_listening_hook_is_not_lost() -> None:
    server = EchoServer(LOCAL, on_listening=lambda server: server.stop())
    assert gevent.spawn(server.serve_forever).get(timeout=PATIENCE) == StopReport()
    assert server.state is ServerState.CLOSED


def test_a_killed_serve_forever_closes_the_listener() -> None:
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


def test_close_serves_the_clients_in_the_accept_queue() -> None:
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


def test_a_second_stop_with_a_shorter_timeout_wins() -> None:
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

        def keep_pinging() -> None:
            while True:
                ping(busy)
                gevent.sleep(UNIT / 10)

        pinging = gevent.spawn(keep_pinging)
        pinging.link_exception(lambda _: None)
        assert server.join(PATIENCE), "the drain ended with the handler that began it"
        pinging.kill()
    report = server.stop()
    assert (report.drained, report.cut) == (1, 1)


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
    assert not server.join(UNIT), "join() after the second start returned for the first end"
    with dial(server) as client:
        ping(client)
    server.stop()
    assert server.join(PATIENCE)
    assert starts == 2


def test_a_handler_that_refuses_to_end_does_not_delay_the_stop() -> None:
    caught = 0

    def stubborn(sock: socket.socket, _peer: object) -> None:
        nonlocal caught
        while True:
            try:
                if not sock.recv(100):
                    return
            except gevent.GreenletExit:
                caught += 1

    server = TcpServer(LOCAL, stubborn, drain_idle=0)
    server.start()
    with dial(server) as client:
        wait_until(lambda: server.connection_count)
        began = time.monotonic()
        report = server.stop(timeout=UNIT)
        assert time.monotonic() - began < UNIT + 1.0 + 1.0 + 5 * UNIT
        assert caught >= 1
        assert report.cut == 1
        assert read_to_end(client) == b""
    assert server.state is ServerState.CLOSED
    assert_adds_up(server.counters, echoes=False)


@pytest.mark.parametrize("method", ["start", "serve_forever", "close", "join", "stop"])
def test_another_thread_cannot_start_or_stop_a_running_server(method: str) -> None:
    with EchoServer(LOCAL) as server, dial(server) as client:
        ping(client)
        with pytest.raises(ServerStateError, match="another thread runs this server"):
            in_thread(getattr(server, method))
        assert server.state is ServerState.LISTENING
        serving = gevent.spawn(server.serve_forever)
        ping(client)
        with dial(server) as second:
            ping(second)
        assert not serving.ready(), "the refused call was taken for a stop"
        report = server.stop(timeout=0)
        assert report.cut >= 1
        assert serving.get(timeout=PATIENCE) == report
    assert in_thread(server.stop) == report  # a stopped server belongs to no thread


def test_another_thread_can_stop_a_server_through_its_hub() -> None:
    with EchoServer(LOCAL) as server:
        with dial(server) as client:
            ping(client)
        hub = gevent.get_hub()
        in_thread(lambda: hub.loop.run_callback_threadsafe(gevent.spawn, server.stop))
        assert server.join(PATIENCE)
        assert server.state is ServerState.CLOSED


def in_thread(function: Callable[[], Result]) -> Result:
    """Call a function in another thread while this thread's hub runs."""
    return cast(Result, gevent.get_hub().threadpool.apply(function))


def replace_folder_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder any more")


def replace_file_by_folder(folder: Path) -> None:
    (folder / "echo").unlink()
    (folder / "echo").mkdir()


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(replace_folder_by_file, "NotADirectoryError"), (replace_file_by_folder, None), (remove_folder, None)],
)
def test_a_server_stops_although_its_socket_file_cannot_be_removed(
    change: Callable[[Path], None], reason: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    server = EchoServer(f"unix:{folder}/echo")
    server.start()
    with dial(server) as client:
        ping(client)
        change(folder)
        assert server.stop(timeout=0) == StopReport(cut=1)
        assert read_to_end(client) == b""
    assert server.state is ServerState.CLOSED
    assert server.stop() == StopReport(cut=1)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (0 if reason is None else 1)
    assert all(f"unix:{folder}/echo" in line and str(reason) in line for line in lines)


def test_a_server_stops_without_permission_to_remove_its_socket_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process may have given up its privileges. The tests may run as root, which has every permission."""

    def forbidden(_path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with EchoServer(f"unix:{tmp_path}/echo") as server:
        monkeypatch.setattr(os, "unlink", forbidden)
        assert server.stop() == StopReport()
        monkeypatch.undo()
    assert server.state is ServerState.CLOSED
    assert "its file stays: PermissionError" in caplog.text


def test_a_close_that_is_interrupted_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EchoServer(f"unix:{tmp_path}/echo") as server:
        assert server.address is not None
        monkeypatch.setattr(SocketFile, "remove", interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.stop()
        monkeypatch.undo()
        server.stop()
        assert is_refused(server.address)
        assert server.state is ServerState.CLOSED


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
