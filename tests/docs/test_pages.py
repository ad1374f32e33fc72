"""The links of the documentation lead to files and headings that exist, and its options exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from geventecho.server.config import ServerConfig
from geventecho.server.counters import COUNTERS
from tests.support import ROOT
from tests.support.documents import FLAG, PAGES, flags, shell_commands

ABOUT = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FLAGS_OF_OTHERS = frozenset({  # systemctl, systemd-analyze and docker
    "--now", "--failed", "--offline", "--file", "--tag", "--read-only", "--cap-drop", "--stop-timeout", "--ulimit",
    "--publish",
})  # fmt: skip


@pytest.mark.parametrize("page", [*PAGES, *ABOUT], ids=lambda page: page.name)
def test_the_targets_of_links_exist(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def known_flags() -> frozenset[str]:
    programs = ("serve", "send", "ping", "load", "locust", "launcher", "bench", "accuracy")
    return frozenset().union(*map(flags, programs))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_options_of_a_page_exist(page: Path) -> None:
    assert set(FLAG.findall(page.read_text())) - known_flags() - FLAGS_OF_OTHERS == set()


def test_the_reference_names_every_option_of_the_server_and_every_counter() -> None:
    reference = ROOT / "docs" / "reference"
    options = {f"--{name.replace('_', '-')}" for name in ServerConfig.names()}
    assert options - set(FLAG.findall((reference / "server.md").read_text())) == set()
    assert set(re.findall(r"`(\w+)`", (reference / "counters.md").read_text())) >= set(COUNTERS)


@pytest.mark.parametrize("command", shell_commands("geventecho ", "locust "))
def test_a_command_has_the_options_that_it_is_given(command: list[str]) -> None:
    program = command[1] if command[0] == "geventecho" else "locust"
    known = flags(program) | (flags("launcher") if program == "load" else frozenset())  # load passes others on
    assert {word.partition("=")[0] for word in command if FLAG.match(word)} <= known
