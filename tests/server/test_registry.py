"""The registry ends the stream, closes the socket and settles the counters, however a handler ends."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket

from geventecho.server.config import ServerConfig
from geventecho.server.connection import Connection, Phase
from geventecho.server.counters import Counters, Ending, Refusal
from geventecho.server.deadlines import Deadlines
from geventecho.server.hooks import ServerHooks
from geventecho.server.registry import Registry
from tests.support.servers import read_to_end
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")
PEER = ("192.0.2.1", 7)


class Served:
    """A registry whose connections are ends of socket pairs."""

    def __init__(self, handle: Callable[[Connection], Ending], *, echoes: bool = False, **options: Any) -> None:
        self.counters = Counters()
        self.emptied = 0
        self.hooked: list[Any] = []
        self.registry = Registry(
            ServerConfig(**options),
            ServerHooks(refuse=lambda *refusal: self.hooked.append(refusal), error=self.hooked.append),
            self.counters,
            max_connections=1000,
            handle=lambda connection, _: handle(connection),
            echoes=echoes,
            emptied=self.on_emptied,
        )

    def on_emptied(self) -> None:
        self.emptied += 1

    def connect(self) -> socket.socket:
        near, far = socket.socketpair()
        far.settimeout(PATIENCE)
        self.registry.add(near, PEER)
        return far

    def counts(self) -> dict[str, int]:
        return {name: count for name, count in self.registry.counts().items() if count}


def wait_for_ever(connection: Connection) -> Ending:
    gevent.sleep(PATIENCE)
    return Ending.HANDLER


def read_all(connection: Connection) -> Ending:
    while data := connection.sock.recv(100):
        connection.count_read(len(data))
    return Ending.PEER


def test_a_connection_is_open_before_its_greenlet_runs() -> None:
    served = Served(read_all)
    with served.connect():
        (connection,) = served.registry.open
        phases = [connection.phase]
        assert served.counts() == {"accepted": 1, "open": 1, "peak": 1}
        gevent.sleep(0)
        phases.append(connection.phase)
    wait_until(lambda: served.emptied)
    assert served.counts() == {"accepted": 1, "ended_peer": 1, "peak": 1}
    assert [*phases, connection.phase] == [Phase.NEW, Phase.OPEN, Phase.CLOSED]
    assert connection.sock.closed


def test_emptied_is_called_once_each_time_the_last_connection_ends() -> None:
    served = Served(read_all)
    for turn in (1, 2):
        first, second = served.connect(), served.connect()
        gevent.sleep(0)
        first.close()
        gevent.sleep(UNIT)
        assert served.emptied == turn - 1
        second.close()
        wait_until(lambda turn=turn: served.emptied == turn)  # type: ignore[misc]
    assert served.registry.peak == 2


@pytest.mark.parametrize("ending", [Ending.IDLE, Ending.CUT])
def test_a_connection_ends_for_the_given_reason(ending: Ending) -> None:
    served = Served(wait_for_ever)
    with served.connect() as client:
        gevent.sleep(0)
        (connection,) = served.registry.open
        connection.end(ending)
        assert read_to_end(client) == b""
    wait_until(lambda: served.emptied)
    assert served.counts() == {"accepted": 1, f"ended_{ending.value}": 1, "peak": 1}


def test_a_connection_that_is_ended_before_it_began_never_runs_its_handler() -> None:
    ran: list[Connection] = []

    def handle(connection: Connection) -> Ending:
        ran.append(connection)
        return Ending.HANDLER

    served = Served(handle)
    with served.connect() as client:
        served.registry.end()
        assert read_to_end(client) == b""
    wait_until(lambda: served.emptied)
    assert not ran
    assert served.counts() == {"accepted": 1, "ended_cut": 1, "peak": 1}


def test_a_cut_ends_a_lingering_connection() -> None:
    served = Served(lambda _: Ending.HANDLER)
    with served.connect():
        wait_until(lambda: {connection.phase for connection in served.registry.open} == {Phase.ENDING})
        served.registry.cut()
        wait_until(lambda: served.emptied, UNIT * 5)
    assert served.counts()["ended_handler"] == 1


def test_ctrl_c_while_a_connection_lingers_reaches_the_process() -> None:
    """Python raises it in the code that runs, here in the end of a connection."""
    served = Served(lambda _: Ending.HANDLER)
    with served.connect():
        wait_until(lambda: {connection.phase for connection in served.registry.open} == {Phase.ENDING})
        (connection,) = served.registry.open
        assert connection.greenlet is not None
        gevent.get_hub().loop.run_callback(connection.greenlet.throw, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(PATIENCE)
    assert served.emptied == 1
    assert served.counts() == {"accepted": 1, "ended_handler": 1, "peak": 1}


def test_a_handler_that_refuses_to_end_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    stop = gevent.event.Event()

    def stubborn(_connection: Connection) -> Ending:
        while not stop.is_set():
            try:
                stop.wait()
            except gevent.GreenletExit:
                pass
        return Ending.HANDLER

    served = Served(stubborn)
    with served.connect() as client:
        gevent.sleep(0)
        served.registry.cut()
        gevent.sleep(UNIT)
        assert served.emptied == 0
        served.registry.abandon()
        assert served.emptied == 1
        assert read_to_end(client) == b""
        assert served.counts() == {"accepted": 1, "ended_cut": 1, "peak": 1}
        stop.set()
        gevent.sleep(UNIT)
    assert served.emptied == 1, "the connection was settled twice"
    assert "does not end" in caplog.text


def test_bytes_that_an_echo_could_not_return_are_lost() -> None:
    def reads_only(connection: Connection) -> Ending:
        connection.count_read(len(connection.sock.recv(100)))
        raise ConnectionResetError(104, "Connection reset by peer")

    served = Served(reads_only, echoes=True)
    with served.connect() as client:
        client.sendall(b"12345")
        wait_until(lambda: served.emptied)
    assert served.counts() == {
        "accepted": 1, "ended_reset": 1, "bytes_received": 5, "bytes_lost": 5, "peak": 1
    }  # fmt: skip


def test_the_counters_include_the_bytes_of_open_connections_without_asking_each() -> None:
    """They are exact at any moment, and cost the same with 500 connections as with one."""
    served = Served(read_all, echoes=True)

    def cost() -> float:
        began = time.perf_counter()
        for _ in range(100):
            served.counts()
        return time.perf_counter() - began

    with served.connect() as first:
        first.sendall(b"12345")
        wait_until(lambda: served.counts().get("bytes_received") == 5)
        with_one = min(cost() for _ in range(20))
        others = [served.connect() for _ in range(499)]
        others[0].sendall(b"6789")
        wait_until(lambda: served.counts()["bytes_received"] == 9)
        infos = [connection.info() for connection in served.registry.open]
        assert (len(infos), sum(info.bytes_received for info in infos)) == (500, 9)
        assert min(cost() for _ in range(20)) < 3 * with_one
        for other in others:
            other.close()
    wait_until(lambda: served.emptied)
    assert served.counts() == {
        "accepted": 500, "ended_peer": 500, "bytes_received": 9, "bytes_lost": 9, "peak": 500
    }  # fmt: skip


def test_owed_counts_the_bytes_that_open_echoes_have_not_returned() -> None:
    for echoes, owed in ((True, 5), (False, 0)):
        served = Served(read_all, echoes=echoes)
        with served.connect() as client:
            client.sendall(b"12345")
            wait_until(lambda served=served: served.counts().get("bytes_received") == 5)  # type: ignore[misc]
            assert served.registry.owed() == owed
        wait_until(lambda served=served: served.emptied)  # type: ignore[misc]


def test_a_failure_goes_to_the_log_in_one_escaped_line_and_to_the_hook(caplog: pytest.LogCaptureFixture) -> None:
    failure = ValueError("first\nsecond\x1b[31m\u202e" + "x" * 10_000)

    def fails(_connection: Connection) -> Ending:
        raise failure

    served = Served(fails)
    with served.connect() as client:
        assert read_to_end(client) == b""
    wait_until(lambda: served.emptied and served.hooked)
    assert served.hooked == [failure]
    (record,) = caplog.records
    message = record.getMessage()
    assert "ValueError" in message
    assert len(message) < 300
    assert message.isprintable()
    served.hooked.clear()
    failure.__traceback__ = None


def test_refused_counts_the_peer_and_calls_the_hook() -> None:
    served = Served(read_all)
    served.registry.refused(PEER, Refusal.DENIED)
    assert served.counts() == {"accepted": 1, "refused_denied": 1}
    wait_until(lambda: served.hooked)
    peer, why = served.hooked[0]
    assert (str(peer), why) == ("tcp://192.0.2.1:7", Refusal.DENIED)
    served.registry.refusals.write()


def test_the_registry_counts_its_free_slots_and_denies_by_address() -> None:
    served = Served(read_all, deny=("192.0.2.0/24",))
    registry = served.registry
    assert registry.admit(PEER) is Refusal.DENIED
    assert registry.admit(("198.51.100.1", 7)) is None
    assert registry.free_slots() == 1000
    with served.connect():
        assert registry.free_slots() == 999
    wait_until(lambda: served.emptied)
    assert registry.free_slots() == 1000


def test_errors_of_accept_refusals_and_drops_share_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """Also without the command line's filter."""
    served = Served(read_all)
    no_descriptor = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    served.registry.accept_failed(no_descriptor)
    for refusal in (Refusal.NO_DESCRIPTOR, Refusal.NO_DESCRIPTOR, Refusal.FULL):
        served.registry.refused(PEER, refusal)
    served.registry.dropped(3)
    assert caplog.records == []
    served.registry.refusals.write()
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        "clients turned away within a second: accept failed (OSError: [Errno 24] Too many open files) 1, "
        "no_descriptor 2, full 1, accept queue full 3"
    )
    assert served.counts() == {
        "accepted": 3, "refused_no_descriptor": 2, "refused_full": 1, "accept_errors": 1, "queue_drops": 3
    }  # fmt: skip
    wait_until(lambda: len(served.hooked) == 4)
    served.hooked.clear()


