"""The documentation for tests: its blocks and commands, and servers in place of the documented ones."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.locust_process import environment
from tests.support.real_servers import real_server
from tests.support.servers import serve
from tests.support.timing import SCALE

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Locust's own --help does not import the locustfile.
LOCUST_HELP = "import any_tcp; from locust.argument_parser import get_parser; get_parser().print_help()"
# The documented ports, and the servers that listen there.
WELL_KNOWN = {6379: "redis-server", 11211: "memcached", 8090: "echo", 7443: "TLS"}


def blocks(language: str) -> list[pytest.ParameterSet]:
    """The fenced blocks of all pages, each named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(textwrap.dedent(match[2]), id=f"{page.name}:{line}"))
    return found


def once(found: list[pytest.ParameterSet]) -> list[pytest.ParameterSet]:
    """Each block once, however many pages have it."""
    return list({str(one.values[0]): one for one in found}.values())


def shell_commands(*beginnings: str) -> list[pytest.ParameterSet]:
    """The lines of all shell blocks with one of these beginnings, without their comments; each once."""
    found = [
        pytest.param(shlex.split(line, comments=True), id=f"{block.id}:{number}")
        for block in blocks("sh")
        for number, line in enumerate(str(block.values[0]).splitlines())
        if line.startswith(beginnings)
    ]
    return once(found)


def two_by_default(found: list[pytest.ParameterSet]) -> list[pytest.ParameterSet]:
    """Mark all commands but the first two `long`: each is a whole load test. Another test checks all their options."""
    return [*found[:2], *(pytest.param(*one.values, id=one.id, marks=pytest.mark.long) for one in found[2:])]


@contextlib.contextmanager
def redirected(text: str) -> Iterator[str]:
    """The text with its well-known ports replaced by those of servers that run in the block."""
    with contextlib.ExitStack() as servers:
        for known, name in WELL_KNOWN.items():
            if f":{known}" in text:
                if name == "echo":
                    target = servers.enter_context(serve()).target
                    port = int(target.rpartition(":")[2])
                elif name == "TLS":
                    from tests.support.tls import files

                    pem = files(Path(servers.enter_context(tempfile.TemporaryDirectory())))
                    port = servers.enter_context(serve(*pem.options)).address.port
                    text = text.replace("ca.pem", str(pem.authority))
                else:
                    port = servers.enter_context(real_server(name))
                text = text.replace(f":{known}", f":{port}")
        yield text


def run(arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, timeout=60 * SCALE, cwd=directory, env=environment(), check=False,
    )  # fmt: skip


def locust(arguments: list[str], directory: Path) -> str:
    """Run Locust for two seconds; nothing may fail. Returns its output."""
    done = run(["-m", "locust", *arguments, "--headless", "-u", "4", "-r", "4", "-t", "2"], directory)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "Traceback" not in printed
    return printed


@cache
def flags(program: str) -> frozenset[str]:
    """The options in the help of a program: "locust", "launcher", "bench", "accuracy", or a command of geventecho."""
    commands = {
        "locust": ["-c", LOCUST_HELP],
        "launcher": ["-m", "geventecho.loadtest", "--help"],
        "bench": ["-m", "bench.run", "--help"],
        "accuracy": ["-m", "bench.accuracy", "--help"],
    }
    command = commands.get(program, ["-m", "geventecho", program, "--help"])
    done = run(command, ROOT / "loadtests" if program == "locust" else ROOT)
    assert done.returncode == 0, done.stderr
    return frozenset(FLAG.findall(done.stdout))
