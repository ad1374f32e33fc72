"""`geventecho serve` on several addresses, and on sockets that systemd passes."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import gevent
import gevent.event
import pytest

from geventecho.address import Address
from tests.support.commands import command, usage_error
from tests.support.servers import Process, connect_to, ping, serve
from tests.support.timing import wait_until

ACTIVATE = """
import fcntl, json, os, sys
fds, names = json.loads(sys.argv[1])
spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for number, fd in enumerate(spare):
    os.dup2(fd, 3 + number)
for name, value in names.items():
    os.environ[name] = value.replace("PID", str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "geventecho", "serve", *sys.argv[2:]])
"""
"""Starts `geventecho serve` as systemd does: descriptors of sockets from 3 on, and LISTEN_* in the environment."""


def activated(sockets: list[socket.socket], *options: str, pid: str = "PID", count: str | None = None) -> Process:
    fds = [sock.fileno() for sock in sockets]
    names = {"LISTEN_PID": pid, "LISTEN_FDS": str(len(fds)) if count is None else count}
    return Process("-c", ACTIVATE, json.dumps([fds, names]), *options, pass_fds=fds)


def echo_at(target: str) -> None:
    with connect_to(Address.parse(target)) as client:
        ping(client)


def targets(server: Process, count: int) -> list[str]:
    """All targets that the server prints."""
    wait_until(lambda: len(server.lines) >= count)
    assert server.lines[count - 1].startswith("capacity ")
    return [server.target, *(line.removeprefix("listening on ") for line in server.lines[: count - 1])]


def test_serve_listens_on_several_addresses_and_sets_the_mode_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    options = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", f"unix:{path}", "--unix-mode", "0640"]
    with serve(*options) as server:
        found = targets(server, 3)
        assert found[2] == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for target in found:
            echo_at(target)
        assert server.stop_and_count()["accepted"] == 3
    assert not path.exists()


def test_a_config_file_may_list_several_addresses(tmp_path: Path) -> None:
    file = tmp_path / "serve.conf"
    file.write_text("listen = [127.0.0.1:0, [::1]:0]\n")
    with Process("-m", "geventecho", "serve", "--config", str(file)) as server:
        for target in targets(server, 2):
            echo_at(target)


def test_an_address_that_fails_is_named_and_no_target_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        target = f"tcp://127.0.0.1:{busy.getsockname()[1]}"
        done = command(["serve", "--listen", f"unix:{path}", "--listen", target])
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode().startswith(f"geventecho serve: listen {target}: another process has this address")
    assert len(done.stderr.splitlines()) == 1
    assert not path.exists()


@pytest.mark.parametrize("mode", ["888", "1777", "rw", ""])
def test_a_wrong_mode_is_a_usage_error(mode: str) -> None:
    error = usage_error("serve", "--port", "0", "--unix-mode", mode)
    assert error.startswith(f"argument --unix-mode: {mode!r} is not a mode")


@pytest.mark.parametrize("target", ["127.0.0.1:0", "unix:@name", "fd:3"])
def test_a_mode_needs_a_unix_socket_with_a_file(target: str) -> None:
    error = usage_error("serve", target, "--unix-mode", "600")
    assert error == "--unix-mode needs a Unix socket with a file: listen on unix:/path"


# systemd --------------------------------------------------------------------------------------------------------------


def test_serve_takes_the_sockets_that_systemd_passes(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with socket.create_server(("127.0.0.1", 0)) as first, socket.socket(socket.AF_UNIX) as second:
        second.bind(str(path))
        second.listen()
        with activated([first, second]) as server:
            found = targets(server, 2)
            assert found == [f"tcp://127.0.0.1:{first.getsockname()[1]}", f"unix:{path}"]
            for target in found:
                echo_at(target)
            assert server.stop() == 0
        assert path.exists()  # the file is systemd's


def test_sockets_for_another_process_are_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, activated([sock], "--port", "0", pid="1") as server:
        assert server.target != f"tcp://127.0.0.1:{sock.getsockname()[1]}"
        echo_at(server.target)
        assert not server.errors


def test_a_given_address_replaces_the_sockets_of_systemd_with_a_warning() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, activated([sock], "127.0.0.1:0") as server:
        assert server.target != f"tcp://127.0.0.1:{sock.getsockname()[1]}"
        echo_at(server.target)
        wait_until(lambda: "unused sockets of systemd: 1;" in server.errors)


def test_a_datagram_socket_is_refused() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(AssertionError, match=r"listen fd:3: .*stream"):
        activated([sock])


def test_a_wrong_number_of_sockets_is_a_usage_error() -> None:
    names = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}
    assert usage_error("serve", names=names) == "LISTEN_FDS is 'many'; it must be a number of sockets"


def test_a_restart_refuses_no_client() -> None:
    """systemd keeps the listener, and starts the next server once the last one has ended: clients wait meanwhile."""
    echoed, is_over = 0, gevent.event.Event()

    def connect(target: str) -> None:
        nonlocal echoed
        while not is_over.is_set():
            echo_at(target)
            echoed += 1
            gevent.sleep(0.01)

    def wait_for_more(count: int) -> None:
        goal = echoed + count
        wait_until(lambda: echoed >= goal or any(client.ready() for client in clients))

    with socket.create_server(("127.0.0.1", 0), backlog=1000) as sock:
        clients = [gevent.spawn(connect, f"127.0.0.1:{sock.getsockname()[1]}") for _ in range(10)]
        accepted = 0
        for is_last in (False, False, True):
            with activated([sock]) as server:
                wait_for_more(100)
                if is_last:
                    is_over.set()
                    gevent.joinall(clients, raise_error=True)
                accepted += server.stop_and_count()["accepted"]
    assert accepted == echoed
