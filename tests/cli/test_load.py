"""`geventecho load`: the arguments that it gives to Locust, and load tests that it runs."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from geventecho.cli.commands import main
from geventecho.cli.load import START
from tests.support import peers
from tests.support.commands import COMMAND, SECONDS, handles_signal, in_this_process, run_here, usage_error
from tests.support.locust_process import ECHO_USER, environment
from tests.support.timing import SCALE, wait_until

TARGET = "127.0.0.1:8090"
PING = ["--send", "PING", "--reply-exactly", "4"]


def became(*arguments: str, **names: str) -> list[str]:
    """The arguments of the program that `geventecho load ARGUMENTS` becomes, after those of the interpreter."""
    with in_this_process(**names), mock.patch("os.execve") as execve:
        main(["load", *arguments])
    program, (first, *rest), _ = execve.call_args.args
    assert program == first == sys.executable
    assert rest[:3] == ["-P", "-c", START]
    return list(rest[3:])


def options_of(arguments: Sequence[str]) -> dict[str, str]:
    """The value after each option, for options that are followed by one."""
    return {name: value for name, value in itertools.pairwise(arguments) if name.startswith("-")}


class TestArguments:
    def test_the_default_is_ten_users_without_pauses_for_ten_seconds(self) -> None:
        arguments = became(TARGET)
        given = options_of(arguments)
        assert Path(given["-f"]).name == "echo_user.py"
        assert Path(given["-f"]).is_file()
        assert given["--host"] == f"tcp://{TARGET}"
        assert (given["--users"], given["--spawn-rate"], given["--run-time"]) == ("10", "10", "10s")
        assert given["--tcp-think-time"] == "0"
        assert "--headless" in arguments

    def test_a_rate_replaces_the_think_time(self) -> None:
        given = options_of(became(TARGET, "--users", "50", "--rate", "1000", "--time", "1m30s"))
        assert (given["--users"], given["--tcp-arrival-rate"], given["--run-time"]) == ("50", "1000", "90s")
        assert "--tcp-think-time" not in given

    @pytest.mark.parametrize(
        ("rate", "seconds"), [("5:3s,9:4s", "7s"), ("5:1.5s,9:1s", "3s"), ("5:3s,9", "13s"), ("9", "10s")]
    )
    def test_the_stages_of_a_rate_set_the_run_time(self, rate: str, seconds: str) -> None:
        assert options_of(became(TARGET, "--rate", rate))["--run-time"] == seconds
        assert options_of(became(TARGET, "--rate", rate, "--time", "2"))["--run-time"] == "2s"

    def test_many_users_do_not_connect_at_once(self) -> None:
        given = options_of(became(TARGET, "--users", "20000"))
        assert (given["--users"], given["--spawn-rate"]) == ("20000", "1000")

    def test_web_starts_the_web_ui_without_a_run_time(self, capfd: pytest.CaptureFixture[str]) -> None:
        arguments = became(TARGET, "--web", "--users", "7")
        assert "press Start in the web UI to begin" in capfd.readouterr().err
        assert "--headless" not in arguments
        assert "--run-time" not in arguments
        assert options_of(arguments)["--users"] == "7"
        assert options_of(became(TARGET, "--web", "--time", "5"))["--run-time"] == "5s"

    def test_a_given_request_runs_the_user_of_any_protocol(self) -> None:
        arguments = became(TARGET, "--send=-x", "--reply-close", "--greeting-until", r"\n", "--expect", "^a")
        assert Path(options_of(arguments)["-f"]).name == "any_tcp_user.py"
        assert arguments[-4:] == ["--tcp-send=-x", "--tcp-reply-close", "--tcp-expect=^a", r"--tcp-greeting-until=\n"]

    def test_a_given_locustfile_keeps_its_wait_times(self) -> None:
        given = options_of(became(TARGET, "--file", str(ECHO_USER)))
        assert given["-f"] == str(ECHO_USER)
        assert "--tcp-think-time" not in given

    @pytest.mark.parametrize("dashes", [[], ["--"]])
    def test_other_arguments_go_to_locust_and_come_last(self, dashes: list[str]) -> None:
        rest = ["--tcp-gate", "echo p99 < 5ms", "--processes", "2", "--tcp-think-time", "1", "EchoUser"]
        arguments = became(TARGET, "--users", "3", *dashes, *rest)
        assert arguments[-len(rest) :] == rest
        assert options_of(arguments)["--users"] == "3"
        assert became(TARGET, rest[0], rest[1], *dashes, *rest[2:]) == became(TARGET, *rest)

    def test_a_target_may_follow_a_config_file_with_options_of_locust(self, tmp_path: Path) -> None:
        path = tmp_path / "load.conf"
        path.write_text("tcp-gate = [echo p50 < 1s, failures < 1%]\nusers = 3\n")
        arguments = became("--config", str(path), TARGET, "--processes", "2")
        assert options_of(arguments)["--host"] == f"tcp://{TARGET}"
        gates = ["--tcp-gate=echo p50 < 1s", "--tcp-gate=failures < 1%"]
        assert [word for word in arguments if word.startswith("--tcp-gate")] == gates
        assert options_of(arguments)["--processes"] == "2"

    def test_the_environment_sets_options(self) -> None:
        assert options_of(became(TARGET, GEVENTECHO_LOAD_USERS="4"))["--users"] == "4"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "required: TARGET"),
            (["localhost"], "'localhost' is not a target"),
            (
                ["tls://127.0.0.1:1", "--tls-ca", "/no"],
                "--tls-ca: the file /no cannot be read: No such file",
            ),
            (["127.0.0.1:1", "--tls-insecure"], "--tls-insecure: tcp://127.0.0.1:1 has no TLS; write tls://host:port"),
            (["--processes", "2", TARGET], "write the TARGET before all arguments for Locust"),
            ([TARGET, "--users", "0"], "--users"),
            ([TARGET, "--rate", "0"], "--rate: '0' is not a rate"),
            ([TARGET, "--rate", "5:1s:2s"], "--rate: "),
            ([TARGET, "--time", "0"], "--time: '0' is not a number of whole seconds"),
            ([TARGET, "--time", "1.5s"], "--time: '1.5s' is not a number of whole seconds"),
            ([TARGET, "--time", "soon"], "--time: 'soon' is not a duration"),
            ([TARGET, "--host", TARGET], "--host: the TARGET is the server to test"),
            ([TARGET, f"-H{TARGET}"], f"-H{TARGET}: the TARGET is the server to test"),
            ([TARGET, "--ho", TARGET], "--ho: the TARGET is the server to test"),
            ([TARGET, "127.0.0.1:9"], "127.0.0.1:9: this is a second TARGET"),
            ([TARGET, "--tcp-gate=p50 < 1s", "unix:/x"], "unix:/x: this is a second TARGET"),
            ([TARGET, "--file", "/no/such.py"], "--file: there is no file /no/such.py"),
            ([TARGET, "--file", str(ECHO_USER), *PING], "--send, --reply-exactly: with --file"),
            ([TARGET, "--expect", "x"], "--send: give the bytes to send"),
            ([TARGET, "--send", "x"], "say where the reply ends"),
            ([TARGET, *PING, "--reply-none"], "--reply-exactly and --reply-none: "),
            ([TARGET, *PING, "--encoding", "morse"], "--encoding: 'morse' is not one of"),
            ([TARGET, *PING, "--greeting-exactly", "all"], "--greeting-exactly: 'all' is not a whole number"),
            ([TARGET, *PING, "--expect", "("], "--expect: it is not a regular expression"),
        ],
    )
    def test_wrong_arguments_are_a_usage_error(self, arguments: list[str], words: str) -> None:
        assert words in usage_error("load", *arguments)

    def test_load_without_locust_says_how_to_install_it(self, capfd: pytest.CaptureFixture[str]) -> None:
        with in_this_process(), mock.patch("importlib.util.find_spec", return_value=None):
            assert main(["load", TARGET]) == 2
        line = "geventecho load: Locust is not installed; pip install 'geventecho[loadtest]'\n"
        assert capfd.readouterr().err == line

    def test_help_needs_no_locust(self) -> None:
        with mock.patch.dict(sys.modules, {"locust": None}):
            done = run_here(["load", "--help"])
        assert done.returncode == 0
        for example in ("--rate 1000", "--greeting-until", "--tcp-gate", "--web"):
            assert example in done.stdout.decode()


def load(directory: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run `load` in a directory; returns the process and the result, whose `by_name` has the rows of operations."""
    path = directory / "result.json"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "geventecho", "load", *arguments, "--tcp-json", str(path)],
        capture_output=True, text=True, timeout=SECONDS, cwd=directory, env=environment(), check=False,
    )  # fmt: skip
    result = json.loads(path.read_text()) if path.exists() else {"rows": []}
    result["by_name"] = {row["name"]: row for row in result["rows"] if row["type"] == "TCP"}
    return done, result


