"""The account of both ends: its equations, its findings, and the outputs that show them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import astuple, replace
from typing import Any

import pytest

from geventecho.results import (
    ClientEnd,
    Collection,
    Result,
    ServerAccount,
    ServerEnd,
    as_json,
    compare_ends,
    junit_xml,
    report,
    table,
)
from tests.results.samples import FACTS, START, block, collect, health, result

URL = "http://127.0.0.1:9100/metrics"
TEST = ClientEnd(connections=10, given_up=0, bytes_sent=1000, bytes_received=1000, bytes_under_way=0)
BEFORE = ServerEnd(accepted=7, bytes_received=500, bytes_sent=300, bytes_discarded=150, bytes_lost=50, open=2)
SERVER = ServerEnd(accepted=10, bytes_received=1000, bytes_sent=1000, bytes_discarded=0, bytes_lost=0, open=0)


def compared(test: ClientEnd = TEST, **changes: int) -> ServerAccount:
    """The account with counters that grew by `SERVER` with these changes."""
    grown = astuple(replace(SERVER, **changes))
    after = ServerEnd(*(one + other for one, other in zip(astuple(BEFORE), grown, strict=True)))
    return compare_ends(URL, test, BEFORE, after)


def test_both_ends_agree() -> None:
    account = compared()
    assert account.server == SERVER
    assert account.statements == (
        "bytes sent 1000 = received by the server 1000",
        "bytes received by the server 1000 = echoed 1000 + discarded 0 + lost 0",
        "bytes received 1000 = sent by the server 1000",
        "connections made 10 = accepted by the server 10",
    )
    assert (account.findings, account.unknown) == ((), "")


@pytest.mark.parametrize(
    ("test", "server", "statements"),
    [
        (
            {"bytes_received": 400, "bytes_under_way": 600},
            {},
            ["bytes received 400 + under way 600 = sent by the server 1000"],
        ),
        (
            {"bytes_sent": 1600, "bytes_under_way": 600},
            {},
            ["bytes sent 1600 - under way 600 = received by the server 1000"],
        ),
        (
            {"bytes_sent": 1300, "bytes_received": 700, "bytes_under_way": 600},
            {},
            [
                "bytes sent 1300 - under way 300 = received by the server 1000",
                "bytes received 700 + under way 300 = sent by the server 1000",
            ],
        ),
        (
            {"bytes_received": 900},
            {"bytes_sent": 900, "bytes_discarded": 40, "bytes_lost": 60},
            [
                "bytes received by the server 1000 = echoed 900 + discarded 40 + lost 60",
                "bytes received 900 = sent by the server 900",
            ],
        ),
        ({"given_up": 2}, {"accepted": 11}, ["connections made 10 + given up 1 = accepted by the server 11"]),
        ({}, {"open": -2}, []),
    ],
)  # fmt: skip
def test_bytes_and_connects_that_the_test_cut_off_are_no_difference(
    test: dict[str, int], server: dict[str, int], statements: list[str]
) -> None:
    account = compared(replace(TEST, **test), **server)
    assert account.findings == ()
    assert set(statements) <= set(account.statements)
    assert not any("!=" in statement for statement in account.statements)


@pytest.mark.parametrize(
    ("test", "server", "finding"),
    [
        ({"bytes_sent": 999}, {}, "the test sent 999 bytes, and the server received 1000: 1 more"),
        ({"bytes_sent": 1001}, {}, "the test sent 1001 bytes, and the server received 1000: 1 fewer"),
        ({"bytes_received": 999}, {}, "the test received 999 bytes, and the server sent 1000: 1 more"),
        ({"bytes_received": 1001}, {}, "the test received 1001 bytes, and the server sent 1000: 1 fewer"),
        (
            {},
            {"bytes_received": 1003, "bytes_sent": 1001, "bytes_lost": 1},
            "the server received 1003 bytes, but echoed 1001 + discarded 0 + lost 1: 1 fewer",
        ),
        # More than the test cut off.
        (
            {"bytes_received": 400, "bytes_under_way": 599},
            {},
            "the test received 400 bytes, and the server sent 1000: 600 more",
        ),
        (
            {"bytes_sent": 1300, "bytes_received": 600, "bytes_under_way": 600},
            {},
            "the test sent 1300 bytes, and the server received 1000: 300 fewer",
        ),
        ({"bytes_sent": 9, "bytes_under_way": 9}, {}, "the test sent 9 bytes, and the server received 1000: 991 more"),
        ({}, {"accepted": 11}, "the test made 10 connections, and the server accepted 11: 1 more"),
        ({"given_up": 2}, {"accepted": 13}, "the test made 10 connections, and the server accepted 13: 3 more"),
        ({"given_up": 2}, {"accepted": 9}, "the test made 10 connections, and the server accepted 9: 1 fewer"),
        ({}, {"open": 1}, "the server has 1 more open connections than at the start"),
    ],
)  # fmt: skip
def test_a_difference_is_a_finding_with_both_numbers_and_causes(
    test: dict[str, int], server: dict[str, int], finding: str
) -> None:
    account = compared(replace(TEST, **test), **server)
    assert finding in account.findings
    assert "other clients of the server" in account.findings[-1]
    assert any("!=" in statement for statement in account.statements) is ("open" not in server)


@pytest.mark.parametrize("name", ["accepted", "bytes_received"])
def test_counters_that_went_backwards_are_a_finding(name: str) -> None:
    account = compare_ends(URL, TEST, BEFORE, replace(BEFORE, **{name: 3}))
    (finding,) = account.findings
    assert "decreased or were reset" in finding
    assert "restarted" in finding
    assert "7 connections and 500 bytes at the start" in finding
    assert f"{3 if name == 'accepted' else 7} connections and {500 if name == 'accepted' else 3} bytes" in finding
    assert (account.unknown, account.statements, account.server) == (finding, (), None)


def test_a_restart_that_the_server_reports_is_a_finding() -> None:
    (finding,) = compare_ends(URL, TEST, BEFORE, replace(BEFORE, accepted=99), is_restarted=True).findings
    assert "7 connections and 500 bytes at the start, 99 connections and 500 bytes at the end" in finding


def run_with(account: ServerAccount | None, **facts: Any) -> Result:
    """The result of a good run."""

    def add(collection: Collection) -> None:
        collection.add("local", [], [health(START + second, started=100, ok=100) for second in range(20)])
        for second in range(20):
            collection.add("local", [(("TCP", "echo"), block(START + second, [1000.0] * 100))])
        collection.end(START + 20)

    return collect(add).result(START + 20, replace(FACTS, server_account=account, **facts))


def test_a_difference_decides_the_verdict_unless_a_worker_was_lost() -> None:
    account = compared(accepted=12)
    good, unbalanced = run_with(compared()), run_with(account)
    assert good.verdict.status == "trusted"
    assert unbalanced.verdict.status == "unbalanced"
    assert unbalanced.verdict.reasons == account.findings
    assert [worker.verdict.status for worker in unbalanced.workers] == ["trusted"]
    lost = run_with(account, incomplete={"local": "was lost"})
    assert lost.verdict.status == "incomplete"


def test_an_unknown_account_changes_no_verdict() -> None:
    made = run_with(ServerAccount(URL, unknown="at the start: Connection refused"))
    assert made.verdict.status == run_with(None).verdict.status == "trusted"
    assert "unknown: at the start: Connection refused" in table(made)
    assert "both ends" not in table(run_with(None))
    assert run_with(None).server_account is None


def test_console_report_json_and_junit_have_the_account() -> None:
    account = compared(accepted=12)
    made = run_with(account)
    assert json.loads(json.dumps(as_json(made)))["server_account"]["findings"] == list(account.findings)
    printed = table(made)
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert f"both ends, by {URL}:\n  bytes sent 1000 = received by the server 1000\n" in printed
    assert "  connections made 10 != accepted by the server 12\n" in printed
    assert "  the test made 10 connections, and the server accepted 12: 2 more\n" in printed
    assert "connections made 10 != accepted by the server 12" in report(made)
    for fails, end in ((False, "skipped"), (True, "failure")):
        found = ET.fromstring(junit_xml(made, fails).encode()).find(f".//testcase/{end}")
        assert found is not None
        assert found.get("message") == "unbalanced"
        assert "accepted 12: 2 more" in str(found.text)


def test_a_result_without_an_account_prints_none() -> None:
    assert "both ends" not in table(result())
