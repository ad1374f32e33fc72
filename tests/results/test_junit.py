"""Gates and verdict as JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from geventecho.results import GateOutcome, Result, Verdict, junit_xml
from tests.results.samples import result

MET = GateOutcome("echo p99 < 5ms", True, "p99 3.21 ms [3.02, 3.60]", "")
MISSED = GateOutcome("rate > 900/s", False, "rate 850/s", "it is not above 900/s")
UNKNOWN = GateOutcome("get p99 < 5ms", False, "", "there was no row get; there were TCP echo")
STARTED = "2026-11-30T23:44:08.123+00:00"


def suite_of(made: Result, fail_on_verdict: bool = False) -> ET.Element:
    root = ET.fromstring(junit_xml(replace(made, started_at=STARTED), fail_on_verdict).encode())
    assert root.tag == "testsuites"
    (suite,) = root
    assert [child.tag for child in suite if child.tag != "testcase"] == ["properties", "system-out", "system-err"]
    assert (suite.get("timestamp"), suite.get("errors")) == ("2026-11-30T23:44:08", "0")
    for count, path in (("tests", "testcase"), ("failures", "*/failure"), ("skipped", "*/skipped")):
        assert suite.get(count) == str(len(suite.findall(path)))
    return suite


def outcomes(suite: ET.Element) -> list[tuple[str | None, list[tuple[str, str | None]]]]:
    """The name and the outcome of each test case."""
    return [(case.get("name"), [(end.tag, end.get("message")) for end in case]) for case in suite.iter("testcase")]


def test_there_is_a_test_case_for_each_gate_and_one_for_the_verdict() -> None:
    suite = suite_of(replace(result(), gates=(MET, MISSED, UNKNOWN)))
    assert outcomes(suite) == [
        ("echo p99 < 5ms", []),
        ("rate > 900/s", [("failure", "rate 850/s: it is not above 900/s")]),
        ("get p99 < 5ms", [("failure", "there was no row get; there were TCP echo")]),
        ("the verdict is trusted", []),
    ]
    assert all(failure.get("type") for failure in suite.iter("failure"))
    assert "gate met: echo p99 < 5ms (p99 3.21 ms [3.02, 3.60])" in str(suite.findtext("system-out"))
    assert suite.find("properties/property[@name='target']") is not None


@pytest.mark.parametrize(
    ("status", "fail_on_verdict", "ends"),
    [
        ("unsteady", False, "skipped"),
        ("unsteady", True, "failure"),
        ("incomplete", False, "failure"),
        ("incomplete", True, "failure"),
    ],
)
def test_a_verdict_is_a_failure_where_it_decides_the_exit_code(status: str, fail_on_verdict: bool, ends: str) -> None:
    suite = suite_of(replace(result(), verdict=Verdict(status, ("one", "two"))), fail_on_verdict)
    assert outcomes(suite) == [("the verdict is trusted", [(ends, status)])]
    assert suite.findtext(f"testcase/{ends}") == "one\ntwo"


def test_text_of_peers_is_valid_xml() -> None:
    text = "\x00\x1b[2J]]>&<b>\ud800\udc80\ufffe'\""
    hostile = GateOutcome(f"'{text}' p99 < 5ms", False, text, text)
    made = replace(result(), target=text, gates=(hostile,), verdict=Verdict("unsteady", (text,)))
    suite = suite_of(made)
    name = outcomes(suite)[0][0]
    assert name == "'\\x00\\x1b[2J]]>&<b>\\ud800\\udc80\\ufffe'\"' p99 < 5ms"