def test_a_run_at_a_rate_accounts_for_each_planned_echo(tmp_path: Path, echo_peer: peers.Peer) -> None:
    (tmp_path / "socket.py").write_text("raise SystemExit('this module must not be imported')")
    arguments = [echo_peer.target, "--users", "4", "--rate", "50", "--time", "2s", "--only-summary"]
    done, result = load(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    account, echoes = result["account"], result["by_name"]["echo"]
    assert 95 <= account["planned"] <= 100
    assert echoes["ok"] + echoes["failed"] + account["dropped"] == account["planned"]
    assert result["by_name"]["connect"]["ok"] == 4
    assert result["argv"][: 2 + len(arguments)] == ["geventecho", "load", *arguments]


@pytest.mark.long
def test_the_exit_code_is_that_of_the_load_test(tmp_path: Path) -> None:
    with peers.refuses() as target:
        done, _ = load(tmp_path, target, "--users", "1", "--time", "1s")
    assert done.returncode == 1
    assert "connect: refused" in done.stderr + done.stdout


def test_a_gate_that_is_not_met_is_an_error_in_the_log(tmp_path: Path) -> None:
    arguments = ["--users", "1", "--time", "1s", "--loglevel", "ERROR", "--tcp-gate", "rate > 1/s"]
    with peers.refuses() as target:
        done, _ = load(tmp_path, target, *arguments)
    assert done.returncode == 4
    assert "gate NOT met: rate > 1/s" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--tcp-gate", "echo p99 < 5", "argument --tcp-gate: a time"),
        pytest.param("--tcp-report", "no/r", "--tcp-report: cannot", marks=pytest.mark.long),
    ],
)
def test_locusts_usage_errors_begin_with_the_name_of_the_command(
    option: str, value: str, words: str, tmp_path: Path
) -> None:
    done, _ = load(tmp_path, TARGET, option, value)
    assert done.returncode == 2
    assert f"geventecho load: error: {words}" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param(["EchoUser", "w"], "w: there is no user class of this name\n", marks=pytest.mark.long),
        (
            ["--json", "r.json"],
            "r.json: there is no user class of this name, and --json takes no value; --tcp-json",
        ),
        pytest.param(["--userz", "3"], "unrecognized arguments: --userz\n", marks=pytest.mark.long),
    ],
)
def test_an_extra_word_is_a_usage_error(words: list[str], reason: str, tmp_path: Path) -> None:
    done, _ = load(tmp_path, TARGET, "--time", "1s", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"geventecho load: error: {reason}")


