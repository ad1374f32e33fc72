"""Protocols of one's own: requests, pushes, transactions, logins."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from geventecho.errors import ConfigError
from tests.support import peers
from tests.support.locust_task import LOGIN, lines, run_task
from tests.support.timing import wait_until


def test_a_request_returns_the_reply_and_checks_it(tmp_path: Path) -> None:
    task = r"""
assert self.client.request(b"PING\r\n", Until(b"\r\n"), name="bytes", expect=b"+PONG\r\n") == b"+PONG\r\n"
self.client.request(b"PING\r\n", reply=Until(b"\r\n"), name="pattern", expect=re.compile(rb"^\+PO"))
self.client.request(b"PING\r\n", reply=Until(b"\r\n"), name="predicate", expect=lambda reply: len(reply) == 7)
self.client.request(b"PING\r\n", reply=Exactly(7), name="exactly")
self.client.request(b"WHAT\r\n", reply=Until(b"\r\n"), name="wrong", expect=b"+PONG\r\n")
assert False, "a failure ends the task"
"""
    with peers.Peer(lines) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('wrong') >= 10", extra=LOGIN)
        assert peer.accepted == 2, "an unexpected reply does not cost the connection"
    assert result["exceptions"] == []
    assert result["errors"] == {"wrong: unexpected reply": result["rows"]["wrong"][1]}
    for name in ("connect", "login", "bytes", "pattern", "predicate", "exactly"):
        assert result["rows"][name][1] == 0


def test_the_login_follows_every_connect(tmp_path: Path) -> None:
    """The server closes after each LOGIN and one PING: 15 bytes."""

    def twice(connection: socket.socket) -> None:
        left, right = socket.socketpair()
        with left, right:
            serving = threading.Thread(target=lines, args=(right,))
            serving.start()
            for size, answer in ((7, 8), (6, 7)):
                left.sendall(connection.recv(size, socket.MSG_WAITALL))
                connection.sendall(left.recv(answer, socket.MSG_WAITALL))
            left.shutdown(socket.SHUT_RDWR)
            serving.join()

    task = r"""
self.client.request(b"PING\r\n", Until(b"\r\n"), name="ping", expect=b"+PONG\r\n")
gevent.sleep(0.02)
"""
    with peers.Peer(twice) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('connect') >= 8", extra=LOGIN)
    rows = result["rows"]
    assert sum(result["errors"].values()) == rows["ping"][1] > 0
    # On a busy machine the next request may overtake the server's close.
    assert result["errors"].keys() <= {"ping: closed by peer", "ping: reset", "ping: short reply"}
    assert "ping: closed by peer" in result["errors"]
    assert rows["connect"][0] - rows["login"][0] in (0, 1, 2), "one for each, but for those the end cut off"


@pytest.mark.parametrize(
    ("login", "error"),
    [
        (r'self.client.request(b"NO\r\n", Until(b"\r\n"), name="login", expect=b"+")', "login: unexpected reply"),
        ('raise ValueError("no such user")', "on_connect: ValueError: no such user"),
    ],
)
def test_a_failed_login_is_a_row_and_is_tried_again(login: str, error: str, tmp_path: Path) -> None:
    extra = f"    def on_connect(self):\n        {login}\n"
    task = r'self.client.request(b"PING\r\n", Until(b"\r\n"))'
    with peers.Peer(lines) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('connect') >= 6", extra=extra)
        wait_until(lambda: peer.open == 0, what="no connection is kept without its login")
    assert result["exceptions"] == []
    name = error.split(":", maxsplit=1)[0]
    assert result["rows"].keys() == {"connect", name}, "nothing is requested without a login"
    assert result["errors"] == {error: result["rows"][name][0]}
    assert result["rows"]["connect"][0] - result["rows"][name][0] in range(3)
    assert result["rows"]["connect"][1] == 0


def test_the_task_decides_with_catch_response(tmp_path: Path) -> None:
    task = r"""
request = lambda name, **more: self.client.request(b"PING\r\n", Until(b"\r\n"), name=name, catch_response=True, **more)
with request("plain") as caught:
    assert caught.data == b"+PONG\r\n" and caught.error is None
with request("judged") as caught:
    caught.failure("too slow")
with request("forgiven", expect=b"x") as caught:
    assert caught.error.kind == "unexpected reply"
    caught.success()
with request("unforgiven", expect=b"x") as caught:
    pass
try:
    with request("broken") as caught:
        raise KeyError("a mistake")
except KeyError:
    pass
from locust.exception import RescheduleTask
try:
    with request("left") as caught:
        raise RescheduleTask
except RescheduleTask:
    pass
request("never entered")
"""
    with peers.Peer(lines) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('left') >= 5", users=1, extra=LOGIN)
        assert peer.accepted == 1
    rows = result["rows"]
    assert {name: failed > 0 for name, (_, failed) in rows.items()} == {
        "connect": False, "login": False, "plain": False, "judged": True, "forgiven": False, "unforgiven": True,
        "broken": True, "left": False,
    }  # fmt: skip
    assert set(result["errors"]) == {
        "judged: too slow", "unforgiven: unexpected reply", "broken: KeyError: 'a mistake'"
    }  # fmt: skip


def test_a_lost_connection_within_catch_response(tmp_path: Path) -> None:
    task = r"""
