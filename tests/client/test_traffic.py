"""The times that a client keeps of its exchanges."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns, time_ns

import gevent
import pytest

from geventecho import errors
from geventecho.address import Address
from geventecho.client import Client, connect
from geventecho.client.dial import dial
from geventecho.client.wire import Wire
from geventecho.framing import Exactly, NoReply
from geventecho.net import CLOCK, StampClock
from geventecho.net.stamps import SO_TIMESTAMPNS
from geventecho.server import EchoServer
from tests.support import peers
from tests.support.clients import SLACK, fails
from tests.support.servers import running
from tests.support.timing import UNIT

pytestmark = pytest.mark.usefixtures("no_leaks")

SECOND = 1_000_000_000
HELD = 0.3 * UNIT


@pytest.fixture
def timed(echo_peer: peers.Peer) -> Iterator[Client]:
    """A timed client of a peer that echoes; the kernel stamps its arrivals already."""
    with connect(echo_peer.target, timed=True) as client:
        while not client.traffic.read_at:
            client.echo(b"stamp this")
        yield client


class SteppedClock:
    """The real clocks; the client sees the wall clock stepped by `stepped` nanoseconds."""

    def __init__(self) -> None:
        self.stepped = 0
        self.clock = StampClock(perf_counter_ns, lambda: time_ns() + self.stepped)

    def client(self, target: str) -> Client:
        address = Address.of(target)
        sock, peer = dial(address, UNIT * 10, stamped=True)
        return Client(Wire(sock, address, UNIT * 10, self.clock), address, peer)


@pytest.mark.parametrize("size", [1, 65536, 100_000])
def test_the_times_of_an_echo_are_in_order(timed: Client, size: int) -> None:
    before = perf_counter_ns()
    timed.echo(b"x" * size)
    traffic = timed.traffic
    assert before < traffic.sent_at < traffic.first_at <= traffic.arrived_at < traffic.read_at < perf_counter_ns()
    assert traffic.seconds == pytest.approx((traffic.arrived_at - traffic.sent_at) / SECOND)


def test_a_late_read_does_not_move_the_arrival(timed: Client) -> None:
    gevent.get_hub().loop.run_callback(time.sleep, HELD)  # once the echo waits; the peer's thread answers meanwhile
    timed.echo(b"x")
    traffic = timed.traffic
    assert (traffic.read_at - traffic.arrived_at) / SECOND >= HELD / 2
    assert traffic.seconds <= HELD / 2


def test_a_reply_in_two_pieces_has_two_arrivals() -> None:
    gap = UNIT / 2
    with peers.replies_with(b"12345678", pieces=2, pause=gap) as peer, connect(peer.target, timed=True) as client:
        client.request(b"x", Exactly(8))
        traffic = client.traffic
        assert gap <= (traffic.arrived_at - traffic.first_at) / SECOND + 0.001 <= gap + SLACK
        assert traffic.sent_at < traffic.first_at
        # The second piece has two replies: both have its arrival.
        client.request(b"x", Exactly(4))
        client.receive(Exactly(2))
        arrived = traffic.arrived_at
        client.receive(Exactly(2))
        assert traffic.first_at == traffic.arrived_at == arrived


def test_a_reply_that_begins_with_leftover_bytes_begins_at_their_arrival() -> None:
    with peers.replies_with(b"abcdef", pieces=2, pause=UNIT / 2) as peer, connect(peer.target, timed=True) as client:
        client.request(b"x", Exactly(2))
        first = client.traffic.arrived_at
        client.receive(Exactly(4))
        assert client.traffic.first_at == first
        assert client.traffic.arrived_at - first >= 0.9 * UNIT / 2 * SECOND


def test_an_arrival_before_the_send_does_not_count(timed: Client) -> None:
    """A step of the clock that is too small to be detected can move an arrival there."""
    timed.echo(b"x")
    traffic = timed.traffic
    traffic.arrived_at = traffic.sent_at - 1
    assert traffic.seconds == pytest.approx((traffic.read_at - traffic.sent_at) / SECOND)


def test_a_request_without_a_reply_ends_when_it_is_sent(timed: Client) -> None:
    timed.request(b"x", NoReply())
    assert timed.traffic.sent_at < timed.traffic.arrived_at < perf_counter_ns()
    assert timed.traffic.read_at == 0


@pytest.mark.parametrize("step", [-10 * SECOND, SECOND // 1000, 10 * SECOND])
def test_a_step_of_the_clock_costs_each_connection_one_arrival(echo_peer: peers.Peer, step: int) -> None:
    clocks = SteppedClock()
    with clocks.client(echo_peer.target) as one, clocks.client(echo_peer.target) as other:
        while not (one.traffic.read_at and other.traffic.read_at):
            one.echo(b"stamp this")
            other.echo(b"stamp this")
        # The stamps are of the real clock: after the second step, which undoes the first, their conversion is right.
        for stepped in (step, 0):
            clocks.stepped = stepped
            for client in (one, other):
                client.echo(b"x")
                assert client.traffic.arrived_at == 0
                traffic = client.traffic
                assert traffic.seconds == pytest.approx((traffic.read_at - traffic.sent_at) / SECOND)
                assert traffic.seconds > 0
        for client in (one, other):
            client.echo(b"x")
            assert client.traffic.sent_at < client.traffic.arrived_at < client.traffic.read_at
    assert clocks.clock.steps == 2


def test_a_unix_socket_has_no_stamps(tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/echo.sock"
    with running(EchoServer(target)), connect(target, timed=True) as client:
        client.echo(b"x" * 1000)
        traffic = client.traffic
        assert traffic.sent_at < traffic.first_at <= traffic.arrived_at < perf_counter_ns()
        assert traffic.read_at == 0
        assert client._wire.sock.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS) == 0


def test_a_descriptor_that_a_unix_peer_passes_is_no_stamp() -> None:
    address = Address.of("unix:/pair")
    near, far = gevent.socket.socketpair()
    with far, Client(Wire(near, address, UNIT, CLOCK), address, "") as client:
        far.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", far.fileno()))])
        assert client.receive(Exactly(1)) == b"x"


def test_a_client_that_is_not_timed_keeps_no_times(client: Client) -> None:
    client.echo(b"x")
    traffic = client.traffic
    assert (traffic.sent_at, traffic.first_at, traffic.arrived_at, traffic.read_at) == (0, 0, 0, 0)
    assert (traffic.bytes_sent, traffic.bytes_received) == (1, 1)
    assert client._wire.sock.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS) == 0


def test_a_failure_leaves_the_time_of_the_send() -> None:
    with peers.never_replies() as peer, connect(peer.target, timed=True) as client:
        before = perf_counter_ns()
        fails(errors.ReadTimeout, lambda: client.echo(b"x", timeout=UNIT), after=UNIT)
        assert before < client.traffic.sent_at < before + SLACK * SECOND
        assert client.traffic.first_at == 0
