"""The hooks of a server: their order, and hooks that raise, block or stop the server."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventecho.server.counters import Refusal
from geventecho.server.drain import StopReport
from geventecho.server.tcp_server import EchoServer, ServerState, TcpServer
from tests.support.servers import LOCAL, dial, echo_server, ping, read_to_end, running
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


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


@pytest.mark.parametrize("failure", [RuntimeError("bug"), SystemExit(3), SystemError("bug")])
def test_hooks_that_raise_end_neither_a_connection_nor_the_server(
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


def test_a_connection_hook_that_blocks_delays_only_its_connection() -> None:
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


def test_a_refuse_hook_that_blocks_delays_no_client() -> None:
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


def test_a_stop_waits_for_the_close_hook() -> None:
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


def test_a_close_hook_that_never_returns_delays_a_stop_for_a_bounded_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = Event()
    timeout = 2 * UNIT
    server = EchoServer(LOCAL, on_close=lambda _: release.wait())
    serving = gevent.spawn(server.serve_forever)
    wait_until(lambda: server.state is ServerState.LISTENING)
    with dial(server) as client:
        ping(client)
        began = time.monotonic()
        report = server.stop(timeout)
        took = time.monotonic() - began
        assert read_to_end(client) == b""
    assert timeout <= took <= timeout + 1.2 + 10 * UNIT
    assert report == StopReport(drained=0, cut=1)
    assert serving.get(timeout=PATIENCE) == report
    assert server.join(0)
    assert "on_close has not returned" in caplog.text
    release.set()
    gevent.sleep(0)


@pytest.mark.parametrize("hook", ["on_connection", "on_error", "on_refuse", "on_close"])
def test_a_hook_may_stop_the_server(hook: str) -> None:
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        server.stop(timeout=UNIT)

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
    assert calls == 1
    assert server.state is ServerState.CLOSED
