"""Load tests through TLS: the rows, the account, the notes, the failures, and the options that are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.real_servers import HAProxy
from tests.support.servers import Process, serve
from tests.support.starttls import smtp
from tests.support.timing import figure
from tests.support.tls import CERTIFICATE, Files

NOTE = "The arrival time of a TLS reply is the time of its reading"


@pytest.fixture(scope="module")
def server(pem: Files) -> Iterator[Process]:
    with serve(*pem.options) as process:
        yield process


def headless(
    directory: Path, target: str, *options: str, code: int = 0, **more: Any
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Run four users for two seconds; returns the result, its rows by name, and the log."""
    path = directory / "result.json"
    quick = ["--headless", "-u", "4", "-r", "4", "-t", "2", "--tcp-think-time", "0.05", "--tcp-json", str(path)]
    with LocustRun(directory, *quick, "--host", target, *options, **more) as run:
        assert run.wait() == code, run.log
        log = run.log
    assert "Traceback" not in log, log
    result: dict[str, Any] = json.loads(path.read_text())
    account = result["account"]
    assert account["started"] == account["ok"] + account["failed"] + account["aborted"], account
    return result, {row["name"]: row for row in result["rows"] if row["type"] == "TCP"}, log


def test_connect_handshake_and_echo_are_rows(server: Process, pem: Files, tmp_path: Path) -> None:
    result, rows, log = headless(tmp_path, server.target, "--tcp-tls-ca", str(pem.authority), "--tcp-tls-resume")
    assert (rows["connect"]["ok"], rows["tls"]["ok"]) == (4, 4)
    assert rows["echo"]["ok"] > 20
    assert rows["echo"]["failed"] == 0
    assert rows["echo"]["read_delay_us"] is None
    assert rows["echo"]["service_us"]["p50"] is not None
    assert rows["tls"]["bytes_sent"] == rows["tls"]["bytes_received"] == 0
    assert rows["echo"]["bytes_sent"] % 1024 == 0
    assert [note for note in result["notes"] if note.startswith(NOTE)]
    assert NOTE in log
    assert "insecure" not in log


def test_two_processes_warn_of_insecure_users_in_one_line(server: Process, tmp_path: Path) -> None:
    _, rows, log = headless(tmp_path, server.target, "--tcp-tls-insecure", "--processes", "2")
    assert (rows["connect"]["ok"], rows["tls"]["ok"]) == (4, 4)
    assert rows["echo"]["ok"] > 20
    assert log.count("anybody on the path can read and change the data") == 1


def test_a_failed_handshake_is_a_failure_of_its_row(server: Process, tmp_path: Path) -> None:
    result, rows, log = headless(tmp_path, server.target, code=1)
    assert rows["connect"]["ok"] >= 4
    assert rows["tls"]["failed"] >= 4
    assert "echo" not in rows
    found = {(failure["name"], failure["kind"]): failure["sample"] for failure in result["failures"]}
    assert list(found) == [("tls", "unknown authority")]
    assert "see ca (--tls-ca)" in found["tls", "unknown authority"]
    assert "no answer came from" in log


def test_users_can_start_tls_after_the_connect(pem: Files, tmp_path: Path) -> None:
    with peers.Peer(smtp) as peer:
        result, rows, _ = headless(
            tmp_path, peer.target, locustfile=LOCUSTFILES / "starttls.py", extra={"AUTHORITY": str(pem.authority)}
        )
    assert [rows[name]["ok"] for name in ("connect", "greeting", "login", "tls")] == [4, 4, 4, 4]
    assert rows["noop"]["ok"] > 20
    assert rows["noop"]["read_delay_us"] is None
    assert [note for note in result["notes"] if note.startswith(NOTE)]


def test_each_option_sets_its_field(pem: Files) -> None:
    files = {"ca": str(pem.authority), "cert": str(pem.certificate), "key": str(pem.key)}
    options = files | {"server_name": "echo.example", "alpn": "echo/1,echo/2"}
    given = [f"--tcp-tls-{name.replace('_', '-')}={value}" for name, value in options.items()]
    found = run_script("settings.tls_of", *given, "--tcp-tls-resume")
    assert found == options | {"alpn": ["echo/1", "echo/2"], "insecure": False, "resume": True}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ca": "/no"}, "--tcp-tls-ca: the file /no cannot be read: No such file or directory"),
        ({"key": "/no"}, "--tcp-tls-key is the key of a certificate: give --tcp-tls-cert, too"),
        ({"cert": "/no"}, "--tcp-tls-cert: the file /no cannot be read: No such file or directory"),
        (
            {"insecure": True, "ca": "/no"},
            "--tcp-tls-insecure checks no certificate: --tcp-tls-ca would have no effect",
        ),
        ({"alpn": "a,,b"}, "--tcp-tls-alpn: 'a,,b' is not a list of protocol names; write it like echo/1,echo/2"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    assert run_script("settings.refusal", {f"tcp_tls_{name}": value for name, value in options.items()}) == message


@pytest.mark.long
@pytest.mark.parametrize("ends_tls", [False, True], ids=["passed through", "ended by HAProxy"])
def test_tls_works_through_haproxy(server: Process, pem: Files, tmp_path: Path, ends_tls: bool) -> None:
    both = tmp_path / "both.pem"
    CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(str(both))
    with serve() as plain:
        address = (plain if ends_tls else server).address
        haproxy = HAProxy(
            tmp_path, f"server one {address.host}:{address.port} no-check", tls=f"ssl crt {both}" if ends_tls else ""
        )
        with haproxy.running():
            _, rows, _ = headless(tmp_path, f"tls://127.0.0.1:{haproxy.port}", "--tcp-tls-ca", str(pem.authority))
            assert int(haproxy.figures("one")["stot"]) >= 4
    assert (rows["connect"]["ok"], rows["tls"]["ok"]) == (4, 4)
    assert rows["echo"]["ok"] > 20
    assert rows["echo"]["failed"] == 0


@pytest.mark.long
def test_two_hundred_handshakes_in_a_second_succeed(server: Process, pem: Files, tmp_path: Path) -> None:
    many = ("-u", "200", "-r", "200", "-t", "4", "--tcp-think-time", "0.5")
    _, rows, _ = headless(tmp_path, server.target, "--tcp-tls-ca", str(pem.authority), *many)
    assert (rows["connect"]["ok"], rows["tls"]["ok"]) == (200, 200)
    assert rows["connect"]["failed"] == rows["tls"]["failed"] == rows["echo"]["failed"] == 0
    figure("p50 of a handshake among 200 in a second, us", rows["tls"]["response_us"]["p50"])


@pytest.mark.long
def test_a_missing_client_certificate_is_a_failure_of_its_own(pem: Files, tmp_path: Path) -> None:
    """The server refuses in TLS 1.3 after the client has completed its handshake, in TLS 1.2 during the handshake."""
    with serve(*pem.options, "--tls-client-ca", str(pem.authority)) as server:
        result, _, _ = headless(tmp_path, server.target, "--tcp-tls-ca", str(pem.authority), code=1)
        assert server.stop_and_count()["handshake_no_certificate"] >= 4
    assert {failure["kind"] for failure in result["failures"]} == {"certificate required"}


@pytest.mark.long
def test_a_wrong_file_ends_the_command_at_once(tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--headless", "--host", "tls://127.0.0.1:1", "--tcp-tls-ca=/no") as run:
        assert run.wait() == 2
        assert run.log.count("\n") <= 2, run.log
        assert "error: --tcp-tls-ca: the file /no cannot be read: No such file or directory" in run.log
