"""`geventecho serve --tls-cert`: files, SIGHUP, and the clients of OpenSSL and Node."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run_here, usage_error
from tests.support.servers import Process, ping, read_to_end, serve, time_until_refused
from tests.support.timing import PATIENCE, wait_until
from tests.support.tls import AUTHORITY, STRANGER, TLS12, Files, client_context, files, secured

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
OTHER_KEY = STRANGER.issue_cert("x").private_key_pem.bytes()
BROKEN = b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node")


@pytest.fixture
def pem(tmp_path: Path) -> Files:
    return files(tmp_path)


@pytest.fixture
def server(pem: Files) -> Iterator[Process]:
    with serve(*pem.options) as process:
        yield process


def connected(server: Process, context: Any = None) -> Any:
    return secured(server.connect(), context)


# Clients of OpenSSL and Node ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def s_client(server: Process, pem: Files, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    address = server.address
    arguments = ["-connect", f"{address.host}:{address.port}", "-CAfile", str(pem.authority), "-verify_return_error"]
    with subprocess.Popen(
        ["openssl", "s_client", *arguments, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_s_client_gets_its_bytes_back_and_ends_in_order(server: Process, pem: Files, version: str) -> None:
    assert server.target.startswith("tls://127.0.0.1:")
    data = os.urandom(100_000).hex().encode()  # s_client takes a capital at the start of a read for a command
    with s_client(server, pem, version, "-quiet", "-no_ign_eof") as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(data)
        client.stdin.flush()
        came = b""
        while not came.endswith(data[-100:]):
            came += os.read(client.stdout.fileno(), 65536)
        assert came.endswith(data)
        client.stdin.close()  # it sends its close_notify
        assert client.wait(PATIENCE) == 0
    assert server.stop_and_count()["ended_peer"] == 1


@needs_openssl
def test_a_key_update_does_not_disturb_the_stream(server: Process, pem: Files) -> None:
    """KeyUpdate (RFC 8446, 4.6.3), with a request for an answer and without."""
    with s_client(server, pem, "-tls1_3") as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line in (b"one\n", b"K\n", b"two\n", b"k\n", b"three\n"):
            client.stdin.write(line)
            client.stdin.flush()
            while client.stdout.readline() != (line if len(line) > 2 else b"KEYUPDATE\n"):
                pass


@needs_openssl
def test_the_version_the_certificate_and_the_protocol_of_a_client_are_checked(pem: Files, tmp_path: Path) -> None:
    options = ("--tls13-only", "--tls-client-ca", str(pem.authority), "--alpn", "echo/2,echo/1")
    certificate = AUTHORITY.issue_cert("somebody")
    own = Files(tmp_path / "client.pem", tmp_path / "client-key.pem", pem.authority)
    own.write(certificate)
    with serve(*pem.options, *options) as server:
        shown = ("-cert", str(own.certificate), "-key", str(own.key), "-alpn", "h2,echo/1")
        with s_client(server, pem, *shown) as client:
            out, _ = client.communicate(b"Q\n", PATIENCE)
        assert b"ALPN protocol: echo/1" in out
        assert b"Protocol: TLSv1.3" in out or b"TLSv1.3, Cipher" in out
        for wrong, reason in ((("-tls1_2",), b"protocol version"), (("-alpn", "echo/1"), b"certificate required")):
            with s_client(server, pem, *wrong) as client:
                assert client.stdout is not None
                assert reason in client.stdout.read()
        found = server.stop_and_count()
    assert (found["handshake_version"], found["handshake_no_certificate"]) == (1, 1)


def test_ciphers_without_authentication_are_refused(server: Process) -> None:
    context = client_context(TLS12)
    context.set_ciphers("ECDHE+AES:!AESGCM:!AESCCM")
    with pytest.raises(OSError, match="HANDSHAKE_FAILURE"):
        connected(server, context)
    assert server.stop_and_count()["handshake_cipher"] == 1


@pytest.mark.parametrize(("offered", "chosen"), [("h2,echo/1", True), ("h2,smtp", False)])
def test_send_says_that_no_protocol_was_chosen(pem: Files, offered: str, chosen: bool) -> None:
    """Python's ssl module sends no alert for it."""
    with serve(*pem.options, "--alpn", "echo/1,echo/2") as server:
        done = run_here(["send", server.target, "hello", "--tls-ca", str(pem.authority), "--tls-alpn", offered])
    warning = f"geventecho send: warning: --tls-alpn: the server chose none of {offered}\n"
    assert done.stderr.decode().startswith("" if chosen else warning)
    assert (done.stderr == b"") is chosen


