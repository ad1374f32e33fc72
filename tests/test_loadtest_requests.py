"""Protocols of one's own: requests, pushes, pipelines, transactions, logins, and the load test without code."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peers
import pytest
from locust_process import ROOT, LocustRun, run_script
from test_loadtest_session import HARNESS, assert_clean
from timing import SCALE, UNIT, wait_until

ANY_TCP = ROOT / "loadtests" / "any_tcp.py"

USER = """\
import re
from geventecho.framing import *
from geventecho.loadtest import Failed, Request
class User(BusyUser):
    backoff_base = 0.01
    def act(self):
{task}
    tasks = [act]
run = Run(User, target, {users}, request_timeout={timeout})
run.wait(lambda: {until})
answer(run.finish())
"""


def run(task: str, target: str, directory: Path, *, until: str, users: int = 2, extra: str = "") -> dict[str, Any]:
    lines = "\n".join(" " * 8 + line for line in task.strip("\n").splitlines())
    text = HARNESS + USER.format(task=lines, users=users, until=until, timeout=10 * UNIT)
    text = text.replace("class User(BusyUser):\n", "class User(BusyUser):\n" + extra)
    result: dict[str, Any] = run_script(text, target, directory=directory)
    assert_clean(result)
    return result


def lines(connection: socket.socket) -> None:
    """A protocol of lines: PING is answered with +PONG, anything else with -ERR; LOGIN lets it speak at all."""
    logged_in = False
    with connection.makefile("rb") as reader:
        for line in reader:
            logged_in = logged_in or line == b"LOGIN\r\n"
            good = logged_in and line in (b"PING\r\n", b"LOGIN\r\n")
            connection.sendall(b"+" + line.strip().replace(b"PING", b"PONG") + b"\r\n" if good else b"-ERR\r\n")


LOGIN = """\
    def on_connect(self):
        self.client.request(b"LOGIN\\r\\n", Until(b"\\r\\n"), name="login", expect=b"+LOGIN\\r\\n")
"""


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
        result = run(task, peer.target, tmp_path, until="run.count('wrong') >= 10", extra=LOGIN)
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
        result = run(task, peer.target, tmp_path, until="run.count('connect') >= 8", extra=LOGIN)
    rows = result["rows"]
    assert result["errors"] == {"ping: closed by peer": rows["ping"][1]}
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
        result = run(task, peer.target, tmp_path, until="run.count('connect') >= 6", extra=extra)
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
        result = run(task, peer.target, tmp_path, until="run.count('left') >= 5", users=1, extra=LOGIN)
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
        result = run(task, peer.target, tmp_path, until="run.count('request') >= 6")
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
        result = run(task, peer.target, tmp_path, until="run.count('event') >= 30", extra=extra)
    assert result["errors"] == {}
    assert result["exceptions"] == []
    assert result["rows"]["greeting"] == [2, 0]
    assert 0 <= 3 * result["rows"]["subscribe"][0] - result["rows"]["event"][0] <= 6


def test_a_reply_that_the_server_closes_after(tmp_path: Path) -> None:
    task = 'assert self.client.request(b"GET", UntilClosed()) == b"all there is"'
    with peers.replies_with(b"all there is", then_close=True) as peer:
        result = run(task, peer.target, tmp_path, until="run.count('request') >= 10")
    assert result["errors"] == {}
    assert result["exceptions"] == []
    assert result["rows"]["connect"][0] - result["rows"]["request"][0] in range(3), "a connection for each request"


def test_a_pipeline(tmp_path: Path) -> None:
    task = r"""
requests = [Request(b"PING\r\n", Until(b"\r\n"), name="ping", expect=b"+PONG\r\n") for _ in range(50)]
replies = self.client.pipeline(iter(requests), depth=8)
assert replies == [b"+PONG\r\n"] * 50
"""
    with peers.Peer(lines) as peer:
        result = run(task, peer.target, tmp_path, until="run.count('ping') >= 500", extra=LOGIN)
    assert result["errors"] == {}
    assert result["exceptions"] == []


def test_a_pipeline_does_not_wait_for_replies_that_wait_for_it(tmp_path: Path) -> None:
    """Megabytes both ways: a client that sent everything first would never read."""
    task = r"""
requests = [Request(bytes(1 << 20), Exactly(1 << 20), name="big") for _ in range(30)]
assert len(self.client.pipeline(requests, depth=30)) == 30
"""
    with peers.echoes() as peer:
        result = run(task, peer.target, tmp_path, until="run.count('big') >= 30", users=1)
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
        result = run(task, peer.target, tmp_path, until="run.count('request') >= 60", users=1)
    assert result["errors"] == {}
    assert max(seen) == 4


def test_what_is_under_way_fails_with_a_pipelines_connection(tmp_path: Path) -> None:
    task = "self.client.pipeline([Request(b'0123456789', Exactly(10))] * 20, depth=5)"
    with peers.closes_after(35) as peer:
        result = run(task, peer.target, tmp_path, until="run.count('connect') >= 4", users=1)
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
        result = run(task, peer.target, tmp_path, until="run.count('line') >= 30", users=1, extra=LOGIN)
        assert peer.accepted == 1
    assert result["exceptions"] == []
    assert result["errors"] == {"line: unexpected reply": result["rows"]["line"][1]}
    assert abs(result["rows"]["line"][0] - 3 * result["rows"]["line"][1]) <= 3


def test_stop_in_the_midst_of_a_pipeline(tmp_path: Path) -> None:
    task = "self.client.pipeline([Request(b'x', Exactly(1))] * 20, depth=5, timeout=60)"
    with peers.never_replies() as peer:
        result = run(task, peer.target, tmp_path, until="run.count('connect') == 2")
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
        result = run(lines_ + task, peer.target, tmp_path, until="len(run.exceptions) >= 3", users=1, extra=extra)
    assert result["exceptions"][0] == "KeyError('a mistake')"
    assert result["errors"] == {}


def test_a_transaction_is_a_row_of_its_own(tmp_path: Path) -> None:
    task = r"""
