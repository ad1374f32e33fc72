"""Notifications to a supervisor, as sd_notify(3) sends them; a datagram socket stands for systemd's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from geventecho.service import systemd
from tests.support.commands import environment
from tests.support.servers import ping, serve
from tests.support.timing import PATIENCE, wait_until


class Supervisor:
    """A socket that receives notifications."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        self._socket.setblocking(False)

    def next(self) -> dict[str, str]:
        """The states of the next datagram."""
        found: list[bytes] = []

        def arrived() -> bool:
            try:
                found.append(self._socket.recv(4096))
            except BlockingIOError:
                return False
            return True

        wait_until(arrived)
        lines = found[0].decode().split("\n")
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def is_silent(self) -> bool:
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(str(tmp_path / "notify"))
    yield found
    found.close()


@pytest.fixture
def notify_socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """NOTIFY_SOCKET is unset, and is read anew in this test and after it."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd._address.cache_clear()
    yield monkeypatch
    systemd._address.cache_clear()


# The function ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_abstract", [False, True])
def test_states_are_one_datagram_and_the_variable_is_removed(
    is_abstract: bool, tmp_path: Path, notify_socket: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(f"@geventecho-{os.getpid()}" if is_abstract else str(tmp_path / "notify"))
    notify_socket.setenv("NOTIFY_SOCKET", supervisor.name)
    systemd.notify("READY=1", "STATUS=two\nlines \udcff")
    assert "NOTIFY_SOCKET" not in os.environ
    assert supervisor.next() == {"READY": "1", "STATUS": "two lines \\udcff"}
    systemd.notify("STOPPING=1")
    assert supervisor.next() == {"STOPPING": "1"}
    supervisor.close()


def test_a_reload_is_sent_with_its_time(supervisor: Supervisor, notify_socket: pytest.MonkeyPatch) -> None:
    notify_socket.setenv("NOTIFY_SOCKET", supervisor.name)
    before = time.monotonic_ns() // 1000
    systemd.notify("RELOADING=1")
    found = supervisor.next()
    assert found["RELOADING"] == "1"
    assert before <= int(found["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_a_process_that_is_forked_later_uses_the_same_socket(
    supervisor: Supervisor, notify_socket: pytest.MonkeyPatch
) -> None:
    code = (
        "import os; from geventecho.service import notify; notify('READY=1'); child = os.fork()\n"
        "if child: os.waitpid(child, 0)\nelse: notify('STATUS=child')"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=environment(NOTIFY_SOCKET=supervisor.name), check=True, timeout=PATIENCE
    )
    assert [supervisor.next(), supervisor.next()] == [{"READY": "1"}, {"STATUS": "child"}]


def test_without_the_variable_nothing_is_sent_or_logged(
    notify_socket: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for value in (None, ""):
        if value is not None:
            notify_socket.setenv("NOTIFY_SOCKET", value)
        systemd.notify("READY=1")
        systemd._address.cache_clear()
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("/nonexistent/notify", "No such file or directory"),
        ("/" + "x" * 200, "path too long"),
        ("relative", "only a Unix socket"),
        ("vsock:2:1234", "only a Unix socket"),
    ],
)
def test_a_socket_that_cannot_be_used_is_logged(
    value: str, why: str, notify_socket: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notify_socket.setenv("NOTIFY_SOCKET", value)
    systemd.notify("READY=1")
    (record,) = caplog.records
    assert why in record.getMessage()


def test_a_supervisor_that_never_reads_does_not_block_the_caller(
    supervisor: Supervisor, notify_socket: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notify_socket.setenv("NOTIFY_SOCKET", supervisor.name)
    while not caplog.records:  # the queue is full (net.unix.max_dgram_qlen)
        systemd.notify("STATUS=" + "x" * 1000)
    assert "Resource temporarily unavailable" in caplog.text


# The service ----------------------------------------------------------------------------------------------------------


def test_a_server_is_ready_once_it_accepts_and_stopping_at_a_signal(supervisor: Supervisor) -> None:
    with serve(env=environment(NOTIFY_SOCKET=supervisor.name)) as server:
        assert supervisor.next() == {"READY": "1", "STATUS": f"listening on {server.target}"}
        with server.connect() as client:
            ping(client)
            server.signal(signal.SIGTERM)
            assert supervisor.next() == {"STOPPING": "1", "STATUS": "draining, open connections: 1"}
        assert server.wait() == 0
        assert supervisor.is_silent()
        assert server.errors == ""


def test_a_reload_is_reloading_and_then_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    from tests.support.tls import files

    pem = files(tmp_path)
    with serve(*pem.options, env=environment(NOTIFY_SOCKET=supervisor.name)) as server:
        assert supervisor.next()["READY"] == "1"
        server.signal(signal.SIGHUP)
        assert supervisor.next()["RELOADING"] == "1"
        assert supervisor.next() == {"READY": "1"}
        pem.certificate.unlink()
        server.signal(signal.SIGHUP)
        assert supervisor.next()["RELOADING"] == "1"
        assert supervisor.next() == {"READY": "1"}  # with the files that were in use
        assert server.stop() == 0


def test_a_server_that_cannot_listen_is_never_ready(supervisor: Supervisor) -> None:
    with pytest.raises(AssertionError, match="no such address"):
        serve("tcp://192.0.2.1:0", env=environment(NOTIFY_SOCKET=supervisor.name))
    assert supervisor.is_silent()


def test_a_supervisor_that_is_gone_is_one_warning(supervisor: Supervisor) -> None:
    supervisor.close()
    with serve(env=environment(NOTIFY_SOCKET=supervisor.name)) as server:
        with server.connect() as client:
            ping(client)
        assert server.stop() == 0
        assert server.errors.count("NOTIFY_SOCKET did not take READY=1") == 1


def test_workers_notify_as_one_service(supervisor: Supervisor, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn, of requirements.txt")
    file = tmp_path / "serve.conf"
    file.write_text("workers = 2\n")
    with serve("--config", str(file), env=environment(NOTIFY_SOCKET=supervisor.name)) as server:
        assert supervisor.next() == {"READY": "1", "STATUS": "2 workers listen"}
        for text, workers in (("workers = 1\n", "1"), ("workers = many\n", "1")):
            file.write_text(text)
            server.signal(signal.SIGHUP)
            found = supervisor.next()
            assert found["RELOADING"] == "1"
            assert found["MONOTONIC_USEC"].isdecimal()
            assert supervisor.next() == {"READY": "1", "STATUS": f"{workers} workers listen"}
        wait_until(lambda: "'many'" in server.errors)
        assert server.stop() == 0
        assert supervisor.next()["STOPPING"] == "1"
        assert supervisor.is_silent()
