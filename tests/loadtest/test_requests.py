"""Users with their own protocols: requests, pushes, transactions and logins."""

from __future__ import annotations

import socket
import threading

import pytest

from geventecho.errors import ConfigError
from tests.support import peers
from tests.support.line_protocol import lines
from tests.support.locust_script import run_users
from tests.support.timing import wait_until


def test_a_request_returns_the_reply_and_checks_it() -> None:
    with peers.Peer(lines) as peer:
        result = run_users("requests.reply_is_checked", peer.target)
        assert peer.accepted == 2, "an unexpected reply does not cost the connection"
    assert result["exceptions"] == []
    assert result["errors"] == {"wrong: unexpected reply": result["rows"]["wrong"][1]}
    for name in ("connect", "login", "bytes", "pattern", "predicate", "exactly"):
        assert result["rows"][name][1] == 0


def test_the_login_follows_every_connect() -> None:
    """The server closes after each LOGIN and one PING: 15 bytes."""

    def serve_two(connection: socket.socket) -> None:
        left, right = socket.socketpair()
        with left, right:
            serving = threading.Thread(target=lines, args=(right,))
            serving.start()
            for size, answer in ((7, 8), (6, 7)):
                request = connection.recv(size, socket.MSG_WAITALL)
                if len(request) < size:  # the end of the run
                    break
                left.sendall(request)
                connection.sendall(left.recv(answer, socket.MSG_WAITALL))
            left.shutdown(socket.SHUT_RDWR)
            serving.join()

    with peers.Peer(serve_two) as peer:
        result = run_users("requests.login_follows_every_connect", peer.target)
    rows = result["rows"]
    assert sum(result["errors"].values()) == rows["ping"][1] > 0
    # On a busy machine the next request may overtake the server's close.
    assert result["errors"].keys() <= {"ping: closed by peer", "ping: reset", "ping: short reply"}
    assert "ping: closed by peer" in result["errors"]
    assert rows["connect"][0] - rows["login"][0] in (0, 1, 2), "each connect has a login, but for aborted ones"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("requests.login_is_refused", "login: unexpected reply"),
        ("requests.login_raises", "on_connect: ValueError: no such user"),
    ],
)
def test_a_failed_login_is_a_row_and_is_tried_again(script: str, error: str) -> None:
    with peers.Peer(lines) as peer:
        result = run_users(script, peer.target)
        wait_until(lambda: peer.open == 0, goal="the close of each connection without a login")
    assert result["exceptions"] == []
    name = error.split(":", maxsplit=1)[0]
    assert result["rows"].keys() == {"connect", name}, "no request is sent without a login"
    assert result["errors"] == {error: result["rows"][name][0]}
    assert result["rows"]["connect"][0] - result["rows"][name][0] in range(3)
    assert result["rows"]["connect"][1] == 0


def test_the_task_decides_with_catch_response() -> None:
    with peers.Peer(lines) as peer:
        result = run_users("requests.catch_response", peer.target)
        assert peer.accepted == 1
    rows = result["rows"]
    assert {name: failed > 0 for name, (_, failed) in rows.items()} == {
        "connect": False, "login": False, "plain": False, "judged": True, "forgiven": False, "unforgiven": True,
        "broken": True, "left": False,
    }  # fmt: skip
    assert set(result["errors"]) == {
        "judged: too slow", "unforgiven: unexpected reply", "broken: KeyError: 'a mistake'"
    }  # fmt: skip


def test_a_lost_connection_is_an_error_within_catch_response() -> None:
    with peers.resets_after(0) as peer:
        result = run_users("requests.lost_in_catch_response", peer.target)
    assert result["errors"] == {"request: reset": result["rows"]["request"][1]}
    assert result["exceptions"] == []


def test_users_receive_messages_that_a_server_pushes() -> None:
    def pushes(connection: socket.socket) -> None:
        connection.sendall(b"hello\n")
        while number := connection.recv(1):
            connection.sendall(b"".join(b"event %d\n" % count for count in range(int(number))))

    with peers.Peer(pushes) as peer:
        result = run_users("requests.pushes", peer.target)
    assert result["errors"] == {}
    assert result["exceptions"] == []
    assert result["rows"]["greeting"] == [2, 0]
    assert 0 <= 3 * result["rows"]["subscribe"][0] - result["rows"]["event"][0] <= 6


def test_the_close_of_a_server_ends_a_reply() -> None:
    with peers.replies_with(b"all there is", then_close=True) as peer:
        result = run_users("requests.closed_after_the_reply", peer.target)
    assert result["errors"] == {}
    assert result["exceptions"] == []
    assert result["rows"]["connect"][0] - result["rows"]["request"][0] in range(3), "a connection for each request"


def test_a_transaction_is_a_row_of_its_own() -> None:
    with peers.Peer(lines) as peer:
        result = run_users("requests.transactions", peer.target)
    rows = result["rows"]
    assert result["errors"] == {
        "what: unexpected reply": rows["what"][1], "bad: unexpected reply": rows["bad"][1]
    }  # fmt: skip
    assert rows["good"][1] == rows["ping"][1] == 0
    assert abs(rows["ping"][0] - 3 * rows["good"][0]) <= 3
    assert rows["what"] == rows["bad"] == [rows["bad"][0], rows["bad"][0]]


def test_errors_of_arguments_quote_the_given_value_or_type() -> None:
    with peers.Peer(lines) as peer:
        result = run_users("requests.wrong_arguments", peer.target)
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
    assert result["raised"][:9] == [repr(error) for error in expected]