with self.client.transaction("good", context={"x": 1}):
    for _ in range(3):
        self.client.request(b"PING\r\n", Until(b"\r\n"), name="ping")
with self.client.transaction("bad"):
    self.client.request(b"WHAT\r\n", Until(b"\r\n"), name="what", expect=b"+")
"""
    with peers.Peer(lines) as peer:
        result = run(task, peer.target, tmp_path, until="run.count('bad') >= 5", users=1, extra=LOGIN)
    rows = result["rows"]
    assert result["errors"] == {
        "what: unexpected reply": rows["what"][1], "bad: unexpected reply": rows["bad"][1]
    }  # fmt: skip
    assert rows["good"][1] == rows["ping"][1] == 0
    assert abs(rows["ping"][0] - 3 * rows["good"][0]) <= 3
    assert rows["what"] == rows["bad"] == [rows["bad"][0], rows["bad"][0]]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    path = tmp_path / "redis.sock"
    with subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""], stdout=subprocess.DEVNULL
    ) as server:
        wait_until(path.exists, what="redis")
        yield f"unix:{path}"
        server.send_signal(signal.SIGTERM)


def test_redis_without_code(redis: str, tmp_path: Path) -> None:
    arguments = [
        "--headless",
        "-u",
        "5",
        "-r",
        "5",
        "-t",
        "2",
        "--think-time",
        "0.02",
        "--only-summary",
        "--host",
        redis,
    ]
    options = ["--send", r"SET k{user} {message}\r\n", "--reply-until", r"\r\n", "--expect", r"^\+OK"]
    with LocustRun(tmp_path, *arguments, *options, "--request-name", "SET", locustfile=ANY_TCP, module="locust") as run:
        assert run.wait() == 0, run.log
    assert " SET " in run.log
    assert "0(0.00%)" in run.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--send: say what to send"),
        (["--send", "x"], "say where the reply ends"),
        (["--send", r"\q", "--reply-none"], r"--send: '\q' is not an escape"),
        (["--send", "{message:99999999999}", "--reply-none"], "--send: {message:99999999999} is not a format"),
        (["--send", "x", "--reply-until", r"\q"], "--reply-until: "),
        (["--send", "x", "--reply-length-prefix", ">99999999999I"], "--reply-length-prefix: "),
        (["--send", "x", "--reply-exactly", "99999999999999999999"], "--reply-exactly: "),
        (["--send", "x", "--reply-quiet", "nan"], "--reply-quiet: "),
        (["--send", "x", "--reply-none", "--expect", "(" * 6000], "--expect: "),
        (["--send", "x", "--reply-none", "--expect", "a{99999999999999}"], "--expect: "),
        (["--send", "x", "--reply-until", "x", "--reply-close"], "a reply ends in one way"),
        (["--send", "x", "--reply-exactly", "many"], "--reply-exactly: 'many' is not a number"),
        (["--send", "x", "--reply-none", "--expect", "("], "--expect: it is not a regular expression"),
        (["--send", "x", "--encoding", "hex", "--reply-none"], "--send: this is not hexadecimal"),
    ],
)
def test_wrong_options(options: list[str], message: str, tmp_path: Path) -> None:
    text = """
import geventecho.loadtest
from locust.argument_parser import get_parser
from geventecho.errors import ConfigError
from loadtests.any_tcp import Exchange
try:
    Exchange.of(vars(get_parser().parse_args(sys.argv[1:])))
except ConfigError as error:
    answer(str(error))
"""
    assert message in run_script(text, *options, directory=tmp_path)


def test_a_wrong_option_ends_with_2(tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--headless", "-t", "1", "--send", "x", locustfile=ANY_TCP) as run:
        assert run.wait() == 2
        assert "locust: error: say where the reply ends" in run.log
        assert "Traceback" not in run.log


def test_the_same_as_fields_of_the_web_ui(tmp_path: Path) -> None:
    form = {"user_count": "3", "spawn_rate": "3", "think_time": "0.02"}
    with peers.Peer(lines) as peer, LocustRun(
        tmp_path, "--processes", "2", "--host", peer.target, locustfile=ANY_TCP
    ) as run:  # fmt: skip
        run.wait_for_ui()
        wait_until(lambda: '"worker_count":2' in run.request("/worker-count")[1].replace(" ", ""), what="two workers")
        for wrong, message in (
            ({}, "say what to send"),
            ({"send": "x"}, "say where the reply ends"),
            ({"send": "x", "reply_until": r"\r\n", "reply_none": "true"}, "a reply ends in one way"),
            ({"send": "x", "reply_quiet": "-1"}, "--reply-quiet: "),
            ({"send": "{message:99999999999}", "reply_none": "true"}, "--send: "),
            ({"send": "x", "reply_none": "true", "expect": "a{99999999999999}"}, "--expect: "),
        ):
            reply = run.swarm(**form, **wrong)
            assert reply["success"] is False
            assert message in reply["message"]
        good = {"send": r"LOGIN\r\n", "reply_until": r"\r\n", "expect": r"^\+LOGIN", "reply_none": "false"}
        assert run.swarm(**form, **good)["success"] is True

        def requests() -> int:
            rows = {row["name"]: row for row in run.stats()["stats"]}
            return rows["request"]["num_requests"] if "request" in rows else 0

        wait_until(lambda: requests() > 50, 20 * SCALE, "requests")
        assert run.stats()["errors"] == []
        run.request("/stop", {})
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
