"""Several requests under way at once on a connection."""

from __future__ import annotations

import socket

from tests.support import peers
from tests.support.line_protocol import lines
from tests.support.locust_script import run_users


def test_a_pipeline() -> None:
    with peers.Peer(lines) as peer:
        result = run_users("pipelines.pings", peer.target)
    assert result["errors"] == {}
    assert result["exceptions"] == []


def test_a_pipeline_does_not_wait_for_replies_that_wait_for_it() -> None:
    """Megabytes both ways: a client that sent everything first would never read."""
    with peers.echoes() as peer:
        result = run_users("pipelines.megabytes", peer.target)
    assert result["errors"] == {}


def test_the_depth_of_a_pipeline_is_kept() -> None:
    """A server that answers nothing until it has four requests, and fails when there are five."""
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


def test_what_is_under_way_fails_with_a_pipelines_connection() -> None:
    with peers.closes_after(35) as peer:
        result = run_users("pipelines.lost", peer.target)
    # Three are answered; the fourth in part, and with it those that were sent behind it.
    assert result["rows"]["request"][0] >= 3 * 4
    assert result["errors"] == {"request: short reply": result["rows"]["request"][1]}
    assert 3 * 1 <= result["rows"]["request"][1] <= 4 * 5


def test_an_unexpected_reply_in_a_pipeline() -> None:
    with peers.Peer(lines) as peer:
        result = run_users("pipelines.unexpected_reply", peer.target)
        assert peer.accepted == 1
    assert result["exceptions"] == []
    assert result["errors"] == {"line: unexpected reply": result["rows"]["line"][1]}
    assert abs(result["rows"]["line"][0] - 3 * result["rows"]["line"][1]) <= 3


def test_stop_in_the_midst_of_a_pipeline() -> None:
    with peers.never_replies() as peer:
        result = run_users("pipelines.stopped", peer.target)
    assert result["account"]["failed"] == 0
    assert result["rows"] == {"connect": [2, 0]}


def test_a_mistake_in_a_pipelines_requests() -> None:
    with peers.echoes() as peer:
        result = run_users("pipelines.mistake", peer.target)
    assert result["exceptions"][0] == "KeyError('a mistake')"
    assert result["errors"] == {}
