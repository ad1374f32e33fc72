"""Echoes that one read does not complete: replies in pieces, sizes about the receive size, wakeups without data."""

from __future__ import annotations

import gevent
import pytest
from gevent import get_hub
from gevent.exceptions import BlockingSwitchOutError

from geventecho import errors
from geventecho.client.client import Client
from geventecho.client.wire import RECEIVE_SIZE
from tests.support import peers
from tests.support.clients import connected_to, fails, nothing_armed
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

PAYLOAD = bytes(range(256)) * 4


@pytest.mark.parametrize("pieces", [2, 7, 1024])
def test_a_reply_in_pieces_is_one_echo(pieces: int) -> None:
    with connected_to(peers.replies_with(PAYLOAD, pieces=pieces, pause=UNIT / 1000)) as client:
        assert client.echo(PAYLOAD) is PAYLOAD
        assert (client.bytes_sent, client.bytes_received) == (1024, 1024)
        assert nothing_armed(client)


@pytest.mark.parametrize("offset", [0, 511, 512, 1023])
def test_a_wrong_byte_in_a_later_piece_counts_from_the_start(offset: int) -> None:
    reply = bytearray(PAYLOAD)
    reply[offset] ^= 1
    with connected_to(peers.replies_with(bytes(reply), pieces=2, pause=UNIT / 10)) as client:
        error = fails(errors.CorruptReply, lambda: client.echo(PAYLOAD))
        assert isinstance(error, errors.CorruptReply)
        assert error.offset == offset


def test_all_pieces_have_one_time_limit() -> None:
    with connected_to(peers.replies_with(PAYLOAD[:-1], pieces=3, pause=UNIT)) as client:
        error = fails(errors.ReadTimeout, lambda: client.echo(PAYLOAD, timeout=4 * UNIT), after=4 * UNIT)
        assert "1023 bytes of it came" in str(error)
        assert nothing_armed(client)


def test_wakeups_without_data_do_no_harm() -> None:
    with connected_to(peers.replies_with(PAYLOAD, pieces=2, pause=UNIT / 10)) as client:
        watcher = client._wire._read_event
        woken = []

        def wake() -> None:
            woken.append(watcher.callback is not None)
            watcher.feed(1, watcher.callback, *watcher.args)

        echo = gevent.spawn(client.echo, PAYLOAD)
        for _ in range(3):
            get_hub().loop.run_callback(wake)
        assert echo.get(timeout=PATIENCE) == PAYLOAD
        assert woken == [True] * 3
        assert nothing_armed(client)


@pytest.mark.parametrize("size", [1, RECEIVE_SIZE - 1, RECEIVE_SIZE, RECEIVE_SIZE + 1])
def test_payloads_of_about_the_receive_size_come_back(client: Client, size: int) -> None:
    for fill in (b"a", b"b"):
        assert client.echo(fill * size) == fill * size
    assert client.bytes_received == client.bytes_sent == 2 * size


@pytest.mark.parametrize("extra", [b"x", PAYLOAD])
def test_bytes_after_an_echo_fail_the_next_echo_and_are_kept(extra: bytes) -> None:
    with connected_to(peers.replies_with(PAYLOAD + extra)) as client:
        assert client.echo(PAYLOAD) is PAYLOAD
        wait_until(lambda: client._wire.poll(0) or client._leftover)
        sent = client.bytes_sent
        fails(errors.UnsolicitedData, lambda: client.echo(PAYLOAD))
        assert client.bytes_sent == sent
        assert client.recv_exactly(len(extra)) == extra


def test_an_echo_in_a_callback_of_the_loop_raises(client: Client) -> None:
    caught: list[BaseException] = []

    def call() -> None:
        try:
            client.echo(PAYLOAD)
        except BaseException as error:
            caught.append(error)

    get_hub().loop.run_callback(call)
    wait_until(lambda: caught)
    assert [type(error) for error in caught] == [BlockingSwitchOutError]
    assert nothing_armed(client)
