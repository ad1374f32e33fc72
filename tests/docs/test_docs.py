"""The documentation does what it says: its Python and its commands run, its links lead somewhere, its options exist."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from geventecho.server.config import ServerConfig
from geventecho.server.counters import COUNTERS
from tests.support import ROOT
from tests.support.locust_process import environment, free_port
from tests.support.real_servers import real_server
from tests.support.servers import serve
from tests.support.timing import SCALE, wait_until

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ABOUT = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
EXAMPLES = sorted((ROOT / "loadtests" / "examples").glob("*.py"))
# Locust's own --help does not import the locustfile.
LOCUST_HELP = "import any_tcp; from locust.argument_parser import get_parser; get_parser().print_help()"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
FLAGS_OF_OTHERS = frozenset({  # systemctl, systemd-analyze and docker
    "--now", "--failed", "--offline", "--file", "--tag", "--read-only", "--cap-drop", "--stop-timeout", "--ulimit",
    "--publish",
})  # fmt: skip
# Where the docs say a server listens, and which one it is.
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


def shell_commands(*beginnings: str) -> list[pytest.ParameterSet]:
    """The lines of all shell blocks that begin with one of these, without their comments."""
    return [
        pytest.param(shlex.split(line, comments=True), id=f"{block.id}:{number}")
        for block in blocks("sh")
        for number, line in enumerate(str(block.values[0]).splitlines())
        if line.startswith(beginnings)
    ]


@contextlib.contextmanager
def redirected(text: str) -> Iterator[str]:
    """The text with the well-known ports it mentions replaced by those of servers that run in the block."""
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
    """Run Locust for two seconds; nothing may fail. Returns what it printed."""
    done = run(["-m", "locust", *arguments, "--headless", "-u", "4", "-r", "4", "-t", "2"], directory)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "Traceback" not in printed
    return printed


def is_file_of_its_own(code: str) -> bool:
    return code.startswith(("from ", "import "))


@pytest.mark.parametrize("code", [block for block in blocks("python") if is_file_of_its_own(str(block.values[0]))])
def test_python_runs(code: str, tmp_path: Path) -> None:
    path = tmp_path / "snippet.py"
    if "serve_forever" in code:
        for number in (signal.SIGTERM, signal.SIGINT) if "signal_handler" in code else (signal.SIGTERM,):
            serves(code, path, number)
        return
    with redirected(code) as text:
        path.write_text(text)
        if "TcpUser" in text:
            assert " ok, 0 failed, " in locust(["-f", str(path)], tmp_path)
        else:
            done = run(["-W", "error", str(path)], tmp_path)
            assert (done.returncode, done.stderr) == (0, "")


def serves(code: str, path: Path, number: signal.Signals) -> None:
    """A snippet that serves for ever, on a port or a Unix socket: somebody connects, then a signal ends it.

    One that handles signals exits with 0.
    """
    port, unix = free_port(), path.with_name("socket")
    path.write_text(code.replace(":8090", f":{port}").replace("/run/greet.sock", str(unix)))
    family, address = (socket.AF_UNIX, str(unix)) if "unix:" in code else (socket.AF_INET, ("127.0.0.1", port))
    with subprocess.Popen([sys.executable, str(path)], stderr=subprocess.PIPE, text=True, env=environment()) as process:

        def connects() -> bool:
            assert process.poll() is None
            with socket.socket(family) as probe:
                return probe.connect_ex(address) == 0

        try:
            wait_until(connects)
        finally:
            process.send_signal(number)
            assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == (0 if "signal_handler" in code else -number)


@pytest.mark.parametrize("code", [block for block in blocks("python") if not is_file_of_its_own(str(block.values[0]))])
def test_a_fragment_is_part_of_an_example(code: str) -> None:
    """Which the next test runs."""
    assert any(textwrap.indent(code, " " * indent) in path.read_text() for path in EXAMPLES for indent in (0, 4, 8))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_run(path: Path, tmp_path: Path) -> None:
    tree = ast.parse(path.read_text())
    tasks = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("task" in ast.unparse(mark) for mark in node.decorator_list)
    ]
    (host,) = re.findall(r'host = "(.*)"', path.read_text())
    with redirected(host) as target:
        printed = locust(["-f", str(path), "--host", target], tmp_path)
    rows = set(re.findall(r'name="([^"]+)"', path.read_text()))
    assert tasks
    assert rows
    for row in rows | {"connect"}:
        assert re.search(rf"^TCP {row}: [1-9]\d* ok, 0 failed, ", printed, re.MULTILINE), printed


@pytest.mark.parametrize("command", [c for c in shell_commands("locust ") if "--headless" in str(c.values[0])])
def test_locust_commands_run(command: list[str], tmp_path: Path) -> None:
    if "--master" in command:
        pytest.skip("tests/loadtest/test_finish.py has workers of their own")
    text = next(str(b.values[0]) for b in blocks("python") if "RedisUser" in str(b.values[0]))
    with redirected(f"{shlex.join(command)}\n{text if 'redis_ping.py' in command else ''}") as redirected_text:
        line, _, file = redirected_text.partition("\n")
        (tmp_path / "redis_ping.py").write_text(file)
        (tmp_path / "loadtests").symlink_to(ROOT / "loadtests")
        port = str(free_port())
        printed = locust([*shlex.split(line)[1:], "--master-port", port, "--master-bind-port", port], tmp_path)
    assert " ok, 0 failed, " in printed


@pytest.mark.parametrize("command", shell_commands(".venv/bin/python "))
def test_commands_of_the_launcher_run(command: list[str]) -> None:
    with redirected(shlex.join(command)) as line:
        done = run([*shlex.split(line)[1:], "-u", "4", "-r", "4", "-t", "2"], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", shell_commands("geventecho send ", "geventecho ping "))
def test_geventecho_commands_run(command: list[str], tmp_path: Path) -> None:
    with redirected(shlex.join(command)) as line:
        done = run(["-W", "error", "-m", "geventecho", *shlex.split(line)[1:]], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("command", shell_commands("geventecho load "))
def test_load_commands_run(command: list[str], tmp_path: Path) -> None:
    with redirected(shlex.join(command)) as line:
        done = run(["-m", "geventecho", *shlex.split(line)[1:], "--time", "2s"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [*PAGES, *ABOUT], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def flags(program: str) -> frozenset[str]:
    """The options that the help of locust, of our launcher, of a command of geventecho's, or of the benchmark names."""
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


@cache
def known_flags() -> frozenset[str]:
    programs = ("serve", "send", "ping", "load", "locust", "launcher", "bench", "accuracy")
    return frozenset().union(*map(flags, programs))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist(page: Path) -> None:
    assert set(FLAG.findall(page.read_text())) - known_flags() - FLAGS_OF_OTHERS == set()


def test_the_reference_names_every_option_of_the_server_and_every_counter() -> None:
    reference = ROOT / "docs" / "reference"
    options = {f"--{name.replace('_', '-')}" for name in ServerConfig.names()}
    assert options - set(FLAG.findall((reference / "server.md").read_text())) == set()
    assert set(re.findall(r"`(\w+)`", (reference / "counters.md").read_text())) >= set(COUNTERS)


@pytest.mark.parametrize("command", shell_commands("geventecho ", "locust "))
def test_a_command_has_the_options_it_is_given(command: list[str]) -> None:
    program = command[1] if command[0] == "geventecho" else "locust"
    assert {word.partition("=")[0] for word in command if FLAG.match(word)} <= flags(program)
