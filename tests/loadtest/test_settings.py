"""Our options of Locust: their names, and what applies to a user of a class with defaults of its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_process import LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until

CLASSES = """\
import json, os, sys
from pathlib import Path
import locust
from geventecho.loadtest import TcpUser
class Plain(TcpUser):
    host = "127.0.0.1:1"
    @locust.task
    def echo(self):
        self.client.echo(self.next_payload(), name=type(self).__name__)
class Own(Plain):
    payload_size = 64
    think_time = 0.02
    connect_timeout = 2
    request_timeout = None
"""
SETTINGS = """\
import dataclasses
from argparse import Namespace
from locust.argument_parser import get_parser
from locust.env import Environment
def settings(kind, *arguments):
    options = get_parser().parse_args(list(arguments))
    user = kind(Environment(user_classes=[kind], parsed_options=options))
    return list(dataclasses.astuple(user.settings))
"""


def test_an_option_wins_over_the_class_and_the_class_over_the_defaults(tmp_path: Path) -> None:
    text = """
os.environ["GEVENTECHO_LOADTEST_CONNECT_TIMEOUT"] = "9"
answer({
    "plain": settings(Plain), "own": settings(Own),
    "given": settings(Own, "--tcp-payload-size", "7", "--tcp-think-time", "0", "--tcp-request-timeout", "1.5"),
    "empty": settings(Own, "--tcp-payload-size", "", "--tcp-think-time="),
})
"""
    assert run_script(CLASSES + SETTINGS + text, directory=tmp_path) == {
        "plain": [1024, 1.0, 9.0, 5.0],
        "own": [64, 0.02, 9.0, None],
        "given": [7, 0.0, 9.0, 1.5],
        "empty": [64, 0.02, 9.0, None],
    }


def test_without_a_command_line_the_class_applies(tmp_path: Path) -> None:
    text = """
users = [Own(Environment(parsed_options=options)) for options in (None, Namespace())]
answer([list(dataclasses.astuple(user.settings)) for user in users])
"""
    assert run_script(CLASSES + SETTINGS + text, directory=tmp_path) == 2 * [[64, 0.02, 2.0, None]]


@pytest.mark.parametrize("name", ["--payload-size", "--think-time", "--connect-timeout", "--request-timeout"])
def test_an_old_name_is_an_error_with_a_hint(name: str, tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--headless", "-t", "1", name, "1", own_server=False) as run:
        assert run.wait() == 2
    assert f"unrecognized arguments: {name}\nDid you mean '--tcp-{name[2:]}'?" in run.log


def test_options_of_a_locustfile_with_our_old_names(tmp_path: Path) -> None:
    """A collision makes Locust drop, in silence, each option that the locustfile adds after it."""
    locustfile = tmp_path / "own_options.py"
    locustfile.write_text(
        CLASSES
        + """
@locust.events.init_command_line_parser.add_listener
def add_options(parser):
    parser.add_argument("--think-time", type=float, default=3.0)
    parser.add_argument("--later", default="")
@locust.events.init.add_listener
def on_init(environment, **_):
    given = environment.parsed_options
    print("options:", given.think_time, given.later, given.tcp_think_time, flush=True)
"""
    )
    arguments = ("--think-time", "0.5", "--later", "yes", "--tcp-think-time", "0.25")
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--headless", "-u", "1", "-t", "1", "--host", peer.target, *arguments, "Own",
        locustfile=locustfile, module="locust",
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
    assert "options: 0.5 yes 0.25" in run.log


def test_a_wrong_class_attribute_ends_with_2(tmp_path: Path) -> None:
    locustfile = tmp_path / "wrong.py"
    locustfile.write_text(CLASSES + "Own.think_time = -1\n")
    with LocustRun(tmp_path, "--headless", "-t", "1", "--host", "127.0.0.1:1", locustfile=locustfile) as run:
        assert run.wait() == 2
    assert "locust: error: Own.think_time: '-1' is not a number of seconds of 0 or more" in run.log
    assert "Traceback" not in run.log


def test_the_form_on_two_workers(tmp_path: Path) -> None:
    """Two classes: an empty field leaves to each its own payload size, a filled one sets that of both."""
    locustfile = tmp_path / "two.py"
    locustfile.write_text(CLASSES)
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--processes", "2", "--host", peer.target, "--tcp-think-time", "0.05", locustfile=locustfile
    ) as run:  # fmt: skip
        run.wait_for_ui()
        wait_until(lambda: json.loads(run.request("/worker-count")[1])["worker_count"] == 2, what="two workers")

        def sizes() -> dict[str, Any]:
            return {row["name"]: row["avg_content_length"] for row in run.stats()["stats"] if row["name"] in "PlainOwn"}

        for size, expected in (("", (1024, 64)), ("333", (333, 333)), (" ", (1024, 64))):
            form = {"user_count": "4", "spawn_rate": "4", "tcp_payload_size": size}
            assert run.swarm(**form)["success"] is True
            wanted = dict(zip(("Plain", "Own"), expected, strict=True))
            wait_until(lambda wanted=wanted: sizes() == wanted, 20 * SCALE, f"{wanted}")
            run.stop()
        page = run.request("/")[1]
        assert "Bytes that each echo sends. Empty: 1024 (Plain), 64 (Own)" in page
        assert "Seconds for a request and its whole reply. Empty: 5.0 (Plain), no limit (Own)" in page
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
