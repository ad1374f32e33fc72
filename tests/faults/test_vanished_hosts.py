"""Scenarios of a client's host that vanishes, in a network namespace of its own."""

from __future__ import annotations

import socket
import time

import gevent
import pytest

from tests.support.isolation import isolate, isolated
from tests.support.timing import UNIT, figure, wait_until
from tests.support.watch import MIB, Counted, counted, in_threads

pytestmark = pytest.mark.faults


def vanish(state: str, write_stall: float | None = 60.0, **options: object) -> float:
    """Seconds from the silence of a client's host, "unsent" or "idle", until the server has freed its connection."""
    options["write_stall"] = write_stall
    return float(isolate("vanishing", state, repr(options)).split()[-1])


@isolated
@pytest.mark.parametrize("limit", ["silence", "write_stall"])
def test_a_vanished_host_with_unsent_data_is_found_in_time(limit: str) -> None:
    """By the silence of its kernel, whose limit of 30 s is shortened here, or by a shorter write stall."""
    seconds = 10 * UNIT
    took = vanish("unsent", **{limit: seconds})
    figure(f"freed after the host vanished with data on its way, {limit} {seconds:g} s", round(took, 2))
    assert seconds <= took <= seconds + 1 + 20 * UNIT


@isolated
def test_a_vanished_host_that_was_idle_is_found_by_keep_alive() -> None:
    took = vanish("idle", keepalive=[1, 1, 2], write_stall=None)
    figure("freed after an idle host vanished, keep-alive after 1 s, twice, 1 s apart", round(took, 2))
    assert took <= 3 + 30 * UNIT


@isolated
@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("stall", [60, 600, None])
def test_a_vanished_host_is_found_with_the_defaults_for_every_write_stall(stall: float | None) -> None:
    unsent, idle = in_threads(vanish, [("unsent", stall), ("idle", stall)])
    figure(f"freed after the host vanished with data on its way, write stall {stall} s", round(unsent, 1))
    figure(f"freed after an idle host vanished, write stall {stall} s", round(idle, 1))
    assert 30 <= unsent <= 35
    assert 60 <= idle <= 95


def full_window(server: Counted, size: int) -> socket.socket:
    """A client with a small receive buffer that reads nothing, and has sent `size` bytes at most."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((server.address.host, server.address.port))
    client.setblocking(False)
    sent, last = 0, time.monotonic()
    while sent < size and time.monotonic() - last < UNIT:
        try:
            sent += client.send(b"x" * min(65536, size - sent))
            last = time.monotonic()
        except BlockingIOError:
            gevent.sleep(0.005)
    return client


def test_a_peer_that_answers_and_has_no_room_is_stalled_not_vanished() -> None:
    """The kernel of the peer answers every probe of its closed window."""
    silence, stall = 5 * UNIT, 25 * UNIT
    with counted(silence=silence, write_stall=stall) as server:
        owed = full_window(server, 64 * MIB)
        began = time.monotonic()
        queued = full_window(server, 40_000)
        wait_until(lambda: server.counters()["open"] <= 1)  # both may end between two readings
        took = [time.monotonic() - began]
        found = server.wait_for(open=0)
        took.append(time.monotonic() - began)
        assert (found["ended_write_stall"], found["ended_vanished"]) == (2, 0)
        figure(f"ended after, of a write stall of {stall:g} s; bytes in the server / in the kernel", took)
        assert stall - UNIT <= took[0]
        assert took[1] <= stall + 2 + 10 * UNIT
        owed.close()
        queued.close()
