"""Pipelines: several requests in flight on one connection."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

import pytest

from tests.support import peers
from tests.support.line_protocol import lines
from tests.support.locust_script import run_users
from tests.support.timing import UNIT, wait_until


def test_a_pipeline_returns_all_replies() -> None:
    with peers.Peer(lines) as peer:
        result = run_users("pipelines.pings", peer.target)
    assert result["errors"] == {}
    assert result["exceptions"] == []


def test_a_pipeline_does_not_wait_for_replies_that_wait_for_it() -> None:
    """Both sides send megabytes: a client that first sent all requests would never read."""
    with peers.echoes() as peer:
        result = run_users("pipelines.megabytes", peer.target)
    assert result["errors"] == {}


def test_a_pipeline_keeps_its_depth_and_returns_the_replies_in_order() -> None:
    """The server answers four requests at once, and looks whether its socket has a fifth."""
    seen: list[int] = []

    def in_fours(connection: socket.socket) -> None:
        while data := connection.recv(4, socket.MSG_WAITALL):
            connection.setblocking(False)
            try:
                seen.append(len(data) + len(connection.recv(100, socket.MSG_PEEK)))
            except BlockingIOError:
                seen.append(len(data))
            connection.setblocking(True)
            connection.sendall(data)

    with peers.Peer(in_fours) as peer:
        result = run_users("pipelines.in_fours", peer.target)
    assert result["errors"] == {}
    assert max(seen) == 4


def test_requests_in_flight_fail_with_the_connection_of_a_pipeline() -> None:
    with peers.closes_after(35) as peer:
        result = run_users("pipelines.lost", peer.target)
    # Three requests get their replies. The fourth gets a part of it, and fails with the requests sent after it.
    assert result["rows"]["request"][0] >= 3 * 4
    assert result["errors"] == {"request: short reply": result["rows"]["request"][1]}
    assert 3 * 1 <= result["rows"]["request"][1] <= 4 * 5


def test_an_unexpected_reply_ends_a_pipeline() -> None:
    """Later bytes may be the reply to any request. So the other requests fail, and the next operation reconnects."""
    with peers.Peer(lines) as peer:
        result = run_users("pipelines.unexpected_reply", peer.target)
        pipelines = peer.accepted
    assert result["exceptions"] == []
    assert result["errors"].keys() == {"line: unexpected reply", "line: closed locally"}
    assert result["errors"]["line: unexpected reply"] in (pipelines, pipelines - 1)


def doubled(connection: socket.socket, pause: float = 0.0) -> None:
    """Sends each reply twice, the second time after the pause."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while request := connection.recv(8, socket.MSG_WAITALL):
        reply = b"\0\0\0\4" + request[4:]
        if pause:
            connection.sendall(reply)
            time.sleep(pause)
            connection.sendall(reply)
        else:
            connection.sendall(reply * 2)


def doubled_later(connection: socket.socket) -> None:
    doubled(connection, UNIT / 10)


def garbage(connection: socket.socket) -> None:
    """Sends random bytes for ever, with or without a request."""
    source = random.Random(1)
    while True:
        connection.sendall(source.randbytes(4096))


@pytest.mark.parametrize(
    ("behave", "framing", "depth"),
    [
        (garbage, "until", 1),
        (garbage, "exactly", 5),
        (doubled, "exactly", 1),
        (doubled, "length", 3),
        (doubled, "none", 1),
        (doubled_later, "until", 1),
        (doubled_later, "exactly", 4),
    ],
)
def test_a_surplus_reply_is_a_failure(behave: Callable[[socket.socket], None], framing: str, depth: int) -> None:
    """As the reply to the next request it would make this request and all later ones look fast."""
    with peers.Peer(behave) as peer:
        result = run_users("pipelines.numbered", peer.target, framing=framing, depth=depth)
        # The kernel completes a connect before the peer accepts it.
        wait_until(lambda: peer.accepted >= result["rows"]["connect"][0], goal="all connections accepted")
        connections = peer.accepted
    assert result["exceptions"] == []
    # Garbage may come before the first request.
    surplus = {"request: unsolicited data", "request: unread greeting, see --greeting-until"}
    assert result["errors"].keys() <= {*surplus, "request: closed locally"}
    # The client closes each connection at its first surplus reply, at the latest when the pipeline ends.
    assert connections - 2 <= sum(result["errors"].get(kind, 0) for kind in surplus) <= connections
    if framing != "none":
        # A late reply may come after the next pipeline has begun. Then this pipeline is the connection's last.
        pipelines = 2 if behave is doubled_later else 1
        assert result["rows"]["request"][0] <= connections * 20 * pipelines


