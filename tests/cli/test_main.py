"""The command line that all commands share: help, errors, standard streams, config files, targets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import gevent
import pytest

import geventecho
from geventecho.cli.commands import main
from geventecho.errors import AddressError, ConfigError, GeventechoError
from tests.support import peers
from tests.support.commands import COMMAND, SECONDS, command, environment, run_here, usage_error
from tests.support.servers import Process, capacity
from tests.support.timing import wait_until


def test_the_version_is_printed() -> None:
    done = command(["--version"])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"geventecho {geventecho.__version__}\n"


@pytest.mark.parametrize("name", ["serve", "send", "ping"])
def test_each_command_has_help_with_examples_and_names_of_the_environment(name: str) -> None:
    done = run_here([name, "--help"])
    text = done.stdout.decode()
    assert done.returncode == 0
    assert f"usage: geventecho {name}" in text
    assert f"GEVENTECHO_{name.upper()}_" in text
    assert "--config" in text
    assert "examples:" in text


def test_help_lists_the_commands() -> None:
    text = run_here(["--help"]).stdout.decode()
    for name in ("serve", "send", "ping"):
        assert name in text


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["serve", "--nonsense"], ["serv"]])
def test_a_usage_error_exits_with_2(arguments: list[str]) -> None:
    done = run_here(arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith("geventecho")
    assert ": error: " in error
    assert hint.startswith("Try 'geventecho")
    assert hint.endswith(" --help'.")


def test_the_package_installs_the_command() -> None:
    script = Path(sys.executable).with_name("geventecho")
    if not script.exists():
        pytest.skip("the package is not installed here")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout == f"geventecho {geventecho.__version__}\n"


class Fails:
    """A command that raises or returns `outcome`."""

    def __init__(self, outcome: BaseException | int) -> None:
        self.outcome = outcome

    def add_to(self, commands: object) -> None:
        parser = commands.add_parser("fails")  # type: ignore[attr-defined]
        parser.set_defaults(run=self.run, parser=parser, config=None)

    def run(self, _options: object) -> int:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "code", "errors"),
    [
        (0, 0, ""),
        (3, 3, ""),
        (GeventechoError("no good"), 1, "geventecho fails: no good\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_the_outcome_of_a_command_is_its_exit_code_and_line(
    outcome: BaseException | int,
    code: int,
    errors: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gevent.get_hub(), "NOT_ERROR", gevent.get_hub().NOT_ERROR)
    monkeypatch.setattr(sys.modules[main.__module__], "COMMANDS", (Fails(outcome),))
    assert main(["fails"]) == code
    assert capfd.readouterr().err == errors


@pytest.mark.parametrize("error", [ConfigError("no good"), AddressError("no good")])
def test_a_wrong_argument_that_a_command_finds_is_a_usage_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gevent.get_hub(), "NOT_ERROR", gevent.get_hub().NOT_ERROR)
    monkeypatch.setattr(sys.modules[main.__module__], "COMMANDS", (Fails(error),))
    with pytest.raises(SystemExit) as ended:
        main(["fails"])
    assert ended.value.code == 2
    assert capfd.readouterr().err == "geventecho fails: error: no good\nTry 'geventecho fails --help'.\n"


def test_the_hub_runs_when_a_command_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a hub that is starting, and without a hub no output can be written."""
    running: list[bool] = []

    def run(_options: object) -> int:
        running.append(bool(gevent.get_hub()))
        return 0

    command = Fails(0)
    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(sys.modules[main.__module__], "COMMANDS", (command,))
    thread = threading.Thread(target=main, args=(["fails"],))  # with a hub of its own
    thread.start()
    thread.join()
    assert running == [True]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.get_hub(), "NOT_ERROR", gevent.get_hub().NOT_ERROR)
    monkeypatch.setattr(sys.modules[main.__module__], "COMMANDS", (Fails(RuntimeError("a bug")),))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["fails"])


# Standard streams -----------------------------------------------------------------------------------------------------


def closed(streams: str, *arguments: str) -> list[str]:
    """A command line that runs `geventecho ARGUMENTS` with some of the standard streams closed."""
    return ["/bin/sh", "-c", f'exec "$@" {streams}', "sh", *COMMAND, *arguments]


