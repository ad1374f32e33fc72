"""The Python of the documentation and the examples of load tests run."""

from __future__ import annotations

import ast
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.documents import blocks, locust, once, redirected, run
from tests.support.locust_process import environment, free_port
from tests.support.timing import wait_until

EXAMPLES = sorted((ROOT / "loadtests" / "examples").glob("*.py"))


def is_file_of_its_own(code: str) -> bool:
    return code.startswith(("from ", "import "))


@pytest.mark.parametrize("code", [code for code in once(blocks("python")) if is_file_of_its_own(str(code.values[0]))])
def test_a_block_of_python_runs(code: str, tmp_path: Path) -> None:
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
    """Run a snippet that serves for ever, on a port or a Unix socket: connect to it, then end it by a signal.

    A snippet that handles signals exits with 0.
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
    """`test_the_examples_run` runs the example."""
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
