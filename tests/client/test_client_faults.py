"""The client against misbehaving peers: each failure has its error, comes within its time limit, and leaks nothing."""

from __future__ import annotations

import random
import time

import gevent
import pytest

from geventecho import errors
from geventecho.address import Address
from geventecho.client.client import Client
from geventecho.client.connecting import connect
from geventecho.framing import Exactly, Until
from tests.support import peers
from tests.support.clients import MIB, connected_to, fails, nothing_armed
from tests.support.timing import UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("offset", [0, 1, 999, 65535, 65536, 70000, 3 * MIB - 1])
def test_the_first_difference_is_found(offset: int) -> None:
    with peers.corrupts(offset) as peer, connect(peer.target) as client:
        payload = random.Random(offset).randbytes(3 * MIB)
        error = fails(errors.CorruptReply, lambda: client.echo(payload))
        assert isinstance(error, errors.CorruptReply)
        assert error.offset == offset
        assert error.address == Address.parse(peer.target)
        assert nothing_armed(client)


def test_a_corrupt_byte_in_the_second_echo_counts_from_its_own_start() -> None:
    with peers.corrupts(150) as peer, connect(peer.target) as client:
        client.echo(bytes(100))
        error = fails(errors.CorruptReply, lambda: client.echo(bytes(100)))
        assert isinstance(error, errors.CorruptReply)
        assert error.offset == 50


@pytest.mark.parametrize("count", [0, 1, 999])
def test_a_short_reply_has_its_size_and_the_expected_one(count: int) -> None:
    with peers.replies_short(count) as peer, connect(peer.target) as client:
        payload = bytes(1000)
        if not count:
            # The peer does not wait for the client: its close and the client's send are a race.
            with pytest.raises((errors.ShortReply, errors.ClosedByPeer, errors.PeerReset)):
                client.echo(payload)
            return
        error = fails(errors.ShortReply, lambda: client.echo(payload))
        assert isinstance(error, errors.ShortReply)
        assert isinstance(error, EOFError)
        assert (error.received, error.expected) == (count, 1000)


def test_a_reply_that_is_too_long_fails_the_next_exchange() -> None:
    with peers.replies_long(b"extra") as peer, connect(peer.target) as client:
        assert client.echo(b"hello") == b"hello"
        wait_until(lambda: client._wire.poll(0) or client._leftover)
        fails(errors.UnsolicitedData, lambda: client.echo(b"again"))
        fails(errors.UnsolicitedData, lambda: client.request(b"again", Exactly(5)))
        assert client.bytes_sent == 5, "the client refuses before it sends"
        assert client.recv() == b"extra"
        assert client.echo(b"again") == b"again"


# Time limits.


def test_a_peer_that_never_replies_is_a_read_timeout() -> None:
    with peers.never_replies() as peer, connect(peer.target, timeout=2 * UNIT) as client:
        for call in (
            client.recv,
            lambda: client.recv_exactly(1),
            lambda: next(iter(client)),
            lambda: client.echo(b"x"),
        ):
            error = fails(errors.ReadTimeout, call, after=2 * UNIT)
            assert isinstance(error, TimeoutError)
            assert error.phase == "read"
            assert nothing_armed(client)
    with connected_to(peers.never_replies()) as client:
        fails(errors.ReadTimeout, lambda: client.request(b"x", Until(b"\n"), timeout=UNIT), after=UNIT)
    with connected_to(peers.never_replies()) as client:
        fails(errors.ReadTimeout, lambda: client.echo(b"x", timeout=0))


def test_a_peer_that_never_reads_is_a_write_timeout() -> None:
    with peers.never_reads() as peer, connect(peer.target, timeout=2 * UNIT) as client:
        error = fails(errors.WriteTimeout, lambda: client.send(bytes(64 * MIB)), after=2 * UNIT)
        assert isinstance(error, TimeoutError)
        assert error.phase == "write"
        assert 0 < client.bytes_sent < 64 * MIB
        assert nothing_armed(client)
    with connected_to(peers.never_reads()) as client:
        fails(errors.WriteTimeout, lambda: client.echo(bytes(64 * MIB), timeout=UNIT), after=UNIT)


def test_the_time_limit_is_for_the_whole_exchange_and_not_for_each_read() -> None:
    with peers.replies_with(b"0123456789", pieces=10, pause=UNIT / 2) as peer, connect(peer.target) as client:
        fails(errors.ReadTimeout, lambda: client.request(b"x", Exactly(10), timeout=2 * UNIT), after=2 * UNIT)