with self.client.request(b"PING\r\n", Until(b"\r\n"), catch_response=True) as caught:
    assert caught.data == b""
    assert caught.error.kind == "reset"
"""
    with peers.resets_after(0) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('request') >= 6")
    assert result["errors"] == {"request: reset": result["rows"]["request"][1]}
    assert result["exceptions"] == []


def test_servers_that_push(tmp_path: Path) -> None:
    def pushes(connection: socket.socket) -> None:
        connection.sendall(b"hello\n")
        while number := connection.recv(1):
            connection.sendall(b"".join(b"event %d\n" % count for count in range(int(number))))

    extra = (
        "    def on_connect(self):\n        self.client.receive(Until(b'\\n'), name='greeting', expect=b'hello\\n')\n"
    )
    task = r"""
self.client.send(b"3", name="subscribe")
for number in range(3):
    assert self.client.receive(Until(b"\n"), name="event") == b"event %d\n" % number
"""
    with peers.Peer(pushes) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('event') >= 30", extra=extra)
    assert result["errors"] == {}
    assert result["exceptions"] == []
    assert result["rows"]["greeting"] == [2, 0]
    assert 0 <= 3 * result["rows"]["subscribe"][0] - result["rows"]["event"][0] <= 6


def test_a_reply_that_the_server_closes_after(tmp_path: Path) -> None:
    task = 'assert self.client.request(b"GET", UntilClosed()) == b"all there is"'
    with peers.replies_with(b"all there is", then_close=True) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('request') >= 10")
    assert result["errors"] == {}
    assert result["exceptions"] == []
    assert result["rows"]["connect"][0] - result["rows"]["request"][0] in range(3), "a connection for each request"


def test_a_transaction_is_a_row_of_its_own(tmp_path: Path) -> None:
    task = r"""
with self.client.transaction("good", context={"x": 1}):
    for _ in range(3):
        self.client.request(b"PING\r\n", Until(b"\r\n"), name="ping")
with self.client.transaction("bad"):
    self.client.request(b"WHAT\r\n", Until(b"\r\n"), name="what", expect=b"+")
"""
    with peers.Peer(lines) as peer:
        result = run_task(task, peer.target, tmp_path, until="run.count('bad') >= 5", users=1, extra=LOGIN)
    rows = result["rows"]
    assert result["errors"] == {
        "what: unexpected reply": rows["what"][1], "bad: unexpected reply": rows["bad"][1]
    }  # fmt: skip
    assert rows["good"][1] == rows["ping"][1] == 0
    assert abs(rows["ping"][0] - 3 * rows["good"][0]) <= 3
    assert rows["what"] == rows["bad"] == [rows["bad"][0], rows["bad"][0]]


def test_wrong_arguments_are_named_as_they_were_given(tmp_path: Path) -> None:
    task = r"""
line = Until(b"\r\n")
calls = [
    lambda: self.client.request("PING\r\n", line),
    lambda: self.client.echo("PING"),
    lambda: self.client.request(b"LOGIN\r\n", line, expect="+LOGIN\r\n"),
    lambda: self.client.request(b"LOGIN\r\n", line, expect=re.compile("LOGIN")),
    lambda: self.client.request(b"LOGIN\r\n", line, expect=5),
    lambda: self.client.request(b"LOGIN\r\n", line, timeout=-1),
    lambda: self.client.pipeline([Request("PING", line)], depth=1),
    lambda: self.client.pipeline([Request(b"LOGIN\r\n", line)], depth="2"),
    lambda: self.client.pipeline([Request(b"LOGIN\r\n", line)], depth=1, timeout="2"),
]
self.turn = (getattr(self, "turn", -1) + 1) % len(calls)
try:
    calls[self.turn]()
except (TypeError, ValueError) as error:
    run.exceptions.append(repr(error))
"""
    with peers.Peer(lines) as peer:
        result = run_task(task, peer.target, tmp_path, until="len(run.exceptions) >= 9", users=1)
    payload = "the payload is of type str; it must be bytes-like; write b'...' or encode it"
    expect = "expect is of type str; it must be bytes, a pattern of bytes or a function"
    seconds = "it must be a number of seconds of 0 or more, or None"
    expected: list[Exception] = [
        TypeError(payload),
        TypeError(payload),
        TypeError(f"{expect}; write b'...'"),
        TypeError("expect is a pattern of str; write re.compile(b'...'), not re.compile('LOGIN')"),
        TypeError(expect.replace("str", "int")),
        ConfigError(f"timeout is -1; {seconds}"),
        TypeError(payload),
        ConfigError("depth is '2'; it must be a whole number of 1 or more"),
        ConfigError(f"timeout is '2'; {seconds}"),
    ]
    assert result["exceptions"][:9] == [repr(error) for error in expected]
