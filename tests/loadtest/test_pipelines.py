"""Several requests under way at once on a connection."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support import peers
from tests.support.locust_task import LOGIN, lines, run_task


def test_a_pipeline(tmp_path: Path) -> None:
    task = r"""
requests = [Request(b"PING\r\n", Until(b"\r\n"), name="ping", expect=b"+PONG\r\n") for _ in range(50)]
replies = self.client.pipeline(iter(requests), depth=8)
assert replies == [b"+PONG\r\n"] * 50
"""
    with peers.Peer(lines) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('ping') >= 500", extra=LOGIN)
    assert result["errors"] == {}
    assert result["exceptions"] == []


def test_a_pipeline_does_not_wait_for_replies_that_wait_for_it(tmp_path: Path) -> None:
    """Megabytes both ways: a client that sent everything first would never read."""
    task = r"""
requests = [Request(bytes(1 << 20), Exactly(1 << 20), name="big") for _ in range(30)]
assert len(self.client.pipeline(requests, depth=30)) == 30
"""
    with peers.echoes() as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('big') >= 30", users=1)
    assert result["errors"] == {}


def test_the_depth_of_a_pipeline_is_kept(tmp_path: Path) -> None:
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

    task = "self.client.pipeline([Request(b'x', Exactly(1))] * 20, depth=4)"
    with peers.Peer(in_fours) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('request') >= 60", users=1)
    assert result["errors"] == {}
    assert max(seen) == 4


def test_what_is_under_way_fails_with_a_pipelines_connection(tmp_path: Path) -> None:
    task = "self.client.pipeline([Request(b'0123456789', Exactly(10))] * 20, depth=5)"
    with peers.closes_after(35) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('connect') >= 4", users=1)
    # Three are answered; the fourth in part, and with it those that were sent behind it.
    assert result["rows"]["request"][0] >= 3 * 4
    assert result["errors"] == {"request: short reply": result["rows"]["request"][1]}
    assert 3 * 1 <= result["rows"]["request"][1] <= 4 * 5


def test_an_unexpected_reply_in_a_pipeline(tmp_path: Path) -> None:
    task = r"""
ping, what = (Request(text, Until(b"\r\n"), name="line", expect=b"+PONG\r\n") for text in (b"PING\r\n", b"WHAT\r\n"))
try:
    self.client.pipeline([ping, what, ping], depth=2)
except Failed as failed:
    assert failed.kind == "unexpected reply"
else:
    assert False
"""
    with peers.Peer(lines) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('line') >= 30", users=1, extra=LOGIN)
        assert peer.accepted == 1
    assert result["exceptions"] == []
    assert result["errors"] == {"line: unexpected reply": result["rows"]["line"][1]}
    assert abs(result["rows"]["line"][0] - 3 * result["rows"]["line"][1]) <= 3


def test_stop_in_the_midst_of_a_pipeline(tmp_path: Path) -> None:
    task = "self.client.pipeline([Request(b'x', Exactly(1))] * 20, depth=5, timeout=60)"
    with peers.never_replies() as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('connect') == 2")
    assert result["account"]["failed"] == 0
    assert result["rows"] == {"connect": [2, 0]}


def test_a_mistake_in_a_pipelines_requests(tmp_path: Path) -> None:
    task = r"""
def requests():
    yield Request(b"x", Exactly(1))
    raise KeyError("a mistake")
self.client.pipeline(requests(), depth=3)
"""
    extra = "    wait_time = locust.constant(0.05)\n"
    with peers.echoes() as peer:
        lines_ = "import logging\nlogging.getLogger('locust.user.task').disabled = True\n"
        result = run_task(lines_ + task, peer.target, tmp_path, until="len(run.exceptions) >= 3", users=1, extra=extra)
    assert result["exceptions"][0] == "KeyError('a mistake')"
    assert result["errors"] == {}
