"""Both ends of whole runs (--tcp-account): the test and the server count the same."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.loadtest.test_results import keys_of
from tests.support import ROOT, peers
from tests.support.echo_with_metrics import EchoWithMetrics, page
from tests.support.locust_process import ECHO_USER, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE

ZERO = dict.fromkeys(("accepted", "bytes_received", "bytes_sent", "bytes_discarded", "bytes_lost", "open"), 0)
PAGE = page(ZERO)


def check(found: dict[str, Any], counters: dict[str, Any]) -> None:
    """Check that both ends agree, and that the account has the counters of the server itself."""
    assert (found["findings"], found["unknown"]) == ([], ""), found
    client, server = found["client"], found["server"]
    assert server == {name: counters[name] for name in ZERO}
    assert client["connections"] <= server["accepted"] <= client["connections"] + client["given_up"]
    assert client["bytes_received"] <= server["bytes_sent"] <= server["bytes_received"] <= client["bytes_sent"]
    assert len(found["statements"]) == 4
    assert not any("!=" in statement for statement in found["statements"])


@pytest.mark.parametrize(
    ("options", "counter"),
    [
        pytest.param({"payload_size": "4000000"}, "ended_reset", id="aborted on both ways"),
        pytest.param({"user": "send"}, "ended_peer", id="no replies"),
        pytest.param({"limits": {"max_connections": 2}}, "refused_full", id="refused"),
        pytest.param({"tls_insecure": True}, "ended_peer", id="TLS"),
        pytest.param({"user": "hurry"}, "ended_peer", id="timeouts", marks=pytest.mark.long),
        pytest.param({"limits": {"max_bytes": 2500}}, "ended_bytes", id="limited", marks=pytest.mark.long),
        pytest.param(
            {"limits": {"proxy_protocol_from": ["127.0.0.0/8"]}, "proxy_protocol": "v2"}, "accepted", id="proxied",
            marks=pytest.mark.long,
        ),
    ],
)  # fmt: skip
def test_the_test_and_the_server_count_the_same(options: dict[str, Any], counter: str) -> None:
    found = run_script("server_account.account", **options)
    check(found, found["counters"])
    assert found["client"]["bytes_sent"] > 10_000
    assert found["counters"][counter] > 0, "the case occurs"


def test_each_test_has_an_account_of_its_own() -> None:
    first, second = run_script("server_account.two_tests")
    assert (first["findings"], second["findings"]) == ([], [])
    assert (first["server"]["accepted"], second["server"]["accepted"]) == (2, 3)


def test_a_connect_that_timed_out_or_was_aborted_is_given_up_and_a_refused_one_is_not() -> None:
    assert run_script("server_account.given_up") == [2, 1, 1, 0]


# Differences ------------------------------------------------------------------------------------------------------


def test_another_client_is_a_difference_and_a_possible_cause() -> None:
    found = run_script("server_account.with_event", "another client", read_timeout=0.5)
    account, verdict = found["server_account"], found["verdict"]
    sent, connections = account["client"]["bytes_sent"], account["client"]["connections"]
    assert account["findings"][-1].startswith("possible causes: other clients of the server")
    assert {
        f"the test sent {sent} bytes, and the server received {sent + 77}: 77 more",
        f"the test made {connections} connections, and the server accepted {connections + 1}: 1 more",
        "the server has 1 more open connections than at the start",
    } <= set(account["findings"])
    assert verdict["status"] == "unbalanced"
    assert verdict["reasons"][: len(account["findings"])] == account["findings"]
    assert 0.5 <= found["seconds"] < 5 * SCALE, "the page may be old: it is read again until the timeout"


def test_a_client_that_disconnects_is_no_difference() -> None:
    found = run_script("server_account.with_event", "a client that goes", read_timeout=30.0)
    assert found["server_account"]["findings"] == []
    assert found["server_account"]["server"]["open"] == -1
    assert found["seconds"] < 10 * SCALE


def test_counters_that_decrease_are_a_restart() -> None:
    found = run_script("server_account.with_event", "a restart")
    (finding,) = found["server_account"]["findings"]
    counts = "1 connections and 6 bytes at the start, 0 connections and 0 bytes at the end"
    assert f"{counts}; the server was restarted" in finding
    assert found["verdict"]["reasons"][0] == finding


# Unknown accounts -------------------------------------------------------------------------------------------------


def test_metrics_that_end_before_the_test_leave_the_account_unknown() -> None:
    found = run_script("server_account.with_event", "no metrics any more")
    assert found["server_account"]["unknown"] == "at the end: Connection refused"
    assert found["server_account"]["findings"] == []
    assert found["verdict"]["status"] != "unbalanced"


def test_the_loss_of_a_worker_leaves_the_account_unknown() -> None:
    unknown, read = run_script("server_account.without_a_worker")
    assert (unknown, read) == ("a worker was lost with a part of the test's own counts", 1)


def test_metrics_that_cannot_be_read_cause_one_warning_and_the_test_runs() -> None:
    found = run_script("server_account.unreadable", "http://127.0.0.1:1/metrics")
    (warning,) = found["warnings"]
    assert warning == (
        "--tcp-account: http://127.0.0.1:1/metrics: Connection refused. The test runs without the server's account. "
        "`geventecho serve --metrics` prints the URL"
    )
    account = found["account"]
    assert account["unknown"] == "at the start: Connection refused"
    assert (account["client"], account["server"], account["statements"], account["findings"]) == (None, None, [], [])
    assert found["status"] != "unbalanced"
    assert found["ok"] > 10


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


UNREADABLE = {
    http(b"<html>It works</html>\n"): "the page has no geventecho_connections_accepted_total; ",
    http(PAGE.replace(b"bytes_lost", b"bytes_host")): "the page has no geventecho_bytes_lost_total; ",
    http(PAGE.replace(b"sent_total 0.0", b"sent_total NaN")): "a counter of the page is not a whole number",
    http(PAGE.replace(b"sent_total 0.0", b"sent_total -1")): "a counter of the page is not a whole number",
    http(PAGE.replace(b"sent_total 0.0", b"sent_total \x1b[2J")): "a counter of the page is not a whole number",
    http(PAGE[:-3]): "the page is cut off",
    http(PAGE, "404 Not Found"): "the answer has the status 404",
    http(PAGE, "302 Found"): "the answer has the status 302",
    http(PAGE + b"x" * (1 << 20) + b"\n"): "the page has more than 1048576 bytes",
    b"220 mail.example ESMTP\r\n": "the answer is not HTTP (BadStatusLine)",
    b"": "Remote end closed connection without response",
}


def test_each_answer_without_a_page_of_counters_has_a_reason() -> None:
    answers = iter((http(PAGE), *UNREADABLE))

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(next(answers))

    with peers.Peer(serve) as peer:
        urls = [f"http://127.0.0.1:{peer.port}/m"] * (1 + len(UNREADABLE))
        readable, *unreadable = run_script("server_account.reasons", urls, 10)
    assert readable == ""
    reasons = list(UNREADABLE.values())
    assert [text[: len(reason)] for text, reason in zip(unreadable, reasons, strict=True)] == reasons


def test_undelivered_bytes_do_not_count_as_sent_and_the_start_time_is_read() -> None:
    more = b"geventecho_bytes_undelivered_total 30.0\ngeventecho_start_time_seconds 1.8e+09\n"
    counters, started = run_script("server_account.counters", (page(ZERO | {"bytes_sent": 100}) + more).decode())
    assert (counters["bytes_sent"], started) == (70, 1.8e9)


def test_the_reading_of_a_slow_or_silent_server_ends_at_its_timeout() -> None:
    pauses = iter((0.05, 0.0))

    def serve(connection: socket.socket) -> None:
        pause = next(pauses)
        connection.recv(65536)
        for byte in http(PAGE) if pause else b"":
            time.sleep(pause)
            connection.sendall(bytes([byte]))
        connection.recv(1)

    with peers.Peer(serve) as peer:
        url = f"http://127.0.0.1:{peer.port}/metrics"
        assert run_script("server_account.reasons", [url, url], 0.3) == ["no answer within 0.3 s"] * 2


# The command line -------------------------------------------------------------------------------------------------


def test_two_workers_agree_with_metrics_that_are_a_second_old(tmp_path: Path) -> None:
    result, html, xml = (tmp_path / name for name in ("result.json", "report.html", "junit.xml"))
    with EchoWithMetrics(age=1.0) as server:
        options = ("--headless", "--processes", "2", "-u", "6", "-r", "6", "-t", "2", "--tcp-think-time", "0.05")
        files = ("--tcp-json", str(result), "--tcp-report", str(html), "--tcp-junit", str(xml))
        with LocustRun(
            tmp_path, *options, *files, "--host", server.target, "--tcp-account", server.url.removesuffix("/metrics"),
            locustfile=ECHO_USER,
        ) as run:  # fmt: skip
            assert run.wait() == 0, run.log
    asked = server.found.pop("asked")
    made = json.loads(result.read_text())
    check(made["server_account"], server.found)
    assert made["server_account"]["url"] == made["command"]["account"] == server.url
    assert (asked[0], set(asked[1:])) == (0, {6}), "one reading at the start, the others at the end"
    documented = (ROOT / "docs" / "reference" / "result-schema.md").read_text()
    for place in keys_of(made["server_account"], "server_account"):
        assert f"`{place}`" in documented
    for statement in made["server_account"]["statements"]:
        assert statement in " ".join(run.log.split())
        assert statement in html.read_text()
        assert statement in " ".join(xml.read_text().split())


@pytest.mark.long
def test_a_slow_reading_of_the_start_does_not_change_the_length_of_the_run(tmp_path: Path) -> None:
    with socket.socket() as silent, EchoWithMetrics() as server:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        options = ("--headless", "-u", "2", "-r", "2", "-t", "1", "--host", server.target, "--tcp-account", url)
        with LocustRun(tmp_path, *options, "--tcp-fail-on-verdict", locustfile=ECHO_USER) as run:
            assert run.wait() == 5, run.log
    assert "measured for 1.0 s" in run.log
    assert run.log.count(f"--tcp-account: http://{url}/metrics: no answer within 3 s. The test runs") == 1
    assert "unknown: at the start: no answer within 3 s" in run.log
    assert "verdict: unbalanced" not in run.log


def test_an_address_that_cannot_be_parsed_ends_with_2() -> None:
    code, printed = run_script("web.exit_of", "--tcp-account=ftp://127.0.0.1:21")
    assert code == 2
    assert "argument --tcp-account: 'ftp://127.0.0.1:21' is not the address of a metrics page" in printed