def test_each_call_has_the_whole_time_limit(echo_peer: peers.Peer) -> None:
    # libev's start() after stop() goes on with the time that was left: quick calls would use up the limit.
    with connect(echo_peer.target, timeout=4 * UNIT) as client:
        end = time.monotonic() + 6 * UNIT
        while time.monotonic() < end:
            client.echo(b"x")
        fails(errors.ReadTimeout, client.recv, after=4 * UNIT)


def test_a_timeout_of_none_does_not_expire(echo_peer: peers.Peer) -> None:
    with connect(echo_peer.target, timeout=None) as client:
        assert client.echo(b"x") == b"x"
        gevent.spawn_later(2 * UNIT, client.send, b"late")
        assert client.recv() == b"late"
    with connect(echo_peer.target, timeout=UNIT) as client:
        gevent.spawn_later(2 * UNIT, client.send, b"late")
        assert client.recv(timeout=None) == b"late"


@pytest.mark.parametrize("timeout", [-1, float("nan"), -0.001])
def test_a_limit_below_zero_or_nan_is_refused(client: Client, timeout: float) -> None:
    with pytest.raises(errors.ConfigError):
        client.recv(timeout=timeout)


# Connections that end.


@pytest.mark.parametrize("count", [0, 100])
def test_a_reset_in_an_echo_is_a_peer_reset(count: int) -> None:
    with peers.resets_after(count) as peer, connect(peer.target) as client:
        error = fails(errors.PeerReset, lambda: client.echo(bytes(1000)))
        assert isinstance(error, ConnectionResetError)
        assert error.address == client.target
        assert nothing_armed(client)
        fails(errors.ClosedByPeer, lambda: client.echo(b"x"))


def test_a_close_between_requests_is_noticed_before_a_byte_is_sent() -> None:
    with peers.closes_between_requests(5) as peer, connect(peer.target) as client:
        assert client.echo(b"hello") == b"hello"
        wait_until(lambda: client._wire.poll(0))
        error = fails(errors.ClosedByPeer, lambda: client.echo(b"again"))
        assert isinstance(error, EOFError)
        fails(errors.ClosedByPeer, lambda: client.request(b"again", Exactly(5)))
        assert client.bytes_sent == 5
        assert client.recv() == b""


def test_an_echo_to_a_peer_that_closes_at_once_is_closed_by_peer() -> None:
    with peers.accepts_and_closes() as peer, connect(peer.target) as client:
        wait_until(lambda: client._wire.poll(0))
        fails(errors.ClosedByPeer, lambda: client.echo(b"x"))


def test_unsolicited_data_is_not_taken_for_a_reply() -> None:
    with peers.sends_unsolicited(b"hello") as peer, connect(peer.target) as client:
        wait_until(lambda: client._wire.poll(0))
        fails(errors.UnreadGreeting, lambda: client.echo(b"hello"))
        assert client.bytes_sent == 0
        assert client.recv() == b"hello"
        assert client.echo(b"hello") == b"hello"


def test_a_server_that_speaks_first_is_not_silent() -> None:
    with peers.greets(UNIT / 4) as peer, connect(peer.target) as client:
        fails(errors.UnreadGreeting, lambda: client.expect_silence(20 * UNIT))
        assert client.receive(Until(b"\r\n")) == b"220 mail.test hello\r\n", "the greeting is not lost"
        client.expect_silence(0.0)
        assert client.request(b"NOOP\r\n", Until(b"\r\n")) == b"250 OK\r\n"
        client.send(b"NOOP\r\n")
        fails(errors.UnsolicitedData, lambda: client.expect_silence(20 * UNIT))
    with peers.accepts_and_closes() as peer, connect(peer.target) as client:
        fails(errors.ClosedByPeer, lambda: client.expect_silence(20 * UNIT))


def test_a_late_reply_is_not_taken_for_the_next_one() -> None:
    with peers.replies_with(b"12", pieces=2, pause=2 * UNIT) as peer, connect(peer.target) as client:
        fails(errors.ReadTimeout, lambda: client.request(b"?", Exactly(2), timeout=UNIT), after=UNIT)
        fails(errors.UnsolicitedData, lambda: client.request(b"?", Exactly(1)))
        assert client.recv_exactly(2) == b"12", "the late reply is not lost"
        error = fails(errors.UnsolicitedData, lambda: client.request(b"?", Exactly(1)))
        assert "connect again" in str(error)
