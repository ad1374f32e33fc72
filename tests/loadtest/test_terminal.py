"""A headless run in a terminal: a display that is redrawn in place, below the lines of the log."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import peers
from tests.support.locust_process import ECHO_USER, LOCUSTFILES, environment, free_port

if TYPE_CHECKING or find_spec("pyte"):
    from tests.support.terminal import TerminalRun

pytestmark = pytest.mark.skipif(not find_spec("pyte"), reason="needs pyte, of requirements-dev.txt")

CHATTY = LOCUSTFILES / "chatty.py"
TERM = {"TERM": "xterm"}


def locust(target: str, *arguments: str, file: Path = CHATTY) -> list[str]:
    port = str(free_port())
    return [
        sys.executable, "-m", "geventecho.loadtest", "-f", str(file), "--headless", "-u", "4", "-r", "4",
        "--host", target, "--master-port", port, "--master-bind-port", port, *arguments,
    ]  # fmt: skip


def assert_left_in_order(run: TerminalRun) -> None:
    """Check that the display is gone, and that the terminal has its former state for the next program."""
    assert run.screen.margins in (None, (0, run.screen.lines - 1))
    assert not run.screen.cursor.hidden
    assert run.screen.cursor.x == 0
    assert "so far" not in run.text()
    assert "\N{BOX DRAWINGS LIGHT HORIZONTAL}" not in run.text()
    assert "Traceback" not in run.text()


def assert_lines_are_whole(run: TerminalRun) -> None:
    """Check that each line of the users is printed once and is whole; a long line continues in the next line."""
    lines = "\n".join([*run.scrolled(), *run.shown()])
    said = re.findall(r"(?m)^said (\d+) (\d+)\.$", lines)
    assert len(said) == lines.count("said") >= 10
    sung = re.findall(r"/INFO/chatty: ((?:la)+) (\d+) (\d+)\.", run.text())
    assert len(sung) == run.text().count("/INFO/chatty: ") >= 10
    assert all(song == "la" * int(number) for song, _, number in sung)
    for first, printed in ((10, said), (5, [(process, number) for _, process, number in sung])):
        for process in {process for process, _ in printed}:
            numbers = [int(number) for printer, number in printed if printer == process]
            assert numbers == list(range(first, first + 10 * len(numbers), 10)), "every tenth echo has a line, in order"


@pytest.mark.parametrize(
    ("columns", "lines", "options"),
    [
        pytest.param(20, 24, (), marks=pytest.mark.long),
        (80, 24, ("--processes", "2")),
        pytest.param(40, 12, ("--processes", "2"), marks=pytest.mark.long),
        pytest.param(200, 50, (), marks=pytest.mark.long),
    ],
)
def test_the_display_is_below_whole_lines(columns: int, lines: int, options: tuple[str, ...]) -> None:
    with peers.echoes() as peer, TerminalRun(
        locust(peer.target, "-t", "60", *options), columns, lines, environment(**TERM)
    ) as run:  # fmt: skip
        run.wait_for(r"said \d+ \d{3}")  # after 100 echoes a process has printed and logged ten lines each
        run.wait_for(r" \d+ s of 60 s")
        run.wait_for(r"4 users +4 open")
        run.wait_for(r"TCP ec\S* +\d")
        if columns >= 40:
            run.wait_for(r"[a-z] so far")
        shown = run.shown()
        (top,) = [number for number, line in enumerate(shown) if line.startswith("\N{BOX DRAWINGS LIGHT HORIZONTAL}")]
        assert top >= lines // 2, shown
        assert all(shown[top:]), "no empty line in the display or below it"
        assert run.screen.cursor.y < top
        run.press("\x03")
        assert run.wait() == 0
        assert_left_in_order(run)
        assert_lines_are_whole(run)


@pytest.mark.long
@pytest.mark.parametrize("key", ["\x03", "SIGTERM", "\x1c"], ids=["Ctrl-C", "SIGTERM", "SIGQUIT"])
def test_a_run_that_is_ended_leaves_the_terminal_in_order(key: str) -> None:
    with peers.echoes() as peer, TerminalRun(locust(peer.target), 80, 24, environment(**TERM)) as run:
        run.wait_for(r"\d good/s(.|\n)*so far")
        if key.startswith("SIG"):
            run.process.send_signal(signal.Signals[key])
        else:
            run.press(key)
        assert run.wait() == (-signal.SIGQUIT if key == "\x1c" else 0)
        assert_left_in_order(run)
        if key != "\x1c":
            assert "\nverdict: " in run.text()


@pytest.mark.long
def test_a_run_with_a_shape_is_ended_in_order() -> None:
    """Locust handles no SIGTERM while a shape runs."""
    steps = ("-f", f"{CHATTY},{LOCUSTFILES / 'steps.py'}")
    with peers.echoes() as peer, TerminalRun(locust(peer.target, *steps), 80, 24, environment(**TERM)) as run:
        run.wait_for(r"\d good/s(.|\n)*so far")
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == -signal.SIGTERM
        assert_left_in_order(run)


def test_neither_a_change_of_the_size_nor_sigterm_leaves_remains_of_the_display() -> None:
    """The users print nothing: a line between the change and its signal, SIGWINCH, may overwrite the display."""
    with peers.echoes() as peer, TerminalRun(
        locust(peer.target, "-t", "60", file=ECHO_USER), 100, 30, environment(**TERM)
    ) as run:  # fmt: skip
        for columns, lines in ((60, 30), (120, 16), (30, 40)):
            run.wait_for(r"\d good/s(.|\n)*so f")
            run.resize(columns, lines)
            run.wait_for(rf"(?m)^\N{{BOX DRAWINGS LIGHT HORIZONTAL}}.{{{columns - 1}}}$")
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 0
        assert_left_in_order(run)
        assert "verdict: " in run.text()


def test_a_suspended_run_gives_the_terminal_to_the_shell_and_continues() -> None:
    shell = ["bash", "--norc", "--noprofile", "-i"]
    with peers.echoes() as peer, TerminalRun(shell, 80, 24, environment(**TERM, PS1="ready> ")) as run:
        run.wait_for("ready>")
        run.press(f"{shlex.join(locust(peer.target))}\n")
        run.wait_for(r"\d good/s(.|\n)*so far")
        run.press("\x1a")
        run.wait_for(r"Stopped(.|\n)*ready>")
        assert run.screen.margins in (None, (0, 23))
        assert "so far" not in run.text()
        run.press("fg\n")
        run.wait_for(r"\d good/s(.|\n)*so far")
        run.press("\x03")
        run.wait_for(r"verdict: (.|\n)*ready>")
        assert "so far" not in run.text()
        run.press("exit\n")
        run.wait()


def test_the_display_is_drawn_only_in_the_foreground_in_encodable_characters_and_without_blocking() -> None:
    shell = ["bash", "--norc", "--noprofile", "-i"]
    draw = shlex.join([sys.executable, "-m", "tests.loadtest.programs.last_line"])
    with TerminalRun(shell, 80, 24, environment(**TERM, PS1="ready> ")) as run:
        run.wait_for("ready>")
        run.press(f"{draw} utf-8 held\n")
        run.wait_for("over: utf-8 held")
        run.press(f"{draw} utf-8 &\n")
        run.wait_for("over: utf-8\n")
        assert not any(line.endswith(" last") for line in run.shown())
        run.press(f"{draw} utf-8\n")
        run.wait_for("(?m)^\N{BOX DRAWINGS LIGHT HORIZONTAL} last$")
        run.press(f"clear; {draw} ascii\n")
        run.wait_for("(?m)^- last$")
