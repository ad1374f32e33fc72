"""Handlers: their arguments, and their failures, which end only their own connection."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket

from geventecho.errors import ConfigError
from geventecho.server.tcp_server import TcpServer
from tests.support import ROOT
from tests.support.servers import LOCAL, assert_adds_up, dial, echo_server, ping, read_to_end, running
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


def upper(sock: socket.socket, _peer: object) -> None:
    while data := sock.recv(4096):
        sock.sendall(data.upper())


def test_a_handler_gets_a_gevent_socket_and_the_peer() -> None:
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


@pytest.mark.parametrize("handler", [None, 5, "echo"])
def test_a_handler_that_cannot_be_called_is_refused(handler: Any) -> None:
    with pytest.raises(ConfigError, match=f"handler is {handler!r}; it must be a function of a socket and an address"):
        TcpServer(LOCAL, handler)


class Handlers:
    """Methods as handlers."""

    def one(self, _sock: object) -> None:
        """Take only the socket."""

    def two(self, _sock: object, _peer: object) -> None:
        """Take the socket and the peer."""


def takes_only_the_socket(function: Callable[[object], object]) -> Callable[[object, object], object]:
    """A decorator. For inspect.signature() its result has the parameters of `function`."""

    @functools.wraps(function)
    def wrapper(sock: object, _peer: object) -> object:
        return function(sock)

    return wrapper


@pytest.mark.parametrize(
    "handler",
    [lambda: None, lambda _sock: None, lambda _sock, _peer, _more: None, lambda _sock, _peer, *, more: more,
     Handlers().one, Handlers.two, functools.partial(upper, None)],
)  # fmt: skip
def test_a_handler_with_other_parameters_is_refused(handler: Any) -> None:
    with pytest.raises(ConfigError, match=r"handler .* cannot be called with a socket and an address: "):
        TcpServer(LOCAL, handler)


@pytest.mark.parametrize(
    "handler",
    [lambda *_: None, lambda _sock, _peer, _more=None: None, print, max, dict, Handlers().two,
     takes_only_the_socket(Handlers().one), functools.partial(lambda _more, _sock, _peer: None, None)],
)  # fmt: skip
def test_a_handler_that_can_take_a_socket_and_an_address_is_accepted(handler: Any) -> None:
    TcpServer(LOCAL, handler)


class NoNumber(OSError):
    """An error whose `errno` raises."""

    @property
    def errno(self) -> int:  # type: ignore[override]
        raise RuntimeError("no number")


@pytest.mark.parametrize("options", [{"max_bytes": 5}, {"max_rate": 5}], ids=str)
def test_limits_of_the_echo_loop_are_refused_with_a_handler(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="handler"):
        TcpServer(LOCAL, upper, **options)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (RuntimeError("a bug"), "failure"),
        (SystemExit(3), "failure"),
        (SystemExit(0), "failure"),
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
        (NoNumber("its number cannot be had"), "failure"),
    ],
    ids=str,
)
def test_an_exception_of_a_handler_ends_only_its_connection(
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


@pytest.mark.parametrize("silent", [False, None], ids=["silent", "raising"])
def test_a_timeout_that_a_handler_left_running_has_no_effect(
    silent: bool | None, capfd: pytest.CaptureFixture[str]
) -> None:
    timers: list[gevent.Timeout] = []

    def handler(_sock: object, _peer: object) -> None:
        timers.append(gevent.Timeout.start_new(UNIT / 2, silent))

    with running(TcpServer(LOCAL, handler)) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        wait_until(lambda: timers and not timers[0].pending)
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_handler"] == 1
    assert capfd.readouterr().err == ""


def test_an_exception_of_a_handler_reaches_the_error_hook() -> None:
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


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=logging.getLevelName)
def test_the_log_names_the_line_at_which_a_handler_failed(level: int, caplog: pytest.LogCaptureFixture) -> None:
    """The line has the user's own file, also when a library raised. The traceback comes at the level debug."""
    caplog.set_level(level, "geventecho.server")
    with running(TcpServer(LOCAL, lambda *_: json.loads("{"))) as server, dial(server) as client:
        assert read_to_end(client) == b""
    (line,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    number = test_the_log_names_the_line_at_which_a_handler_failed.__code__.co_firstlineno + 4
    assert f" at {__file__}:{number}, its connection is closed: JSONDecodeError: Expecting" in line.getMessage()
    assert line.exc_info is None
    traces = [record.exc_info for record in caplog.records if record.exc_info]
    assert len(traces) == (1 if level == logging.DEBUG else 0)


@pytest.mark.parametrize("where", ["handler", "on_connection", "on_refuse"])
def test_a_keyboard_interrupt_in_a_handler_or_a_hook_reaches_the_main_greenlet(where: str) -> None:
    """Python raises it in the code that runs; gevent gives it to the main greenlet."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    hooks: dict[str, Any] = {} if where == "handler" else {where: interrupt}
    handler = interrupt if where == "handler" else upper
    server = TcpServer(LOCAL, handler, max_connections=0 if where == "on_refuse" else 5, **hooks)
    with running(server), dial(server) as client:
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(PATIENCE)
        assert read_to_end(client) == b""
        assert_adds_up(server.counters, echoes=False)


def test_a_socket_timeout_in_a_handler_is_counted_as_a_timeout() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.settimeout(UNIT)
        sock.recv(100)

    with running(TcpServer(LOCAL, handler)) as server:
        with dial(server) as client:
            assert read_to_end(client) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_timeout"] == 1


def test_a_thousand_failures_leave_no_descriptor_and_no_greenlet() -> None:
    def handler(_sock: object, _peer: object) -> None:
        raise SystemExit(1)

    with running(TcpServer(LOCAL, handler)) as server:
        for _ in range(1000):
            with dial(server) as client:
                assert client.recv(1) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_failure"] == 1000


def test_a_memory_error_in_a_hook_does_not_end_the_connection() -> None:
    with echo_server(on_connection=lambda _: (_ for _ in ()).throw(MemoryError())) as server, dial(server) as client:
        ping(client)


@pytest.mark.parametrize("server", ["handler", "echo"])
def test_ctrl_c_ends_the_process_in_a_handler_and_in_the_hub(server: str) -> None:
    """No connection may catch it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.server.scripts.interrupted", server],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background job ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            port = int(process.stdout.readline())
            answers = 0

            def keep_busy(client: socket.socket) -> None:
                nonlocal answers
                with contextlib.suppress(OSError), client:
                    client.sendall(b"x")
                    while client.recv(10):
                        answers += 1
                        client.sendall(b"x")

            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
            chatter = [gevent.spawn(keep_busy, client) for client in clients]
            wait_until(lambda: answers > 1000)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: process.poll() is not None)
            assert process.returncode == 77
            assert b"a handler failed" not in process.stderr.read()
            assert len(gevent.joinall(chatter, timeout=PATIENCE)) == 8
        finally:
            process.kill()
