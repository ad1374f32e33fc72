"""The client against peers that echo: streams, echoes, requests."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from geventecho import errors
from geventecho.address import Address
from geventecho.client.client import Client
from geventecho.client.connecting import connect
from geventecho.framing import Exactly, LengthPrefixed, NoReply, Until, UntilClosed, UntilQuiet
from tests.support import peers
from tests.support.clients import MIB, SLACK, connected_to, fails, nothing_armed, run
from tests.support.properties import given, settings, st
from tests.support.timing import PATIENCE, SCALE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

EVERY_BYTE = bytes(range(256))


# Echo.


def test_echo_returns_its_payload(client: Client) -> None:
    for payload in (b"x", EVERY_BYTE, b"", random.Random(1).randbytes(65537)):
        assert client.echo(payload) is payload
    assert client.bytes_sent == client.bytes_received == 1 + 256 + 65537
    assert nothing_armed(client)


@pytest.mark.parametrize(
    "make",
    [bytearray, memoryview, lambda data: memoryview(bytearray(data)).cast("I")],
    ids=["bytearray", "bytes", "integers"],
)
def test_echo_takes_any_buffer(client: Client, make: Callable[[bytes], bytearray]) -> None:
    payload = make(EVERY_BYTE * 1000)
    assert client.echo(payload) is payload
    assert client.bytes_received == 256_000


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=5000), max_size=10))
def test_echo_returns_any_bytes(payloads: list[bytes]) -> None:
    with peers.echoes() as peer, connect(peer.target) as client:
        for payload in payloads:
            assert client.echo(payload) == payload


def test_one_call_echoes_256_mib_in_flat_memory(echo_peer: peers.Peer) -> None:
    grown, received = run("tests.client.scripts.large_echo", echo_peer.target).split()
    assert int(received) == 257 * MIB
    assert int(grown) < 8 * 1024, "KiB"


def test_the_default_limit_grows_with_the_payload(echo_peer: peers.Peer) -> None:
    with connect(echo_peer.target, timeout=0.02) as client:
        client.echo(bytes(64 * MIB))  # 8 s more
    assert echo_peer.accepted == 1


# Requests and framings.


def test_every_framing_ends_its_reply(client: Client) -> None:
    assert client.request(b"GET\r\n", Until(b"\r\n")) == b"GET\r\n"
    assert client.request(b"\0\3abc", LengthPrefixed(">H")) == b"\0\3abc"
    assert client.request(b"12345", Exactly(5)) == b"12345"
    assert client.request(b"abc!", lambda chunk: chunk.endswith(b"!")) == b"abc!"
    began = time.monotonic()
    assert client.request(b"quiet", UntilQuiet(2 * UNIT)) == b"quiet"
    assert 2 * UNIT <= time.monotonic() - began <= 2 * UNIT + SLACK
    assert client.request(b"nothing", NoReply()) == b""
    assert client.receive(Exactly(7)) == b"nothing"
    assert nothing_armed(client)


def test_the_quiet_time_counts_from_the_last_byte() -> None:
    with peers.replies_with(b"abc", pieces=3, pause=UNIT) as peer, connect(peer.target) as client:
        assert client.request(b"?", UntilQuiet(3 * UNIT)) == b"abc"
    with connected_to(peers.never_replies()) as client:
        fails(errors.ReadTimeout, lambda: client.request(b"?", UntilQuiet(UNIT / 2), timeout=2 * UNIT), after=2 * UNIT)


def test_a_reply_may_end_with_the_close_of_the_peer() -> None:
    with peers.replies_with(b"all of it", then_close=True) as peer, connect(peer.target) as client:
        assert client.request(b"?", UntilClosed()) == b"all of it"


def test_a_flood_ends_at_the_limit_of_its_framing() -> None:
    with peers.floods() as peer, connect(peer.target) as client:
        error = fails(errors.ReplyTooLong, lambda: client.request(b"?", Until(b"\n", max_size=100_000)))
        assert isinstance(error, errors.ReplyTooLong)
        assert error.limit == 100_000
        assert client.bytes_received < 100_000 + 2 * 65536


def test_a_large_request_is_full_duplex(client: Client) -> None:
    payload = random.Random(2).randbytes(32 * MIB)
    assert client.request(payload, Exactly(len(payload)), timeout=60 * SCALE) == payload


def test_bytes_after_a_reply_stay_for_the_next_one(client: Client) -> None:
    client.send(b"one\ntwo\nthr")
    assert client.receive(Until(b"\n")) == b"one\n"
    assert client.receive(Until(b"\n")) == b"two\n"
    fails(errors.ReadTimeout, lambda: client.receive(Until(b"\n"), timeout=UNIT), after=UNIT)
    client.send(b"ee\n!")
    assert client.receive(Until(b"\n")) == b"three\n"
    fails(errors.UnsolicitedData, lambda: client.request(b"x", Exactly(1)))
    assert client.request(b"", Exactly(1)) == b"!", "an empty payload is not sent"
    assert client.echo(b"in step") == b"in step"


def test_recv_exactly_loses_nothing(client: Client) -> None:
    client.send(b"abc")
    fails(errors.ReadTimeout, lambda: client.recv_exactly(5, timeout=UNIT), after=UNIT)
    client.send(b"defg")
    assert client.recv_exactly(5) == b"abcde"
    assert client.recv(1) == b"f"
    assert client.recv() == b"g"
    assert client.recv_exactly(0) == b""
    client.send(b"h")
    client.end()
    error = fails(errors.ShortReply, lambda: client.recv_exactly(2))
    assert isinstance(error, errors.ShortReply)
    assert (error.received, error.expected) == (1, 2)
    assert client.recv() == b"h"


# Streams.


def test_all_bytes_come_back_after_a_half_close(client: Client) -> None:
    payload = random.Random(3).randbytes(MIB)

    def send() -> None:
        client.send(payload)
        client.end()
        client.end()

    sender = gevent.spawn(send)
    assert b"".join(client) == payload
    sender.get()
    assert client.recv() == b""
    error = fails(errors.ClosedLocally, lambda: client.send(b"x"))
    assert error.phase == "write"


def test_recv_returns_at_most_the_given_number_of_bytes(client: Client) -> None:
    client.send(b"abcdef")
    assert client.recv(2) == b"ab"
    with pytest.raises(errors.ConfigError):
        client.recv(0)
    assert client.recv() == b"cdef"


def test_a_closed_client_keeps_its_addresses_and_counters_and_refuses_calls(echo_peer: peers.Peer) -> None:
    with connect(echo_peer.target) as client:
        assert client.fileno() >= 0
        local = client.local_address
        client.echo(b"x")
        assert "open" in repr(client)
    client.close()
    client.abort()
    client.end()
    assert client.closed
    assert "closed" in repr(client)
    assert client.fileno() == -1
    assert (client.local_address, client.peer_address) == (local, Address.parse(echo_peer.target))
    assert str(local).startswith("tcp://127.0.0.1:")
    assert (client.bytes_sent, client.bytes_received) == (1, 1)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("read", client.recv),
        ("write", lambda: client.send(b"x")),
        ("read", lambda: client.echo(b"x")),
        ("read", lambda: client.request(b"x", Exactly(1))),
        ("read", lambda: client.receive(Exactly(1))),
    ]
    for phase, call in calls:
        assert fails(errors.ClosedLocally, call).phase == phase


def test_abort_sends_a_reset() -> None:
    seen: list[str] = []

    def watch(connection: socket.socket) -> None:
        try:
            connection.recv(1)
            connection.recv(1)
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    with peers.Peer(watch) as peer:
        with connect(peer.target) as client:
            client.send(b"x")
            client.abort()
        wait_until(lambda: seen)
    assert seen == ["reset"]


def test_a_payload_that_is_not_bytes_like_is_refused() -> None:
    with peers.echoes() as peer, connect(peer.target, timeout=PATIENCE) as client:
        calls: list[Callable[[Any], object]] = [client.send, client.echo, lambda data: client.request(data, Exactly(1))]
        for call in calls:
            with pytest.raises(TypeError, match=r"of type str; it must be bytes-like; write b'...' or encode it$"):
                call("text")
            with pytest.raises(TypeError, match=r"of type int; it must be bytes-like$"):
                call(5)
        with pytest.raises(errors.ConfigError, match=r"^timeout is '5'; it must be a number of seconds"):
            client.echo(b"x", timeout="5")  # type: ignore[arg-type]
        assert client.echo(b"still usable") == b"still usable"
