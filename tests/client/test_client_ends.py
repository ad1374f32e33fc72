"""Ends of connections: a reset at once, a reply that is too long, a peer that takes bytes and returns none."""

from __future__ import annotations

import errno
import subprocess
import time
from pathlib import Path

import pytest

from geventecho.address import Address
from geventecho.client.connecting import connect
from geventecho.client.ping import pings
from geventecho.errors import ConnectError, ConnectRefused, ConnectReset
from geventecho.net.failures import translate_connect
from tests.support import peers
from tests.support.clients import MIB, SLACK
from tests.support.commands import COMMAND, SECONDS, command
from tests.support.timing import UNIT


def test_a_reset_while_connecting_is_a_connect_reset() -> None:
    # Either connect(2) or the first use gets the reset: this is a race, so the test makes the error itself.
    target = Address.parse("127.0.0.1:7")
    error = translate_connect(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), target)
    assert type(error) is ConnectReset
    assert isinstance(error, ConnectError)
    assert isinstance(error, ConnectionResetError)
    assert (error.kind, error.phase, error.errno, error.address) == ("reset", "connect", errno.ECONNRESET, target)


@pytest.mark.usefixtures("no_leaks")
def test_a_reset_at_once_is_named_reset_or_closed_by_peer() -> None:
    with peers.accepts_and_resets() as peer:
        kinds = {ping.error.kind for ping in pings(peer.target, count=50, interval=0) if ping.error is not None}
    assert kinds <= {"reset", "closed by peer"}
    assert "reset" in kinds


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("extra", [b"x", b"x" * 100_000])
def test_extra_bytes_after_the_last_echo_of_a_series_are_a_loss(extra: bytes) -> None:
    with peers.replies_long(extra) as peer:
        (ping,) = pings(peer.target, count=1)
        assert ping.seconds is None
        assert ping.error is not None
        assert ping.error.kind == "unsolicited data"
        done = command(["ping", peer.target, "-c", "1"])
    assert done.returncode == 1
    assert b"1 sent, 0 answered, 1 lost (100%)\nlost: unsolicited data 1" in done.stdout


@pytest.mark.usefixtures("no_leaks")
def test_a_close_after_the_last_echo_is_no_loss() -> None:
    with peers.closes_between_requests(64) as peer:
        (ping,) = pings(peer.target, count=1)
    assert ping.error is None
    assert ping.seconds is not None


@pytest.mark.alone
@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.long), 8 * MIB])
def test_send_fails_when_no_byte_moves_for_its_timeout(size: int) -> None:
    # The timeout begins when the peer takes the last byte, not when `send` notices that.
    limit = 20 * UNIT  # much longer than a process takes to start
    with peers.never_reads() as peer:
        began = time.monotonic()
        done = command(["send", peer.target, "--timeout", f"{limit:g}"], given=bytes(size))
        elapsed = time.monotonic() - began
    assert done.returncode == 1
    assert f"{limit:g} s" in done.stderr.decode()
    assert limit <= elapsed < 1.5 * limit + SLACK


def test_a_unix_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectRefused, match="no such socket: nobody listens there") as caught:
        connect(f"unix:{tmp_path}/gone")
    assert caught.value.kind == "no such socket"


def test_an_output_that_ping_cannot_write_is_one_line(echo_peer: peers.Peer) -> None:
    with open("/dev/full", "wb") as full:
        ping = [*COMMAND, "ping", echo_peer.target, "-c", "2", "-i", "0"]
        done = subprocess.run(ping, stdout=full, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert done.stderr == b"geventecho ping: standard output cannot be written: No space left on device\n"
