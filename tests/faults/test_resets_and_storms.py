"""Scenarios of short connections: resets in mid-echo and before the accept, and connections by the thousand."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gevent import socket as cooperative

from tests.support.servers import ping, read_to_end
from tests.support.timing import PATIENCE, UNIT, figure, median_of, wait_until
from tests.support.watch import (
    KIB,
    MIB,
    Counted,
    attack,
    counted,
    half_close,
    in_threads,
    reset,
    send_until_full,
    witness,
)

pytestmark = pytest.mark.faults


@pytest.mark.alone
def test_a_thousand_resets_in_mid_echo_delay_no_ping() -> None:
    def once() -> float:
        with counted() as server:
            with witness(server) as sight:
                attack(server, "resets", 250)
            found = server.wait_for(open=0)
            assert found["ended_reset"] + found["ended_peer"] == found["accepted"]
            assert found["ended_reset"] >= 900
            assert server.errors == ""
        return sight.gap

    median_of(3, once, 50, "witness max gap beside 1,000 resets, ms")


def times_asleep(server: Counted) -> int:
    """How often the server has slept so far; waits for a processor do not count (proc(5))."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def milliseconds_running(server: Counted) -> float:
    """How long the server has had a processor so far; the time of other processes does not count (proc(5))."""
    return int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[0]) / 1e6


def answered_behind(leave: Callable[[socket.socket], None]) -> tuple[float, int]:
    """Five hundred clients connect and leave before they are accepted; one more sends a ping and stays.

    Returns:
        Milliseconds of processor time until the answer to the ping, and how often the server slept before it.

    The ping is there before the server goes on, so the server sleeps only where it pauses by itself.
    """
    with counted() as server:
        server.signal(signal.SIGSTOP)
        for _ in range(500):
            leave(server.plain_connect())
        with server.plain_connect() as good:
            good.sendall(b"ping")
            before, began = times_asleep(server), milliseconds_running(server)
            server.signal(signal.SIGCONT)
            assert good.recv(4) == b"ping"
            took = milliseconds_running(server) - began
            asleep = times_asleep(server) - before
        found = server.wait_for(open=0)
        assert found["accepted"] == 502
        assert found["accept_errors"] == found["queue_drops"] == 0
        assert found["ended_reset"] + found["ended_peer"] == found["accepted"]
        assert server.errors == ""
    return took, asleep


@pytest.mark.alone
def test_a_reset_before_the_accept_costs_no_more_than_a_close_and_causes_no_pause() -> None:
    """The speed of a machine drifts from second to second, so resets and closes are compared in pairs.

    Other work only adds to one side, so the least difference of three pairs counts.
    """
    more = []
    for _ in range(3):
        closed, _ = answered_behind(socket.socket.close)
        resets, asleep = answered_behind(reset)
        more.append(resets - closed)
        figure("processor time behind 500 resets / behind 500 closed in order, ms", f"{resets:.1f} / {closed:.1f}")
        figure("times asleep meanwhile", asleep)
        assert asleep <= 5, "the server pauses"
        if more[-1] <= 10:
            break
    assert min(more) <= 10, f"milliseconds more: {more}"


@pytest.mark.long
def test_twenty_thousand_short_connections_leave_memory_flat() -> None:
    """The clients close first, so TIME_WAIT is on their side. Several addresses give them enough ports."""

    def storm(server: Counted, source: str, times: int) -> None:
        for _ in range(times):
            with server.plain_connect(source_address=(source, 0)) as client:
                client.sendall(b"ping")
                assert client.recv(4) == b"ping"

    with counted() as server:
        in_threads(storm, [(server, f"127.0.0.{number}", 500) for number in range(2, 6)])
        server.wait_for(open=0)
        base = server.memory
        with witness(server) as sight:
            began = time.monotonic()
            in_threads(storm, [(server, f"127.0.0.{number}", 4500) for number in range(2, 6)])
            took = time.monotonic() - began
        found = server.wait_for(open=0)
        assert found["ended_peer"] == found["accepted"] == 20_002
        figure("short connections a second", round(18_000 / took))
        figure("witness p99, ms", sight.p99)
        figure("memory after 2,000 and after 20,000 connections, KiB more", (server.memory - base) // KIB)
        assert server.memory - base <= MIB


def test_pings_go_on_beside_all_bad_peers_at_once() -> None:
    """Peers that never read, stay silent, reset, half-close, and connect and leave."""
    with counted(write_stall=10 * UNIT, first_byte_timeout=10 * UNIT) as server, witness(server) as sight:
        never, silent = server.connect(), server.connect()
        send_until_full(never)
        for _ in range(20):
            with server.connect() as client:
                ping(client)
            reset(server.plain_connect())
        half_close(server, MIB)
        assert read_to_end(silent) == b""
        wait_until(lambda: server.counters()["ended_write_stall"] == 1)
        with pytest.raises(OSError, match="reset"):
            read_to_end_blocking(never)
        silent.close()
        never.close()
        wait_until(lambda: server.counters()["open"] == 1)
    assert sight.pings > 10


def read_to_end_blocking(client: cooperative.socket) -> bytes:
    client.settimeout(PATIENCE)
    return read_to_end(client)