@pytest.mark.long
def test_a_class_of_users_may_have_another_name(tmp_path: Path) -> None:
    path = tmp_path / "renamed.py"
    path.write_text("from geventecho.loadtest.users.echo_user import EchoUser as Renamed\n")
    with peers.refuses() as target:
        done, _ = load(tmp_path, target, "--file", str(path), "--users", "1", "--time", "1s", "Renamed")
    assert done.returncode == 1
    assert "connect: refused" in done.stderr + done.stdout


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
def test_a_signal_reaches_locust(number: signal.Signals, echo_peer: peers.Peer) -> None:
    with subprocess.Popen(
        [*COMMAND, "load", echo_peer.target, "--users", "1", "--time", "1m"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: echo_peer.open == 1, 30 * SCALE, "a user")
            wait_until(
                lambda: handles_signal(process, number), 30 * SCALE, "the handler: Locust starts users before it"
            )
        finally:
            process.send_signal(number)
        printed = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, printed
    assert "operations: started" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("moment", [pytest.param("at once", marks=pytest.mark.long), "while it imports Locust"])
def test_ctrl_c_before_the_first_user_ends_load_without_a_line(moment: str, echo_peer: peers.Peer) -> None:
    with subprocess.Popen(
        [*COMMAND, "load", echo_peer.target, "--time", "1m"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
    ) as process:  # fmt: skip
        try:
            proc = Path(f"/proc/{process.pid}")
            wait_until(lambda: START.encode() in (proc / "cmdline").read_bytes(), 30 * SCALE, "exec(3)")
            file = "gevent" if moment != "at once" else "python"
            wait_until(lambda: file in (proc / "maps").read_text(), 30 * SCALE, f"the import of {file}")
            wait_until(lambda: _is_default(proc, signal.SIGINT), 30 * SCALE, "the handler")
        finally:
            process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=SECONDS)[1]
    assert (process.returncode, printed) == (-signal.SIGINT, "")


def _is_default(proc: Path, number: int) -> bool:
    """Whether a process neither handles nor ignores a signal, see proc_pid_status(5)."""
    fields = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    return not any(int(fields[name], 16) >> (number - 1) & 1 for name in ("SigCgt", "SigIgn"))
