"""The command line around the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gevent
import pytest

import geventecho
from geventecho.cli.main import main
from geventecho.errors import ConfigError
from tests.support.commands import command, environment


def test_version() -> None:
    done = command(["--version"])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"geventecho {geventecho.__version__}\n"


@pytest.mark.parametrize("name", ["serve", "send", "ping"])
def test_each_command_has_help_with_examples_and_names_of_the_environment(name: str) -> None:
    done = command([name, "--help"])
    text = done.stdout.decode()
    assert done.returncode == 0
    assert f"usage: geventecho {name}" in text
    assert f"GEVENTECHO_{name.upper()}_" in text
    assert "--config" in text
    assert "examples:" in text


def test_help_lists_the_commands() -> None:
    text = command(["--help"]).stdout.decode()
    for name in ("serve", "send", "ping"):
        assert name in text


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["serve", "--nonsense"], ["serv"]])
def test_usage_errors_are_2(arguments: list[str]) -> None:
    done = command(arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"usage: geventecho" in done.stderr
    assert b"Traceback" not in done.stderr


def test_it_is_installed_as_a_command() -> None:
    script = Path(sys.executable).with_name("geventecho")
    if not script.exists():
        pytest.skip("the package is not installed here")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout == f"geventecho {geventecho.__version__}\n"


class Fails:
    """A command that ends as it is told."""

    def __init__(self, outcome: BaseException | int) -> None:
        self.outcome = outcome

    def add_to(self, commands: object) -> None:
        parser = commands.add_parser("fails")  # type: ignore[attr-defined]
        parser.set_defaults(run=self.run)

    def run(self, _options: object) -> int:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "code", "errors"),
    [
        (0, 0, ""),
        (3, 3, ""),
        (ConfigError("no good"), 1, "geventecho fails: no good\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_a_command_ends(
    outcome: BaseException | int,
    code: int,
    errors: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gevent.get_hub(), "NOT_ERROR", gevent.get_hub().NOT_ERROR)
    monkeypatch.setattr(sys.modules[main.__module__], "COMMANDS", (Fails(outcome),))
    assert main(["fails"]) == code
    assert capsys.readouterr().err == errors


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.get_hub(), "NOT_ERROR", gevent.get_hub().NOT_ERROR)
    monkeypatch.setattr(sys.modules[main.__module__], "COMMANDS", (Fails(RuntimeError("a bug")),))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["fails"])
