"""The load test without code: any_tcp.py, by its options and by the fields of the web UI."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, peers
from tests.support.line_protocol import lines
from tests.support.locust_process import LocustRun
from tests.support.locust_script import run_script
from tests.support.real_servers import real_server
from tests.support.timing import SCALE, wait_until

ANY_TCP = ROOT / "loadtests" / "any_tcp.py"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    path = tmp_path / "redis.sock"
    with subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""], stdout=subprocess.DEVNULL
    ) as server:
        wait_until(path.exists, goal="redis")
        yield f"unix:{path}"
        server.send_signal(signal.SIGTERM)


def headless(directory: Path, target: str, *options: str, code: int = 0) -> dict[str, Any]:
    """Run two users for two seconds; returns the result."""
    result = directory / "result.json"
    quick = ["--headless", "-u", "2", "-r", "2", "-t", "2", "--tcp-think-time", "0.02", "--tcp-json", str(result)]
    with LocustRun(directory, *quick, "--host", target, *options, locustfile=ANY_TCP, module="locust") as run:
        assert run.wait() == code, run.log
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def rows_of(result: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The numbers of good and of failed operations, by the name of the TCP row."""
    return {row["name"]: (row["ok"], row["failed"]) for row in result["rows"] if row["type"] == "TCP"}


def test_redis_is_tested_without_code(redis: str, tmp_path: Path) -> None:
    options = ["--tcp-send", r"SET k{user} {message}\r\n", "--tcp-reply-until", r"\r\n", "--tcp-expect", r"^\+OK"]
    rows = rows_of(headless(tmp_path, redis, *options, "--tcp-request-name", "SET"))
    assert rows["connect"] == (2, 0)
    assert rows["SET"][0] > 20
    assert rows["SET"][1] == 0


@pytest.mark.long
def test_memcached_is_tested_without_code(tmp_path: Path) -> None:
    options = ["--tcp-send", r"version\r\n", "--tcp-reply-until", r"\r\n", "--tcp-expect", "^VERSION "]
    with real_server("memcached") as port:
        rows = rows_of(headless(tmp_path, f"127.0.0.1:{port}", *options))
    assert rows.keys() == {"connect", "request"}
    assert rows["request"][0] > 20
    assert rows["request"][1] == 0


NOOP = ["--tcp-send", r"NOOP\r\n", "--tcp-reply-until", r"\r\n"]
GREETINGS = [["until", r"\r\n"], ["quiet", "0.1"]]


@pytest.mark.parametrize(
    "greeting", [GREETINGS[0], pytest.param(GREETINGS[1], marks=pytest.mark.long)], ids=lambda greeting: greeting[0]
)
def test_a_greeting_is_read_after_each_connect(greeting: list[str], tmp_path: Path) -> None:
    option = [f"--tcp-greeting-{greeting[0]}", greeting[1]]
    with peers.greets(0.05, most=5) as peer:
        result = headless(tmp_path, peer.target, *NOOP, *option, "--tcp-expect", "^250 ", code=1)
    rows = rows_of(result)
    (greeted, refused), (connected, _) = rows["greeting"], rows["connect"]
    assert connected > 2, "users connect again after a few requests"
    assert connected - 2 <= greeted <= connected, "the run may end while a user waits for its greeting"
    assert refused == 0
    assert rows["request"][0] >= 5 * (greeted - 2)
    assert {failure["kind"] for failure in result["failures"]} <= {"closed by peer", "reset", "short reply"}