def test_no_socket_takes_the_place_of_a_closed_standard_stream(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    arguments = closed("<&- >&- 2>&-", "serve", f"unix:{path}", "--log-level", "debug")
    with subprocess.Popen(arguments, env=environment()) as process:
        try:
            wait_until(path.exists)
            found = [os.readlink(f"/proc/{process.pid}/fd/{descriptor}") for descriptor in range(3)]
            assert found == [os.devnull] * 3
        finally:
            process.terminate()
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(("arguments", "code"), [(("send", "--nonsense"), 2), (("serve", "fd:99"), 1)])
def test_an_error_without_standard_error_does_not_go_to_standard_output(arguments: tuple[str, ...], code: int) -> None:
    done = subprocess.run(closed("2>&-", *arguments), capture_output=True, check=False, env=environment())
    assert (done.returncode, done.stdout) == (code, b"")


ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ASCII_OUTPUT = {"PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (ASCII_LOCALE, r"\udcc3\udcbcmlaut"),
        pytest.param(ASCII_OUTPUT, r"\xfcmlaut", marks=pytest.mark.long),
        ({}, "ümlaut"),
    ],
)
def test_a_path_that_the_locale_cannot_write_is_escaped(names: dict[str, str], shown: str, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/ümlaut"
    with Process("-m", "geventecho", "serve", target, env=environment(**names), encoding="utf-8") as server:
        assert server.target == f"unix:{tmp_path}/{shown}"
        done = command(["ping", target, "-c", "1"], names=names)
        assert f"64 bytes from unix:{tmp_path}/{shown}: seq=1" in done.stdout.decode()
        assert server.stop() == 0
        assert server.errors == ""
    done = command(["send", target], names=names)
    assert done.returncode == 1
    assert shown in done.stderr.decode()


def test_a_path_that_is_not_text_is_served(tmp_path: Path) -> None:
    target = b"unix:" + bytes(tmp_path) + b"/\xff\xfe"
    with Process("-m", "geventecho", "serve", target) as server:  # type: ignore[arg-type]
        assert server.target.endswith(r"/\udcff\udcfe")
        assert os.listdir(bytes(tmp_path)) == [b"\xff\xfe"]


def test_a_path_in_a_config_file_that_the_locale_cannot_write_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "serve.conf"
    path.write_text("listen = unix:/tmp/ümlaut\n", encoding="utf-8")
    done = command(["serve", "--config", str(path)], names=ASCII_LOCALE)
    assert done.returncode == 2
    error, _ = done.stderr.splitlines()
    assert b"the encoding of this locale, cannot write the path" in error


# The config file ------------------------------------------------------------------------------------------------------

RIGHT = {"serve": "port = 0\nmax-connections = 7\n", "send": "reply-exactly = 3\n", "ping": "count = 2\n"}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("is_directory", [False, True])
def test_a_config_file_that_cannot_be_read_is_named_with_its_source(
    name: str, is_directory: bool, tmp_path: Path
) -> None:
    path = tmp_path if is_directory else tmp_path / "missing.conf"
    reason = "Is a directory" if is_directory else "No such file or directory"
    variable = f"GEVENTECHO_{name.upper()}_CONFIG"
    assert usage_error(name, names={variable: str(path)}) == f"{variable}: the file {path} cannot be read: {reason}"
    assert usage_error(name, "--config", str(path)) == f"--config: the file {path} cannot be read: {reason}"


@pytest.mark.parametrize("name", RIGHT)
def test_the_config_file_of_the_command_line_replaces_that_of_the_environment(name: str, tmp_path: Path) -> None:
    missing, wrong = tmp_path / "missing.conf", tmp_path / "wrong.conf"
    wrong.write_text("nonsense = 1\n")
    error = usage_error(name, "--config", str(wrong), names={f"GEVENTECHO_{name.upper()}_CONFIG": str(missing)})
    assert error == f"unrecognized arguments, here or in {wrong}: --nonsense=1"


@pytest.mark.parametrize("name", RIGHT)
def test_a_config_file_that_is_not_text_is_a_usage_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.conf"
    path.write_bytes(bytes(range(256)))
    assert "it is not UTF-8 text" in usage_error(name, "--config", str(path))


def test_many_unknown_names_in_a_config_file_are_a_short_error(tmp_path: Path) -> None:
    path = tmp_path / "long.conf"
    path.write_text("nonsense = 1\n" + "".join(f"nonsense{number} = 1\n" for number in range(1000)))
    assert len(usage_error("ping", "--config", str(path))) < 1000


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "FIFO"])
def test_a_config_file_that_is_not_a_regular_file_is_a_usage_error(path: str, tmp_path: Path) -> None:
    if path == "FIFO":
        path = str(tmp_path / "fifo.conf")
        os.mkfifo(path)
    assert (
        usage_error("ping", "--config", path) == f"--config: the file {path} cannot be read: it is not a regular file"
    )


def test_a_config_file_that_is_too_long_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "long.conf"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    assert usage_error("ping", "--config", str(path)).endswith("cannot be read: it is longer than 1 MiB")


@pytest.mark.parametrize("content", ["count = 2\0\n", "count\n", "= 2\n", "count = 2\ncount = x\n", "count: [\n"])
def test_a_malformed_config_file_is_a_usage_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "nonsense.conf"
    path.write_text(content)
    assert str(path) in usage_error("ping", "--config", str(path))


