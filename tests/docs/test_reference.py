"""The reference is complete: versions, public names, options of load tests, failures and their messages."""

from __future__ import annotations

import ast
import importlib
import re

import geventecho
from geventecho import errors
from tests.support import ROOT
from tests.support.documents import FLAG, flags

REFERENCE = ROOT / "docs" / "reference"
DIRECTIVE = re.compile(r"^\.\. auto(module|class|exception|function):: (?:geventecho\.)?(\w+)", re.MULTILINE)


def test_the_changelog_begins_with_this_version() -> None:
    released = re.findall(r"^## (\S+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == geventecho.__version__


def listed(page: str) -> set[str]:
    """The modules, classes, exceptions and functions that a page of the API has Sphinx describe."""
    return {name for _, name in DIRECTIVE.findall((REFERENCE / "api" / page).read_text())}


def test_the_api_reference_has_every_public_name() -> None:
    whole = ("errors", "framing", "payloads")
    described = listed("server.md") | listed("client.md") | {"__version__"}
    for module in whole:
        assert listed(f"{module}.md") == {module}
        described |= set(importlib.import_module(f"geventecho.{module}").__all__)
    assert set(geventecho.__all__) - described == set()


def test_the_api_reference_has_every_public_name_of_load_tests() -> None:
    text = (ROOT / "geventecho" / "loadtest" / "__init__.py").read_text()  # its import would patch the process
    names = set(re.findall(r'^    "(\w+)",$', text, re.MULTILINE))
    assert "TcpUser" in names
    assert listed("loadtest.md") == names | {"loadtest"}


def test_the_reference_has_every_option_of_load_tests() -> None:
    text = (REFERENCE / "load-test-options.md").read_text()
    assert {name for name in flags("launcher") if name.startswith("--tcp-")} - set(FLAG.findall(text)) == set()


def failures(error: type[errors.GeventechoError]) -> set[tuple[str, str]]:
    """The kind, up to a hint, and the name of an error class and of all those below it."""
    return {(error.kind.partition(",")[0], error.__name__)}.union(*map(failures, error.__subclasses__()))


def test_the_page_of_failures_has_every_kind() -> None:
    page = (REFERENCE / "failures.md").read_text()
    explained = set(re.findall(r"^\| ([^|]+?) \| `(\w+)` \|", page, re.MULTILINE))
    server = {("listen failed", "ListenError"), ("network error", "NetworkError")}
    assert explained == failures(errors.NetworkError) - server | {("concurrent use", "ConcurrentUse")}


def test_the_messages_on_the_page_are_those_of_the_program() -> None:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "geventecho").rglob("*.py")]
    strings = [
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    page = (REFERENCE / "failures.md").read_text()
    messages = re.findall(r"^\| [^|]+? \| `\w+` \| ([^|]+) \|", page, re.MULTILINE)
    words = [quoted for message in messages for quoted in re.findall("`([^`]+)`", message)]
    assert len(words) > 30
    assert [text for text in words if not any(text in string for string in strings)] == []