def test_a_run_that_gets_only_greetings_exits_with_1(tmp_path: Path) -> None:
    """The server sends only the greeting. No operation fails in two seconds."""

    def greets_only(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.test hello\r\n")
        while connection.recv(100):
            pass

    with peers.Peer(greets_only) as peer:
        result = headless(tmp_path, peer.target, *NOOP, "--tcp-greeting-until", r"\r\n", code=1)
    assert rows_of(result)["greeting"] == (2, 0)
    assert result["failures"] == []


@pytest.mark.parametrize("seconds", [0.0, pytest.param(0.05, marks=pytest.mark.long)])
def test_an_unread_greeting_is_not_taken_for_a_reply(seconds: float, tmp_path: Path) -> None:
    """The greeting comes before the user can send, or later."""
    with peers.greets(seconds) as peer:
        result = headless(tmp_path, peer.target, *NOOP, code=1)
    rows = rows_of(result)
    assert "request" not in rows
    assert rows["on_connect"][0] == 0
    assert rows["connect"][0] - 2 <= rows["on_connect"][1] <= rows["connect"][0], "the run may end in on_connect"
    assert {failure["kind"] for failure in result["failures"]} == {"unread greeting, see --greeting-until"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--tcp-send: give the bytes to send"),
        (["--tcp-send", "x"], "say where the reply ends"),
        (["--tcp-send", r"\q", "--tcp-reply-none"], r"--tcp-send: '\q' is not an escape"),
        (["--tcp-send", "{message:99999999999}", "--tcp-reply-none"], "--tcp-send: {message:99999999999} is not a"),
        (["--tcp-send", "x", "--tcp-reply-until", r"\q"], "--tcp-reply-until: "),
        (["--tcp-send", "x", "--tcp-reply-length-prefix", ">99999999999I"], "--tcp-reply-length-prefix: "),
        (["--tcp-send", "x", "--tcp-reply-exactly", "99999999999999999999"], "--tcp-reply-exactly: "),
        (["--tcp-send", "x", "--tcp-reply-quiet", "nan"], "--tcp-reply-quiet: "),
        (["--tcp-send", "x", "--tcp-reply-none", "--tcp-expect", "(" * 6000], "--tcp-expect: "),
        (["--tcp-send", "x", "--tcp-reply-none", "--tcp-expect", "a{99999999999999}"], "--tcp-expect: "),
        (["--tcp-send", "x", "--tcp-reply-until", "x", "--tcp-reply-close"], "a reply ends in one way"),
        (
            ["--tcp-send", "x", "--tcp-reply-close", "--tcp-reply-max", "0"],
            "--tcp-reply-max: '0' is not a whole number of 1 to 1073741824",
        ),
        (["--tcp-send", "x", "--tcp-reply-exactly", "many"], "--tcp-reply-exactly: 'many' is not a whole number"),
        (["--tcp-send", "x", "--tcp-reply-none", "--tcp-expect", "("], "--tcp-expect: it is not a regular expression"),
        (["--tcp-send", "x", "--tcp-encoding", "hex", "--tcp-reply-none"], "--tcp-send: this is not hexadecimal"),
    ],
)
def test_wrong_options_are_refused_with_a_message(options: list[str], message: str) -> None:
    assert message in run_script("any_tcp.error_of", *options)


@pytest.mark.long
def test_a_wrong_option_ends_with_2(tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--headless", "-t", "1", "--tcp-send", "x", locustfile=ANY_TCP) as run:
        assert run.wait() == 2
        assert "geventecho.loadtest: error: say where the reply ends" in run.log
        assert "Traceback" not in run.log


def test_the_options_are_fields_of_the_web_ui(tmp_path: Path) -> None:
    form = {"user_count": "3", "spawn_rate": "3", "tcp_think_time": "0.02"}
    with peers.Peer(lines) as peer, LocustRun(
        tmp_path, "--processes", "2", "--host", peer.target, locustfile=ANY_TCP
    ) as run:  # fmt: skip
        run.wait_for_ui()
        wait_until(lambda: '"worker_count":2' in run.request("/worker-count")[1].replace(" ", ""), goal="two workers")
        for wrong, message in (
            ({}, "give the bytes to send"),
            ({"tcp_send": "x"}, "say where the reply ends"),
            ({"tcp_send": "x", "tcp_reply_until": r"\r\n", "tcp_reply_none": "true"}, "a reply ends in one way"),
            ({"tcp_send": "x", "tcp_reply_quiet": "-1"}, "--tcp-reply-quiet: "),
            ({"tcp_send": "{message:99999999999}", "tcp_reply_none": "true"}, "--tcp-send: "),
            ({"tcp_send": "x", "tcp_reply_none": "true", "tcp_expect": "a{99999999999999}"}, "--tcp-expect: "),
        ):
            reply = run.swarm(**form, **wrong)
            assert reply["success"] is False
            assert message in reply["message"]
        assert run.request("/")[1].count("Running users keep the value that they started with.") == 5 + 15
        good = {
            "tcp_send": r"LOGIN\r\n",
            "tcp_reply_until": r"\r\n",
            "tcp_expect": r"^\+LOGIN",
            "tcp_reply_none": "false",
        }
        assert run.swarm(**form, **good)["success"] is True

        def requests() -> int:
            rows = {row["name"]: row for row in run.stats()["stats"]}
            return rows["request"]["num_requests"] if "request" in rows else 0

        wait_until(lambda: requests() > 50, 20 * SCALE, "requests")
        assert run.stats()["errors"] == []
        run.stop()
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