@pytest.mark.parametrize("name", RIGHT)
def test_an_empty_variable_names_no_config_file(name: str) -> None:
    names = {f"GEVENTECHO_{name.upper()}_CONFIG": ""}
    assert usage_error(name, "--nonsense", names=names) == "unrecognized arguments: --nonsense"


def test_the_config_file_named_in_the_environment_is_read(echo_peer: peers.Peer, tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.conf" for name in RIGHT}
    for name, path in paths.items():
        path.write_text(RIGHT[name])
    names = {f"GEVENTECHO_{name.upper()}_CONFIG": str(path) for name, path in paths.items()}
    with Process("-m", "geventecho", "serve", env=environment(**names)) as server:
        assert server.address.port not in (0, 8090)
        assert capacity(server).startswith("capacity 7 connections")
    assert run_here(["send", echo_peer.target, "hello"], names=names).stdout == b"hel"
    assert b"2 sent, 2 answered" in command(["ping", echo_peer.target, "-i", "0"], names=names).stdout
    done = command(["ping", echo_peer.target, "-i", "0", "-c", "3"], names=names)
    assert b"3 sent, 3 answered" in done.stdout, "the command line wins over the file"


def test_a_config_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "windows.conf"
    path.write_text("count = none\r\n", encoding="utf-8-sig", newline="")
    assert usage_error("ping", "--config", str(path)).startswith("argument -c/--count: 'none' is not a whole number")


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("line", ["config = other.conf", "--config=other.conf"])
def test_a_config_file_cannot_name_another_one(name: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "first.conf"
    path.write_text(RIGHT[name] + line + "\n")
    error = usage_error(name, "--config", str(path))
    assert error.startswith(f"{path}: a config file cannot name another one: ")
    assert error.endswith("config = other.conf")


@pytest.mark.parametrize("name", RIGHT)
def test_help_says_that_the_environment_cannot_set_arguments_without_dashes(name: str) -> None:
    text = run_here([name, "--help"]).stdout.decode()
    assert "Arguments without dashes can be given on the command line only." in text


# Targets --------------------------------------------------------------------------------------------------------------


TAKES_A_TARGET = (["serve"], ["serve", "--listen"], ["send"], ["ping"])


@pytest.mark.parametrize("arguments", TAKES_A_TARGET)
@pytest.mark.parametrize(
    "target", ["127.0.0.1:99999", "http://127.0.0.1:80", "tls://nowhere", "unix:relative", "fd:x", "::1"]
)
def test_the_error_of_a_wrong_target_lists_the_forms_that_the_command_takes(arguments: list[str], target: str) -> None:
    error = usage_error(*arguments, target)
    assert "host:port, tcp://host:port, tls://host:port, unix:/path or unix:@name" in error
    assert ("fd:N" in error) is ("serve" in arguments)


@pytest.mark.parametrize("arguments", TAKES_A_TARGET)
@pytest.mark.parametrize("target", ["ssl://127.0.0.1:1", "https://a:1", "tls:127.0.0.1:1"])
def test_the_error_of_another_scheme_for_tls_says_how_tls_is_written(arguments: list[str], target: str) -> None:
    assert f"{target!r} is not a target: TLS is written tls://host:port; " in usage_error(*arguments, target)


@pytest.mark.parametrize("name", ["send", "ping"])
def test_a_client_does_not_connect_to_a_descriptor(name: str) -> None:
    start = "fd:3: only a server can use fd:N; a client connects to tcp://host:port, tls://host:port or unix:/path"
    assert usage_error(name, "fd:3").startswith(start)


# Advice ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "option"),
    [("ping", "--timeout"), ("send", "--timeout"), ("send", "--reply-quiet"), ("serve", "--write-stall")],
)
def test_zero_for_an_option_with_a_default_is_a_usage_error(name: str, option: str) -> None:
    error = usage_error(name, option, "0")
    assert error == f"argument {option}: it must be above 0 seconds"


@pytest.mark.parametrize(
    ("name", "option"), [("ping", "--deadline"), ("serve", "--idle-timeout"), ("serve", "--connect-rate")]
)
def test_the_error_of_zero_for_an_optional_limit_says_to_leave_it_out(name: str, option: str) -> None:
    assert "it must be above 0; leave the option out for no limit" in usage_error(name, option, "0")


def test_the_error_of_a_message_that_begins_with_a_dash_says_how_to_write_it() -> None:
    error = usage_error("send", "127.0.0.1:1", "-x")
    assert error == "unrecognized arguments: -x; if it is the MESSAGE, write -- -x"
    assert "MESSAGE" not in usage_error("send", "127.0.0.1:1", "hello", "--nonsense")
    assert "MESSAGE" not in usage_error("ping", "127.0.0.1:1", "-x")
