"""The kernel's view of a socket: whether its peer answers, and the bytes in each direction."""

from __future__ import annotations

import contextlib
import socket as plain
import time
from collections.abc import Iterator

import pytest
from gevent import socket

from geventecho.net import tcp_info
from tests.support.timing import UNIT, wait_until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, plain.socket]]:
    """A connection over TCP: the near end is gevent's, the far end a plain one."""
    with plain.create_server(("127.0.0.1", 0)) as listener, socket.socket() as near:
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        with far:
            yield near, far


def fill(sock: socket.socket) -> int:
    """Send until the kernel takes no more; returns how many bytes it took."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock._sock.send(b"x" * 65536)
    return sent


def test_unread_counts_received_bytes_that_are_not_read_yet(pair: tuple[socket.socket, plain.socket]) -> None:
    near, far = pair
    assert tcp_info.unread(near.fileno()) == 0
    far.sendall(b"x" * 1000)
    wait_until(lambda: tcp_info.unread(near.fileno()) == 1000)
    near.recv(400)
    assert tcp_info.unread(near.fileno()) == 600


def test_undelivered_excludes_the_fin_and_is_0_once_the_peer_has_sent_its_fin(
    pair: tuple[socket.socket, plain.socket],
) -> None:
    near, far = pair
    assert tcp_info.undelivered(near) == 0
    fill(near)
    wait_until(lambda: tcp_info.undelivered(near) == tcp_info.unsent(near.fileno()) > 0)
    near.shutdown(socket.SHUT_WR)
    assert tcp_info.undelivered(near) == tcp_info.unsent(near.fileno()) - 1 > 0
    far.shutdown(plain.SHUT_WR)
    wait_until(lambda: tcp_info.undelivered(near) == 0)
    assert tcp_info.unsent(near.fileno()) > 1


def test_unsent_counts_bytes_that_the_peer_has_not_acknowledged(pair: tuple[socket.socket, plain.socket]) -> None:
    near, far = pair
    assert tcp_info.unsent(near.fileno()) == 0
    sent = fill(near)
    assert 0 < tcp_info.unsent(near.fileno()) <= sent
    while sent:
        sent -= len(far.recv(1 << 20))
    wait_until(lambda: tcp_info.unsent(near.fileno()) == 0)


def test_silence_grows_while_an_idle_peer_sends_nothing(pair: tuple[socket.socket, plain.socket]) -> None:
    near, far = pair
    far.sendall(b"x")
    assert near.recv(1) == b"x"
    began = time.monotonic()
    wait_until(lambda: tcp_info.tcp_liveness(near).silence >= 3 * UNIT)
    assert time.monotonic() - began >= 3 * UNIT - 0.02
    peer = tcp_info.tcp_liveness(near)
    assert (peer.outstanding, peer.unanswered) == (False, False)


def test_a_peer_that_takes_nothing_still_answers(pair: tuple[socket.socket, plain.socket]) -> None:
    """Its kernel answers each probe of its closed window, so it has not vanished."""
    near, _ = pair
    fill(near)
    end = time.monotonic() + 15 * UNIT
    while time.monotonic() < end:
        silence, outstanding, unanswered, *_ = tcp_info.tcp_liveness(near)
        assert outstanding
        assert not unanswered
        assert silence < 14 * UNIT
        time.sleep(0.01)


def test_the_answer_to_a_probe_is_no_progress_and_taken_bytes_are(
    pair: tuple[socket.socket, plain.socket],
) -> None:
    near, far = pair
    fill(near)
    wait_until(lambda: (tcp_info.tcp_liveness(near).stalled or 0) > 4 * UNIT)
    full, probed = tcp_info.tcp_liveness(near), False
    began = time.monotonic()
    while not probed:
        before, now = full.silence, tcp_info.tcp_liveness(near)
        probed = now.silence < before
        assert now.taken == full.taken, "the peer took nothing"
        assert now.stalled is not None
        assert now.stalled >= time.monotonic() - began - 0.02
        full = now
        time.sleep(0.005)
    far.recv(1 << 20)
    wait_until(lambda: tcp_info.tcp_liveness(near).taken > full.taken)
    assert (tcp_info.tcp_liveness(near).stalled or 0) < 4 * UNIT


def test_taken_grows_when_the_peer_of_a_unix_socket_reads() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not tcp_info.local_liveness(near).outstanding
        near.sendall(b"x" * 1000)
        full = tcp_info.local_liveness(near)
        assert full.outstanding
        assert full == tcp_info.local_liveness(near)
        assert len(far.recv(1000)) == 1000
        assert tcp_info.local_liveness(near).taken > full.taken


def test_tcp_liveness_of_a_unix_or_a_closed_socket_is_an_os_error() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(OSError, match="not supported"):
        tcp_info.tcp_liveness(near)
    with pytest.raises(OSError, match="Bad file descriptor"):
        tcp_info.tcp_liveness(near)


def test_tcp_liveness_counts_the_bytes_of_a_connection_and_its_quiet_time(
    pair: tuple[socket.socket, plain.socket],
) -> None:
    near, far = pair

    def carried() -> tuple[int, int]:
        peer = tcp_info.tcp_liveness(near)
        return peer.received, peer.taken[0]

    assert carried() == (0, 1)  # the SYN of a connect(2) is acknowledged like a byte
    wait_until(lambda: tcp_info.tcp_liveness(near).quiet > UNIT)
    far.sendall(b"x" * 1000)
    near.sendall(b"y" * 2000)
    wait_until(lambda: carried() == (1000, 2001))
    assert tcp_info.tcp_liveness(near).quiet < UNIT