def test_an_ended_connection_frees_the_slot_of_its_address() -> None:
    served = Served(read_all, max_per_address=1)
    for _ in range(3):
        assert served.registry.admit(PEER) is None
        with served.connect():
            assert served.registry.admit(PEER) is Refusal.ADDRESS_FULL
        wait_until(lambda: not served.registry.open)


def test_a_connection_ends_although_its_handler_left_a_timeout_running() -> None:
    def sloppy(_connection: Connection) -> Ending:
        gevent.Timeout.start_new(UNIT)
        return Ending.HANDLER

    served = Served(sloppy)
    with served.connect():
        wait_until(lambda: served.emptied)
    assert served.counts() == {"accepted": 1, "ended_handler": 1, "peak": 1}


def test_a_connection_ends_although_its_handler_left_a_reader_behind() -> None:
    readers: list[gevent.Greenlet] = []

    def sloppy(connection: Connection) -> Ending:
        readers.append(gevent.spawn(connection.sock.recv, 100))
        gevent.sleep(0)
        return Ending.HANDLER

    served = Served(sloppy)
    with served.connect() as client:
        wait_until(lambda: served.emptied)
        assert read_to_end(client) == b""
    gevent.joinall(readers, timeout=PATIENCE)
    assert isinstance(readers[0].exception, OSError)
    assert served.counts() == {"accepted": 1, "ended_handler": 1, "peak": 1}
    readers.clear()


def test_a_handler_gets_the_deadlines() -> None:
    seen: list[object] = []
    served = Served(read_all)
    served.registry._handle = lambda connection, deadlines: seen.append(deadlines) or Ending.PEER  # type: ignore[func-returns-value]
    with served.connect():
        wait_until(lambda: served.emptied)
    assert isinstance(seen[0], Deadlines)
