"""Options of `geventecho serve`: their sources, and their effect on the server."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from gevent import socket

from geventecho.cli.serve import DESCRIPTION
from geventecho.server.config import ServerConfig
from tests.support.commands import environment, run_here, usage_error
from tests.support.servers import Process, capacity, ping, read_to_end, serve
from tests.support.timing import PATIENCE, UNIT, wait_until


def test_a_variable_counts_only_with_the_name_of_the_command() -> None:
    names = {
        "GEVENTECHO_SERVE_PORT": "0",
        "GEVENTECHO_SERVE_MAX_CONNECTIONS": "0",
        "GEVENTECHO_PORT": "tcp://10.0.0.1:1",
    }
    with Process("-m", "geventecho", "serve", env=environment(**names)) as server:
        assert capacity(server).startswith("capacity 0 connections")
        with server.connect() as client:
            assert read_to_end(client) == b""


def test_a_wrong_value_in_the_environment_is_a_usage_error() -> None:
    error = usage_error("serve", "--port", "0", names={"GEVENTECHO_SERVE_IDLE_TIMEOUT": "soon"})
    assert error.startswith("argument --idle-timeout: 'soon' is not a number of seconds")
    assert error.endswith(" (from GEVENTECHO_SERVE_IDLE_TIMEOUT)")


def test_a_wrong_value_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.conf"
    file.write_text("idle-timeout = soon\n")
    assert usage_error("serve", "--config", str(file)).endswith(f"of 0 or more (from {file})")
    error = usage_error("serve", "--config", str(file), "--idle-timeout", "later")
    assert error.endswith("'later' is not a number of seconds of 0 or more")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.conf"
    file.write_text("port = 0\nmax-connections = 3\n")
    with serve("--config", str(file), "--port", "0") as server:
        assert capacity(server).startswith("capacity 3 connections")
    names = environment(GEVENTECHO_SERVE_MAX_CONNECTIONS="4", GEVENTECHO_SERVE_CONFIG=str(file))
    with Process("-m", "geventecho", "serve", env=names) as server:
        assert capacity(server).startswith("capacity 4 connections")
    with serve("--max-connections", "5", "--config", str(file), env=names) as server:
        assert capacity(server).startswith("capacity 5 connections")


@pytest.mark.parametrize(
    ("arguments", "variables", "file", "target"),
    [
        (["127.0.0.1:0"], {"PORT": "1"}, "", "tcp://127.0.0.1:"),
        (["unix:@{name}"], {"LISTEN": "127.0.0.1:1"}, "port = 1", "unix:@{name}"),
        (["--port", "0"], {"HOST": "::1"}, "listen = 127.0.0.1:1", "tcp://[::1]:"),
        ([], {"LISTEN": "unix:@{name}"}, "host = 192.0.2.1\nport = 1", "unix:@{name}"),
        ([], {}, "listen = unix:@{name}", "unix:@{name}"),
    ],
)
def test_the_address_comes_from_the_strongest_source(
    arguments: list[str], variables: dict[str, str], file: str, target: str, tmp_path: Path
) -> None:
    name = tmp_path.as_posix()[-50:]
    config = tmp_path / "serve.conf"
    config.write_text(file.format(name=name))
    names = {f"GEVENTECHO_SERVE_{key}": value.format(name=name) for key, value in variables.items()}
    arguments = ["--config", str(config), *(argument.format(name=name) for argument in arguments)]
    with Process("-m", "geventecho", "serve", *arguments, env=environment(**names)) as server:
        assert server.target.startswith(target.format(name=name))


def test_listen_and_port_in_one_file_are_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "serve.conf"
    file.write_text("listen = 127.0.0.1:0\nport = 0\n")
    error = usage_error("serve", "--config", str(file))
    assert "--host/--port and --listen both say where to listen: give one of them" in error


def test_a_config_file_may_have_lists(tmp_path: Path) -> None:
    file = tmp_path / "serve.conf"
    file.write_text("deny = [192.0.2.0/24, 127.0.0.0/8]\n")
    with serve("--config", str(file)) as server, server.connect() as client:
        assert read_to_end(client) == b""


def test_an_unknown_name_in_a_file_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "serve.conf"
    file.write_text("idle = 5\n")
    assert "idle" in usage_error("serve", "--port", "0", "--config", str(file))


def test_every_option_of_the_server_has_a_flag() -> None:
    text = run_here(["serve", "--help"]).stdout.decode()
    for name in ServerConfig.names():
        assert f"--{name.replace('_', '-')} " in text
    assert " ".join(DESCRIPTION.split()[:8]) in " ".join(text.split())


# Effects of the flags -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ["--idle-timeout", str(2 * UNIT)],
        ["--first-byte-timeout", str(2 * UNIT)],
        ["--lifetime", str(2 * UNIT)],
        ["--deny", "127.0.0.0/8", "--allow", "127.0.0.1"],
        ["--allow", "192.0.2.0/24", "198.51.100.0/24"],
        ["--max-connections", "0"],
    ],
    ids=lambda flags: flags[0],
)
def test_each_of_these_flags_ends_a_silent_client(flags: list[str]) -> None:
    with serve(*flags) as server, server.connect() as client:
        began = time.monotonic()
        assert read_to_end(client) == b""
        assert time.monotonic() - began < 2 * UNIT + 10 * UNIT


@pytest.mark.parametrize(
    ("arguments", "variable", "line"),
    [
        (["--allow", ""], None, ""),
        ([], "", "allow = 127.0.0.1"),
        ([], None, "allow ="),
        ([], None, "allow = []"),
    ],
)
def test_an_empty_allow_list_admits_no_client(
    arguments: list[str], variable: str | None, line: str, tmp_path: Path
) -> None:
    file = tmp_path / "serve.conf"
    file.write_text(f"{line}\n")
    names = environment() | ({} if variable is None else {"GEVENTECHO_SERVE_ALLOW": variable})
    with serve(*arguments, "--config", str(file), env=names) as server, server.connect() as client:
        assert read_to_end(client) == b""
        wait_until(lambda: "WARNING geventecho.server: " in server.errors, goal="the warning, which a thread writes")
        assert f"{server.target}: the allow list is empty: nobody is admitted" in server.errors


def test_the_command_line_replaces_an_empty_allow_list_in_the_environment() -> None:
    names = environment(GEVENTECHO_SERVE_ALLOW="")
    with serve("--allow", "127.0.0.1", env=names) as server, server.connect() as client:
        ping(client)


@pytest.mark.parametrize("line", ["allow", "allow = none", "allow = ,", "allow = 10.0.0.0/8 ::/0"])
def test_a_wrong_list_of_networks_is_a_usage_error(line: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.conf"
    file.write_text(f"{line}\n")
    assert "write a network as 192.0.2.0/24" in usage_error("serve", "--port", "0", "--config", str(file))


def test_a_deny_list_of_ipv6_alone_on_a_dual_stack_listener_is_a_warning() -> None:
    with serve("--listen", "[::]:0", "--allow-root", "--deny", "::/0") as server:
        port = server.address.port
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            ping(client)
        with socket.create_connection(("::1", port), PATIENCE) as refused:
            assert refused.recv(1) == b""
        assert "the deny list names no IPv4 network: all IPv4 clients are admitted" in server.errors


def test_max_bytes_and_max_per_address_reach_the_server() -> None:
    with serve("--max-bytes", "10", "--max-per-address", "1") as server, server.connect() as client:
        client.sendall(b"0123456789abcdef")
        with server.connect() as second:
            assert read_to_end(second) == b""
        assert read_to_end(client) == b"0123456789"


def test_max_rate_and_connect_rate_reach_the_server() -> None:
    with serve("--max-rate", "100000", "--connect-rate", "1") as server, server.connect() as client:
        with server.connect() as second:
            assert read_to_end(second) == b""
        began = time.monotonic()
        client.sendall(b"x" * 60_000)
        client.shutdown(socket.SHUT_WR)
        assert len(read_to_end(client)) == 60_000
        assert time.monotonic() - began >= 0.4


def test_write_stall_ends_a_client_that_never_reads() -> None:
    with (
        serve("--write-stall", str(5 * UNIT)) as server,
        server.connect() as client,
        pytest.raises(ConnectionError),
    ):
        client.sendall(b"x" * (64 << 20))


@pytest.mark.skipif(shutil.which("ss") is None, reason="no ss to read the backlog")
def test_backlog_reaches_listen() -> None:
    with serve("--backlog", "7") as server:
        done = subprocess.run(
            ["ss", "-ltnH", f"sport = :{server.address.port}"], capture_output=True, text=True, check=True
        )
        assert done.stdout.split()[2] == "7"
