"""The examples run unchanged, each in its own process."""

from __future__ import annotations

import ast
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import gevent
import pytest
from gevent import socket

import geventecho
from geventecho.net import abort
from tests.support import ROOT
from tests.support.commands import environment
from tests.support.servers import LOCAL, Process, echo_server, ping, read_exactly, read_to_end, wait_for_ending
from tests.support.timing import PATIENCE, UNIT, wait_until

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *arguments: str) -> Process:
    """A server of the examples on a free port."""
    return Process(str(ROOT / "examples" / f"{name}.py"), LOCAL, *arguments)


def check_stop(server: Process, number: int = signal.SIGTERM) -> None:
    """Stop it: it exits with 0 and has written no error."""
    server.signal(number)
    assert (server.wait(), server.errors) == (0, "")


def ask(sock: socket.socket, line: bytes) -> bytes:
    """Send a line, and read the reply up to its newline."""
    sock.sendall(line)
    reply = b""
    while not reply.endswith(b"\n"):
        reply += read_exactly(sock, 1)
    return reply


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_uses_public_names_only(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 40
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("geventecho"):
            assert node.module == "geventecho"
            assert {alias.name for alias in node.names} <= set(geventecho.__all__)


def test_echo_returns_every_byte() -> None:
    with run("echo") as server:
        with server.connect() as client:
            client.sendall(b"x" * 100_000)
            client.shutdown(socket.SHUT_WR)
            assert read_to_end(client) == b"x" * 100_000
        check_stop(server, signal.SIGINT)


def test_line_protocol_keeps_values_and_refuses_bad_lines() -> None:
    with run("line_protocol") as server:
        with server.connect() as client, server.connect() as other:
            assert ask(client, b"SET name two words\r\n") == b"OK\n"
            assert ask(other, b"GET name\n") == b"two words\n"
            assert ask(other, b"GET else\n") == b"NOT FOUND\n"
            assert ask(other, b"\n").startswith(b"ERROR")
            client.sendall(b"SET name " + b"x" * 1024)
            assert read_to_end(client).startswith(b"ERROR: a line")
            other.sendall(b"GET na")
            other.shutdown(socket.SHUT_WR)
            assert read_to_end(other).startswith(b"ERROR: a line")
        check_stop(server, signal.SIGINT)


def test_chat_sends_a_line_to_the_other_members_and_waits_for_none() -> None:
    burst = (b"x" * 1000 + b"\n") * 50
    with run("chat") as server, server.connect() as ann, server.connect() as ben:
        ben.sendall(b"ben\n")
        assert read_exactly(ann, 4) == b"ben\n"
        silent = server.connect()
        silent.sendall(b"silent\n")
        assert read_exactly(ann, 7) == read_exactly(ben, 7) == b"silent\n"
        for _ in range(120):  # more than the kernel keeps for the silent member
            ann.sendall(burst)
            assert read_exactly(ben, len(burst)) == burst
        abort(silent)
        ben.sendall(b"bye\n")
        assert read_exactly(ann, 4) == b"bye\n"
        check_stop(server)


def proxy(upstream: object) -> Process:
    """The proxy in front of that server."""
    return run("proxy", str(upstream))


def test_proxy_passes_bytes_and_half_closes_both_ways() -> None:
    with echo_server() as upstream, proxy(upstream.address) as server:
        with server.connect() as client:
            sending = gevent.spawn(client.sendall, b"x" * 8_000_000)
            assert read_exactly(client, 8_000_000) == b"x" * 8_000_000
            sending.get()
            client.sendall(b"last")
            client.shutdown(socket.SHUT_WR)
            assert read_to_end(client) == b"last"
        wait_for_ending(upstream, "peer")
        check_stop(server)


def test_proxy_ends_both_connections_when_one_breaks() -> None:
    with echo_server() as upstream, proxy(upstream.address) as server:
        client, other = server.connect(), server.connect()
        ping(client)
        ping(other)
        abort(client)
        wait_until(lambda: upstream.connection_count == 1)
        upstream.stop(timeout=0)
        assert read_to_end(other) == b""
        other.close()
        check_stop(server)


def test_proxy_says_in_one_line_that_the_upstream_refuses() -> None:
    with echo_server() as upstream:
        address = upstream.address
    with proxy(address) as server, server.connect() as client:
        assert read_to_end(client) == b""
        wait_until(lambda: server.errors)
        assert str(address) in server.errors
        assert len(server.errors.splitlines()) == 1


def test_connection_pool_sends_100_requests_over_3_connections() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "connection_pool.py")],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "100 requests over 3 connections\n", "")


def test_connection_pool_replaces_connections_that_failed_or_were_closed() -> None:
    pool_class = runpy.run_path(str(ROOT / "examples" / "connection_pool.py"))["ConnectionPool"]
    with echo_server(idle_timeout=5 * UNIT) as server:
        pool = pool_class(str(server.address), size=1)
        with pytest.raises(geventecho.ReadTimeout), pool.client() as client:
            client.request(b"x", geventecho.Exactly(2), timeout=0.01)
        with pool.client() as client:
            client.echo(b"another connection")
            assert server.counters["accepted"] == 2
        wait_until(lambda: not server.connection_count)
        with pool.client() as client:
            client.echo(b"a third one")
        assert server.counters["accepted"] == 3
        client.close()
