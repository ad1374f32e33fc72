"""The load test without code: any_tcp.py, with its options and as fields of the web UI."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT, peers
from tests.support.line_protocol import lines
from tests.support.locust_process import LocustRun
from tests.support.locust_script import run_script
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
        "--tcp-think-time",
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
        (
            ["--send", "x", "--reply-close", "--reply-max", "0"],
            "--reply-max: '0' is not a whole number of 1 to 1073741824",
        ),
        (["--send", "x", "--reply-exactly", "many"], "--reply-exactly: 'many' is not a number"),
        (["--send", "x", "--reply-none", "--expect", "("], "--expect: it is not a regular expression"),
        (["--send", "x", "--encoding", "hex", "--reply-none"], "--send: this is not hexadecimal"),
    ],
)
def test_wrong_options(options: list[str], message: str) -> None:
    assert message in run_script("any_tcp.error_of", *options)


def test_a_wrong_option_ends_with_2(tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--headless", "-t", "1", "--send", "x", locustfile=ANY_TCP) as run:
        assert run.wait() == 2
        assert "locust: error: say where the reply ends" in run.log
        assert "Traceback" not in run.log


def test_the_same_as_fields_of_the_web_ui(tmp_path: Path) -> None:
    form = {"user_count": "3", "spawn_rate": "3", "tcp_think_time": "0.02"}
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
        assert run.request("/")[1].count("Users that run keep the value they started with.") == 4 + 11
        good = {"send": r"LOGIN\r\n", "reply_until": r"\r\n", "expect": r"^\+LOGIN", "reply_none": "false"}
        assert run.swarm(**form, **good)["success"] is True

        def requests() -> int:
            rows = {row["name"]: row for row in run.stats()["stats"]}
            return rows["request"]["num_requests"] if "request" in rows else 0

        wait_until(lambda: requests() > 50, 20 * SCALE, "requests")
        assert run.stats()["errors"] == []
        run.stop()
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
