"""`geventecho serve`: listeners, failures, and output."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket as plain
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import COMMAND, command, environment, failed, usage_error
from tests.support.servers import capacity, ping, serve
from tests.support.timing import PATIENCE

# Listeners ------------------------------------------------------------------------------------------------------------


def test_connects_succeed_after_the_first_line() -> None:
    for _ in range(3):
        with serve() as server:
            assert server.target.startswith("tcp://127.0.0.1:")
            with plain.create_connection((server.address.host, server.address.port), PATIENCE) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"


def test_host_takes_a_name_or_an_address() -> None:
    with serve("--host", "localhost") as server:
        assert server.address.is_loopback
    with serve("--host", "::1") as server:
        assert server.target.startswith("tcp://[::1]:")
    with serve("--host", "[::1]") as server, server.connect() as client:
        ping(client)


@pytest.mark.parametrize("target", ["127.0.0.1:0", "tcp://[::1]:0", "tcp://localhost:0"])
def test_listen_takes_a_target(target: str) -> None:
    with serve("--listen", target) as server, server.connect() as client:
        ping(client)


@pytest.mark.parametrize("target", ["127.0.0.1:0", "tcp://[::1]:0", "localhost:0"])
def test_serve_takes_the_targets_of_send_and_ping(target: str) -> None:
    with serve(target) as server, server.connect() as client:
        assert server.address.is_loopback
        ping(client)


def test_serve_takes_a_unix_target(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with serve(f"unix:{path}", "--log-level", "info") as server, server.connect() as client:
        assert server.target == f"unix:{path}"
        ping(client)


def test_the_file_of_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with serve("--listen", f"unix:{path}") as server:
        assert server.target == f"unix:{path}"
        with server.connect() as client:
            ping(client)
        assert server.stop() == 0
        assert not path.exists()


def test_a_file_that_is_no_socket_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("keep me")
    done = command(["serve", "--listen", f"unix:{path}"])
    assert (done.returncode, done.stdout) == (1, b"")
    assert "a file that is no socket" in done.stderr.decode()
    assert path.read_text() == "keep me"


def test_a_misspelt_name_in_a_config_file_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "serve.ini"
    file.write_text("prot = 18092\n")
    done = command(["serve", "--config", str(file)])
    assert done.returncode == 2
    first = done.stderr.decode().splitlines()[0]
    assert first == f"geventecho serve: error: unrecognized arguments, here or in {file}: --prot=18092"


def test_serve_takes_an_inherited_listener() -> None:
    with plain.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        with serve("--listen", f"fd:{fd}", pass_fds=[fd]) as server, server.connect() as client:
            assert server.address.port == listener.getsockname()[1]
            ping(client)


def test_an_address_that_other_machines_reach_prints_one_warning() -> None:
    with serve("--host", "0.0.0.0", "--allow-root") as server:
        assert server.stop() == 0
        (line,) = server.errors.splitlines()
        assert "WARNING" in line
        assert f"{server.target} can be reached from other machines" in line


# Failures -------------------------------------------------------------------------------------------------------------


def fails(*arguments: str) -> str:
    """Run `geventecho serve`, which has to fail; returns its one line on standard error."""
    done = command(["serve", *arguments])
    assert done.stdout == b""
    return failed(done, "listen ")


def test_a_port_in_use_is_one_line_and_exit_code_1() -> None:
    with plain.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert fails("--port", str(port)) == (
            f"geventecho serve: listen tcp://127.0.0.1:{port}: "
            "another process has this address; stop it or choose another port"
        )


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("tcp://192.0.2.1:0", "this machine has no such address"),
        ("tcp://nonexistent.invalid:0", "the name cannot be resolved"),
        ("unix:/nonexistent/echo.sock", "the directory does not exist"),
        ("fd:99", "inherited no such descriptor"),
        ("fd:0", "not a socket"),
    ],
)
def test_an_unavailable_address_is_one_line_and_exit_code_1(target: str, why: str) -> None:
    error = fails("--listen", target)
    assert f"listen {target}: " in error
    assert why in error


def test_a_port_without_permission_is_one_line_and_exit_code_1() -> None:
    prefix: list[str] = []
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("any user may bind port 81 here")
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("no setpriv to drop the permission")
        capability = "-net_bind_service"
        prefix = ["setpriv", "--bounding-set", capability, "--inh-caps", capability]
    done = subprocess.run(
        [*prefix, *COMMAND, "serve", "--port", "81"], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("geventecho serve: listen tcp://127.0.0.1:81: no permission")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--port", "65536"], "whole number of 0 to 65535"),
        (["--port", "-1"], "whole number of 0 to 65535"),
        (["--port", "http"], "whole number of 0 to 65535"),
        (["--host", ""], "host is missing"),
        (["--host", "a b"], "a space"),
        (["--host", "127.0.0.1:80"], "--host"),
        (["--listen", "nonsense"], "the port is missing"),
        (["--listen", "http://127.0.0.1:80"], "'http://' is not known"),
        (["nonsense"], "the port is missing"),
        (["--listen", "127.0.0.1:0", "--port", "1"], "--host/--port and --listen both say where"),
        (["--listen", "127.0.0.1:0", "--host", "::1"], "--host/--port and --listen both say where"),
        (["127.0.0.1:0", "--port", "1"], "--host/--port and TARGET both say where"),
        (["--host", "::1", "127.0.0.1:0"], "--host/--port and TARGET both say where"),
        (["127.0.0.1:0", "--listen", "127.0.0.1:0"], "--listen and TARGET both say where"),
        (["tls://127.0.0.1:0"], "tls://127.0.0.1:0 needs --tls-cert FILE"),
        (["--max-connections", "-1"], "whole number of 0 or more"),
        (["--max-connections", "many"], "whole number"),
        (["--idle-timeout", "0"], "above 0"),
        (["--idle-timeout", "-1"], "number of seconds"),
        (["--idle-timeout", "nan"], "number of seconds"),
        (["--idle-timeout", "inf"], "number of seconds"),
        (["--first-byte-timeout", "0"], "above 0"),
        (["--lifetime", "0"], "above 0"),
        (["--write-stall", "x"], "number of seconds"),
        (["--drain-timeout", "-1"], "number of seconds"),
        (["--drain-idle", "soon"], "number of seconds"),
        (["--backlog", "0"], "whole number of 1 or more"),
        (["--max-bytes", "0"], "whole number of 1 or more"),
        (["--max-rate", "1.5"], "whole number of 1 or more"),
        (["--max-per-address", "0"], "whole number of 1 or more"),
        (["--connect-rate", "0"], "above 0"),
        (["--allow", "nonsense"], "192.0.2.0/24"),
        (["--deny", "192.0.2.0/33"], "192.0.2.0/24"),
        (["--log-level", "loud"], "invalid choice"),
        (["--log-format", "xml"], "invalid choice"),
        (["--config", "/nonexistent/file"], "/nonexistent/file"),
        (["127.0.0.1:0", "127.0.0.1:0"], "unrecognized arguments: 127.0.0.1:0"),
        (["--idle", "1"], "unrecognized arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_usage_error_says_why(arguments: list[str], why: str) -> None:
    assert why in usage_error("serve", *arguments)


def test_a_usage_error_of_a_process_prints_no_traceback() -> None:
    done = command(["serve", "--port", "http"])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr


# Output ---------------------------------------------------------------------------------------------------------------


def test_the_soft_limit_is_raised_and_the_capacity_printed() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = min(1024, hard)
    with serve(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))) as server:
        raised = f", raised from {soft}" if soft != hard else ""
        assert capacity(server) == f"capacity {hard - 64} connections (descriptor limit {hard}{raised})"
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3:5] == [str(hard), str(hard)]


def test_more_connections_than_descriptors_are_cut_down_with_a_warning() -> None:
    limit = (200, 200)
    with serve(
        "--max-connections", "1000", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    ) as server:
        assert capacity(server) == "capacity 136 connections (descriptor limit 200)"
        assert server.stop() == 0
        assert "--max-connections 1000 is more than the descriptor limit allows: 136 are used" in server.errors


def test_serve_writes_nothing_to_standard_error_by_default() -> None:
    with serve() as server:
        for _ in range(5):
            with server.connect() as client:
                ping(client)
        assert server.stop() == 0
        assert server.errors == ""
        assert len(server.lines) == 3


def test_debug_logs_each_connection_and_no_payload() -> None:
    with serve("--log-level", "debug", "--log-format", "json") as server:
        with server.connect() as client:
            ping(client, b"secret payload")
            port = client.getsockname()[1]
        assert server.stop() == 0
        found = [json.loads(line) for line in server.errors.splitlines()]
        messages = [line["message"] for line in found]
        assert f"tcp://127.0.0.1:{port} ended: peer" in messages
        assert any(message.startswith("listening on tcp://127.0.0.1:") for message in messages)
        assert any(message.startswith("stopped: ") for message in messages)
        assert "secret" not in server.errors