@needs_node
def test_node_gets_its_bytes_back(server: Process, pem: Files) -> None:
    program = """
        const [port, ca] = process.argv.slice(1), crypto = require('crypto');
        const data = crypto.randomBytes(3000000), came = [];
        const socket = require('tls').connect(
            {port, host: '127.0.0.1', servername: 'localhost', ca: require('fs').readFileSync(ca)});
        socket.on('data', (chunk) => came.push(chunk));
        socket.on('end', () => console.log(Buffer.concat(came).equals(data)));
        socket.end(data);
    """
    done = subprocess.run(
        ["node", "-e", program, str(server.address.port), str(pem.authority)],
        capture_output=True, timeout=6 * PATIENCE, check=False, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("true\n", "")
    assert server.stop_and_count()["ended_peer"] == 1


# SIGHUP ---------------------------------------------------------------------------------------------------------------


def serial(client: Any) -> str:
    return str(client.getpeercert()["serialNumber"])


def test_sighup_reads_the_files_anew_and_a_broken_file_keeps_the_old_ones(server: Process, pem: Files) -> None:
    with connected(server) as old:
        first = serial(old)
        for number in range(2):
            pem.write(AUTHORITY.issue_cert("localhost"))
            server.signal(signal.SIGHUP)
            wait_until(lambda number=number: sum("reloaded" in line for line in server.lines) == number + 1)  # type: ignore[misc]
            with connected(server) as new:
                second = serial(new)
                assert second != first
                ping(new)
        pem.key.write_text("nonsense")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "not reloaded" in server.errors)
        with connected(server) as new:
            assert serial(new) == second
        ping(old)
    assert len(server.errors.splitlines()) == 1
    assert f"the old ones stay in use: --tls-key: there is no private key in {pem.key}" in server.errors
    assert "ended_handshake" not in server.stop_and_count()


def test_each_sighup_that_fails_is_answered(server: Process, pem: Files) -> None:
    """The log filter, which passes one line of a kind in a second, holds none of these lines back."""
    pem.key.write_text("nonsense")
    for number in range(3):
        server.signal(signal.SIGHUP)
        wait_until(lambda number=number: server.errors.count("not reloaded") == number + 1, 0.9)  # type: ignore[misc]


def test_sighup_after_sigterm_has_no_effect(server: Process) -> None:
    with connected(server) as client:
        ping(client)
        server.signal()
        time_until_refused(server.address)
        server.signal(signal.SIGHUP)
        assert read_to_end(client) == b""
    assert server.wait() == 0
    assert not any("anew" in line for line in server.lines)


# Options --------------------------------------------------------------------------------------------------------------


def test_a_tls_target_is_served(pem: Files) -> None:
    with serve("tls://127.0.0.1:0", *pem.options) as server, connected(server, client_context(TLS12)) as client:
        ping(client)


def test_the_handshake_timeout_reaches_the_server(pem: Files) -> None:
    with serve(*pem.options, "--tls-handshake-timeout", "0.3") as server, server.connect() as client:
        assert read_to_end(client) == b""
        client.close()
        assert server.stop_and_count()["handshake_timeout"] == 1


def replaced(pem: Files, **change: object) -> list[str]:
    """The options, after files were replaced, or removed for None."""
    pem.key.chmod(0o600)
    for name, content in change.items():
        path: Path = getattr(pem, name)
        path.unlink()
        if isinstance(content, bytes):
            path.write_bytes(content)
            path.chmod(0o600)
    return [*pem.options]


def encrypted() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"certificate": None}, "--tls-cert: the file {certificate} cannot be read: No such file or directory"),
        ({"key": None}, "--tls-key: the file {key} cannot be read: No such file or directory"),
        ({"certificate": b"junk"}, "--tls-cert: there is no certificate in {certificate}; it must be a PEM file"),
        ({"key": b""}, "--tls-key: there is no private key in {key}; it must be a PEM file"),
        ({"key": OTHER_KEY}, "--tls-key: {key} is not the key of the certificate in {certificate}"),
        ({"key": encrypted()}, "--tls-key: {key} is encrypted; decrypt it with: openssl pkey -in KEY -out NEW"),
        ({"certificate": BROKEN}, "--tls-cert {certificate} and --tls-key {key} cannot be used: "),
    ],
)
def test_a_file_that_cannot_be_used_is_named(pem: Files, change: dict[str, object], reason: str) -> None:
    error = usage_error("serve", "--port", "0", *replaced(pem, **change))
    assert error.startswith(reason.format(certificate=pem.certificate, key=pem.key))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_use_is_refused(pem: Files, mode: int) -> None:
    pem.key.chmod(mode)
    error = usage_error("serve", "--port", "0", *pem.options)
    assert error == f"--tls-key: other users may use {pem.key} (mode {mode:o}); run: chmod 600 {pem.key}"


def test_a_client_authority_that_cannot_be_used_is_a_usage_error(pem: Files) -> None:
    for authority, reason in (("/nonexistent", "cannot be read"), (str(pem.key), "there is no certificate in")):
        assert reason in usage_error("serve", "--port", "0", *pem.options, "--tls-client-ca", authority)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--tls-cert", "x"], "--tls-cert needs --tls-key FILE"),
        (["--tls-key", "x"], "--tls-key needs --tls-cert FILE"),
        (["--tls-client-ca", "x"], "--tls-client-ca needs --tls-cert FILE"),
        (["--tls13-only"], "--tls13-only needs --tls-cert FILE"),
        (["--alpn", "echo/1"], "--alpn needs --tls-cert FILE"),
        (["--alpn", "a,,b"], "argument --alpn: 'a,,b' is not a list of protocol names; write it like echo/1,echo/2"),
        (["--tls-handshake-timeout", "0"], "argument --tls-handshake-timeout: it must be above 0 seconds"),
    ],
)
def test_a_wrong_tls_option_is_a_usage_error(options: list[str], reason: str) -> None:
    assert usage_error("serve", "--port", "0", *options) == reason


def test_the_ssl_module_is_imported_only_for_tls() -> None:
    code = "import sys, geventecho.cli.commands, geventecho.server; sys.exit('ssl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
