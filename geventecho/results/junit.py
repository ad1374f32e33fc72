"""The gates and the verdict of a result as JUnit XML, which CI systems show as tests.

The file is valid in the schema of Apache Ant's JUnit task (https://github.com/windyroad/JUnit-Schema), the strictest
JUnit schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from geventecho.results.cells import printable
from geventecho.results.result import Result
from geventecho.results.summary import table
from geventecho.results.verdict import INCOMPLETE, TRUSTED

__all__ = ["junit_xml"]

SUITE: Final = "geventecho"


def junit_xml(result: Result, fail_on_verdict: bool = False) -> str:
    """Return the text of the file: one test for each gate and one for the verdict.

    Args:
        result: the result with its gates and its verdict.
        fail_on_verdict: whether each verdict other than "trusted" is a failure. Otherwise only "incomplete" is a
            failure, because it has its own exit code; with another verdict the test is skipped, with the reasons.
    """
    root = Element("testsuites")
    suite = SubElement(root, "testsuite", name="load test", package=SUITE, id="0", hostname="localhost", errors="0")
    suite.set("timestamp", result.started_at[: len("2026-01-01T00:00:00")])
    suite.set("time", f"{result.duration_s:.3f}")
    properties = SubElement(suite, "properties")
    SubElement(properties, "property", name="target", value=printable(result.target))
    for name, value in result.environment.items():
        SubElement(properties, "property", name=name, value=printable("" if value is None else str(value)))
    for gate in result.gates:
        case = _case(suite, "gates", gate.expression)
        if not gate.met:
            _add(case, "failure", ": ".join(filter(None, (gate.value, gate.reason))))
    case = _case(suite, "verdict", "the verdict is trusted")
    status, reasons = result.verdict.status, result.verdict.reasons
    if status != TRUSTED:
        is_failure = fail_on_verdict or status == INCOMPLETE
        _add(case, "failure" if is_failure else "skipped", status, reasons)
    for count, found in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
        suite.set(count, str(len(suite.findall(found))))
    SubElement(suite, "system-out").text = table(result)
    SubElement(suite, "system-err")
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _case(suite: Element, group: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=f"{SUITE}.{group}", name=printable(name), time="0")


def _add(case: Element, kind: str, message: str, lines: Iterable[str] = ()) -> None:
    found = SubElement(case, kind, message=printable(message))
    if kind == "failure":
        found.set("type", str(case.get("classname")))
    found.text = "\n".join(map(printable, lines))
