"""`geventecho send`, `ping` and `load` through TLS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import peers
from tests.support.commands import command, run_here, usage_error
from tests.support.servers import Process, serve
from tests.support.tls import Files


@pytest.fixture(scope="module")
def server(pem: Files) -> Iterator[Process]:
    with serve(*pem.options) as process:
        yield process


def errors_of(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line on standard error."""
    text = done.stderr.decode()
    assert text.count("\n") == 1, text
    return text.strip()


def test_send_echoes_through_tls(server: Process, pem: Files) -> None:
    trusting = ("--tls-ca", str(pem.authority))
    done = run_here(["send", server.target, "hello", *trusting])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")
    payload = bytes(range(256)) * 8192
    done = run_here(["send", server.target, "--tls-server-name", "localhost", *trusting], given=payload)
    assert (done.returncode, done.stdout, done.stderr) == (0, payload, b"")
    done = run_here(["send", server.target, "hello"], names={"GEVENTECHO_SEND_TLS_CA": str(pem.authority)})
    assert (done.returncode, done.stdout) == (0, b"hello")


def test_send_warns_that_insecure_checks_no_certificate(server: Process) -> None:
    done = run_here(["send", server.target, "hello", "--tls-insecure"])
    assert (done.returncode, done.stdout) == (0, b"hello")
    assert "warning: --tls-insecure: the server's certificate is not checked: anybody on the path" in errors_of(done)


def test_send_names_a_failure_of_tls(server: Process, pem: Files) -> None:
    done = run_here(["send", server.target, "hello"])
    assert done.returncode == 1
    assert "no trusted authority has signed its certificate" in errors_of(done)
    with peers.echoes() as plain:
        done = run_here(["send", f"tls://127.0.0.1:{plain.port}", "hello", "--tls-ca", str(pem.authority)])
    assert done.returncode == 1
    assert "it is a plain echo server; use tcp://" in errors_of(done)


def test_ping_echoes_through_tls_and_names_its_losses(server: Process, pem: Files) -> None:
    options = ("-c", "3", "-i", "0.01", "--json", "--tls-resume")
    done = run_here(["ping", server.target, *options, "--tls-ca", str(pem.authority)])
    assert done.returncode == 0
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["echo", "echo", "echo", "summary"]
    done = run_here(["ping", server.target, *options, "--tls-ca", str(pem.authority), "--tls-server-name", "other"])
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["losses"] == {"wrong host name": 3}


def test_load_passes_the_tls_options_to_the_load_test(server: Process, pem: Files) -> None:
    options = ["--users", "2", "--time", "1s", "--rate", "20", "--tls-ca", str(pem.authority), "--tls-resume"]
    done = command(["load", server.target, *options])
    assert done.returncode == 0, done.stderr.decode()
    assert "TCP tls: 2 ok, 0 failed" in (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("name", ["send", "ping", "load"])
@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("tls://127.0.0.1:1", ["--tls-ca", "/no"], "--tls-ca: the file /no cannot be read: No such file or directory"),
        ("tls://127.0.0.1:1", ["--tls-key", "/no"], "--tls-key is the key of a certificate: give --tls-cert, too"),
        ("tls://127.0.0.1:1", ["--tls-alpn", ","], "--tls-alpn: ',' is not a list of protocol names"),
        ("127.0.0.1:1", ["--tls-resume"], "--tls-resume: tcp://127.0.0.1:1 has no TLS; write tls://host:port"),
    ],
)
def test_a_wrong_tls_option_is_a_usage_error(name: str, target: str, options: list[str], message: str) -> None:
    assert message in usage_error(name, target, *options)