@pytest.mark.parametrize("operation", ["pipeline", "echo", "request", "receive"])
def test_a_surplus_reply_after_a_pipeline_is_not_the_reply_to_the_next_request(operation: str) -> None:
    pipelines: list[socket.socket] = []

    def behave(connection: socket.socket) -> None:
        while asked := connection.recv(16, socket.MSG_WAITALL):
            if asked == b"now":  # the pipeline is over; this is another connection
                pipelines[-1].sendall(b"surplus\r\n")
            else:
                pipelines.append(connection)
                connection.sendall(b"one\r\ntwo\r\n")

    with peers.Peer(behave) as peer:
        result = run_users("pipelines.after_a_surplus_reply", peer.target, operation=operation)
    failed = {} if operation == "receive" else {"then: unsolicited data": result["rows"]["then"][0]}
    assert result["errors"] == failed


@pytest.mark.parametrize("depth", [1, 3])
def test_a_reply_may_come_while_its_request_is_still_written(depth: int) -> None:
    def hasty(connection: socket.socket) -> None:
        while connection.recv(1):
            connection.sendall(b"01234567")
            missing = (1 << 20) - 1
            while missing and (data := connection.recv(min(missing, 65536))):
                missing -= len(data)

    with peers.Peer(hasty) as peer:
        result = run_users("pipelines.early_replies", peer.target, depth=depth)
    assert result["errors"] == {}


def test_a_request_without_a_reply_fails_unless_all_of_it_is_sent() -> None:
    with peers.never_reads() as peer:
        result = run_users("pipelines.never_taken", peer.target)
    assert result["errors"] == {"request: write timeout": result["rows"]["request"][0]}


def test_a_stop_ends_a_user_even_when_the_sender_fails() -> None:
    with peers.never_replies() as peer:
        result = run_users("pipelines.stopped_beside_a_mistake", peer.target)
    assert result["exceptions"] == []
    assert result["users_left"] == 0


def test_a_stop_in_a_pipeline_is_no_failure() -> None:
    with peers.never_replies() as peer:
        result = run_users("pipelines.stopped", peer.target)
    assert result["account"] == {"started": 12, "ok": 2, "failed": 0, "aborted": 10}
    assert result["rows"] == {"connect": [2, 0]}


def test_an_exception_of_the_iterator_of_requests_ends_the_task_and_is_no_failure() -> None:
    with peers.echoes() as peer:
        result = run_users("pipelines.mistake", peer.target)
    assert result["exceptions"][0] == "KeyError('a mistake')"
    assert result["errors"] == {}


def test_a_payload_of_a_pipeline_that_is_not_bytes_fails_at_once() -> None:
    with peers.echoes() as peer:
        result = run_users("pipelines.wrong_payload", peer.target)
    assert "the payload is of type str" in result["exceptions"][0]
    rows = result["rows"]
    assert rows["request"][1] == 0
    assert rows["wrong"][0] == rows["wrong"][1] >= 3


def test_an_item_of_a_pipeline_that_is_no_request_ends_the_task_after_the_replies() -> None:
    with peers.echoes() as peer:
        result = run_users("pipelines.not_a_request", peer.target)
    assert "a pipeline sends instances of Request, not of bytes" in result["exceptions"][0]
    assert result["rows"]["request"] == [len(result["exceptions"]), 0]
    assert result["errors"] == {}
