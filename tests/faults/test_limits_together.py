"""Several limits at once. The counters add up at every moment."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket as plain
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket

from geventecho.server import rates
from geventecho.server.tcp_server import EchoServer
from tests.support.isolation import isolate, isolated
from tests.support.servers import assert_adds_up, dial, echo_server, fill_output, ping, read_to_end, serve
from tests.support.timing import PATIENCE, UNIT, figure, wait_until
from tests.support.watch import RST

pytestmark = pytest.mark.faults


@isolated
def test_limits_by_address_hold_for_both_families_on_one_listener() -> None:
    found = json.loads(isolate("grouping"))
    assert found["served"] == [True, False, True, False, True, False, False, False]
    assert found["again"], "the slot of the /64 was not freed"
    counters = found["counters"]
    assert (counters["refused_denied"], counters["refused_address_full"]) == (3, 2)
    assert_adds_up(counters)


@pytest.fixture
def quick_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least rate is checked every 5 UNIT."""
    monkeypatch.setattr(rates, "PACE_SECONDS", 5 * UNIT)


def connect_and_fill(server: EchoServer) -> socket.socket:
    """A client with unread bytes and a small receive buffer, so that its kernel soon acknowledges what it reads."""
    assert server.address is not None
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(server.address.sockaddr)
    fill_output(server, client)
    client.settimeout(PATIENCE)
    return client


def can_repeat(turn: Callable[[], bytes], times: int) -> bool:
    """Repeat `turn`, with pauses; returns False once it returns no bytes or the connection breaks."""
    for _ in range(times):
        try:
            if not turn():
                return False
        except ConnectionError:
            return False
        gevent.sleep(UNIT / 2)
    return True


@pytest.mark.usefixtures("quick_pace")
def test_min_rate_ends_only_a_trickler_and_a_slow_reader() -> None:
    with echo_server(min_rate=200_000) as server, dial(server) as idle, dial(server) as trickler, dial(server) as quick:
        slow = connect_and_fill(server)

        def echoes(client: socket.socket, data: bytes) -> bytes:
            client.sendall(data)
            received: bytes = client.recv(65536)
            return received

        trickling = gevent.spawn(can_repeat, lambda: echoes(trickler, b"x"), 1000)
        reading = gevent.spawn(can_repeat, lambda: slow.recv(4000), 1000)
        echoing = gevent.spawn(can_repeat, lambda: echoes(quick, b"x" * 40_000), 60)
        wait_until(lambda: server.counters["ended_slow"] == 2, 2 * PATIENCE)
        assert echoing.get(), "the quick client was ended"
        ping(idle)
        assert server.counters["ended_slow"] == 2
        assert_adds_up(server.counters)
        assert not trickling.get()
        slow.close()
        reading.kill()


@pytest.mark.parametrize("limit", ["write_stall", "idle_timeout", "lifetime"])
def test_a_half_closed_peer_that_reads_nothing_is_ended_by_every_limit(limit: str) -> None:
    with echo_server(**{"write_stall": None, limit: 5 * UNIT}) as server, dial(server) as client:
        fill_output(server, client)
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters[f"ended_{limit.removesuffix('_timeout')}"] == 1
        assert counters["bytes_lost"] > 0
        assert_adds_up(counters)


@pytest.mark.parametrize("more", [-1, 0, 1, 100_000])
def test_max_bytes_holds_for_a_half_closed_peer_and_discards_the_rest(more: int) -> None:
    most = 100_000
    with echo_server(max_bytes=most) as server, dial(server) as client:
        client.sendall(b"x" * (most + more))
        client.shutdown(socket.SHUT_WR)
        assert len(read_to_end(client)) == min(most, most + more)
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters["ended_peer" if more < 0 else "ended_bytes"] == 1
        assert counters["bytes_discarded"] == max(0, more)
        assert_adds_up(counters)


def test_a_drain_does_not_count_refused_clients() -> None:
    server = EchoServer("127.0.0.1:0", max_connections=1, drain_idle=3 * UNIT)
    server.start()
    with dial(server) as served, contextlib.ExitStack() as stack:
        ping(served)
        for _ in range(20):
            stack.enter_context(dial(server))
        report = server.stop()
        assert (report.drained, report.cut, report.bytes_lost) == (1, 0, 0)
    counters = server.counters
    assert (counters["accepted"], counters["refused_full"]) == (21, 20)
    assert_adds_up(counters)


@contextlib.contextmanager
def bound(name: bytes) -> Iterator[plain.socket]:
    """A client with an abstract Unix name, not connected."""
    with plain.socket(plain.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.bind(b"\0" + name)
        yield client


NAMES = [b"evil\n2026 ERROR forged", b"\x1b[31mred", b"nul\0nul", "\u202ereversed".encode(), b"\xff\xfe", b"x" * 100]


def test_the_log_escapes_the_names_of_unix_peers() -> None:
    """An abstract Unix name can be any bytes. Limits by address do not apply to it."""
    limits_by_address = ["--max-per-address", "1", "--connect-rate", "1", "--deny", "0.0.0.0/0", "::/0"]
    with serve("--listen", "unix:@geventecho-names", "--log-level", "debug", *limits_by_address) as server:
        for name in NAMES:
            with bound(name) as client:
                client.connect(server.address.sockaddr)
                client.sendall(b"ping")
                assert client.recv(4) == b"ping"
        assert server.stop() == 0
        lines = server.errors.splitlines()
    assert len([line for line in lines if " DEBUG " in line]) == len(NAMES)
    assert all(line.isprintable() and re.match(r"\d{4}-\S+Z (INFO|DEBUG) geventecho", line) for line in lines)


def test_the_counters_add_up_at_every_moment_under_all_limits() -> None:
    generator = random.Random(5)
    short = {"first_byte_timeout": 3 * UNIT, "idle_timeout": 4 * UNIT, "lifetime": 15 * UNIT, "write_stall": 5 * UNIT}
    much = {"max_bytes": 200_000, "max_rate": 2_000_000, "min_rate": 5, "max_per_address": 20, "connect_rate": 300}

    def behave(client: socket.socket) -> None:
        choice = generator.random()
        if choice < 0.2:
            gevent.sleep(generator.random() * 5 * UNIT)
        elif choice < 0.5:
            client.sendall(b"x" * generator.randint(1, 300_000))
            if choice < 0.35:
                client.shutdown(socket.SHUT_WR)
            read_to_end(client)
        elif choice < 0.7:
            ping(client)
            gevent.sleep(generator.random() * 10 * UNIT)
        else:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(50):
                    client.send(b"y" * 65536)
            gevent.sleep(generator.random() * 10 * UNIT)
            if choice < 0.85:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)

    with echo_server(max_connections=25, **short, **much) as server:

        def connect_repeatedly() -> None:
            for _ in range(15):
                with contextlib.suppress(OSError, AssertionError), dial(server) as client:
                    behave(client)

        crowd = [gevent.spawn(connect_repeatedly) for _ in range(50)]
        while not all(client.ready() for client in crowd):
            assert_adds_up(server.counters)
            gevent.sleep(UNIT / 4)
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert_adds_up(counters)
        reasons = {name for name, count in counters.items() if count and name.startswith(("ended_", "refused_"))}
        figure("limits together: reasons that ended or refused 750 clients", ", ".join(sorted(reasons)))
        assert len(reasons) >= 5
        assert counters["accepted"] == 750
        registry = server._registry
        assert not registry._deadlines._buckets
        assert not registry._limits._open
