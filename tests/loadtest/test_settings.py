"""The options that we add to Locust: their names, and the settings of users whose class has defaults of its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until


def test_an_option_overrides_the_class_and_the_class_overrides_the_defaults() -> None:
    assert run_script("settings.with_options") == {
        "plain": [1024, 1.0, 9.0, 5.0, None],
        "own": [64, 0.02, 9.0, None, None],
        "given": [7, 0.0, 9.0, 1.5, "v2"],
        "empty": [64, 0.02, 9.0, None, None],
    }


def test_the_help_says_the_defaults() -> None:
    assert run_script("settings.help_says_the_defaults")


def test_without_a_command_line_the_class_applies() -> None:
    assert run_script("settings.without_a_command_line") == 2 * [[64, 0.02, 2.0, None, None]]


@pytest.mark.parametrize("name", ["--payload-size", "--think-time", "--connect-timeout", "--request-timeout"])
def test_an_old_name_is_an_error_with_a_hint(name: str) -> None:
    code, printed = run_script("web.exit_of", f"{name}=1")
    assert code == 2
    assert f"unrecognized arguments: {name}=1\nDid you mean '--tcp-{name[2:]}'?" in printed


def test_a_locustfile_can_add_options_with_our_old_names(tmp_path: Path) -> None:
    """If two options have the same name, Locust silently drops each option that the locustfile adds after them."""
    arguments = ("--think-time", "0.5", "--later", "yes", "--tcp-think-time", "0.25")
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--headless", "-u", "1", "-t", "1", "--host", peer.target, *arguments, "Own",
        locustfile=LOCUSTFILES / "own_options.py", module="locust",
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
    assert "options: 0.5 yes 0.25" in run.log


@pytest.mark.parametrize(("name", "value"), [("backoff_base", "1"), ("backoff_cap", None), ("backoff_cap", -1.0)])
def test_a_wrong_backoff_is_refused(name: str, value: object) -> None:
    message = run_script("settings.error_of", name, value)
    assert message == f"Wrong.{name} is {value!r}; it must be a number of seconds of 0 or more"


def test_a_wrong_class_attribute_ends_with_2(tmp_path: Path) -> None:
    with LocustRun(
        tmp_path, "--headless", "-t", "1", "--host", "127.0.0.1:1", locustfile=LOCUSTFILES / "wrong_attribute.py"
    ) as run:
        assert run.wait() == 2
    assert "geventecho.loadtest: error: Wrong.think_time: '-1' is not a number of seconds of 0 or more" in run.log
    assert "Traceback" not in run.log


@pytest.mark.long
def test_a_wrong_host_of_a_class_ends_with_2_and_is_not_blamed_on_an_option(tmp_path: Path) -> None:
    with LocustRun(
        tmp_path, "--headless", "-t", "1", own_server=False, locustfile=LOCUSTFILES / "wrong_host.py"
    ) as run:
        assert run.wait() == 2
    assert "geventecho.loadtest: error: Wrong.host: 'localhost' is not a target: the port is missing" in run.log
    assert "--host:" not in run.log
    assert "Traceback" not in run.log


@pytest.mark.long
def test_the_form_sets_the_payload_size_on_two_workers(tmp_path: Path) -> None:
    """With an empty field each of the two classes has its own payload size; a value sets the size of both."""
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--processes", "2", "--host", peer.target, "--tcp-think-time", "0.05",
        locustfile=LOCUSTFILES / "two_classes.py",
    ) as run:  # fmt: skip
        run.wait_for_ui()
        wait_until(lambda: json.loads(run.request("/worker-count")[1])["worker_count"] == 2, goal="two workers")

        def sizes() -> dict[str, Any]:
            rows = {row["name"]: row["avg_content_length"] for row in run.stats()["stats"]}
            return {name: rows.get(name) for name in ("Plain", "Own")}

        for size, expected in (("", (1024, 64)), ("333", (333, 333)), (" ", (1024, 64))):
            form = {"user_count": "4", "spawn_rate": "4", "tcp_payload_size": size}
            assert run.swarm(**form)["success"] is True
            wanted = dict(zip(("Plain", "Own"), expected, strict=True))
            wait_until(lambda wanted=wanted: sizes() == wanted, 20 * SCALE, f"{wanted}")  # type: ignore[misc]
            run.stop()
        page = run.request("/")[1]
        assert "Bytes that each echo sends. If empty: 1024 (Plain), 64 (Own)" in page
        assert "Seconds for a request and its whole reply. If empty: 5.0 (Plain), no limit (Own)" in page
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
