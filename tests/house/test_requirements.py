"""The requirements files agree with pyproject.toml, and requirements.txt is enough for a plain pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support import ROOT
from tests.support.locust_process import environment
from tests.support.timing import SCALE


def pins(file: str) -> dict[str, str]:
    """The versions that a requirements file fixes."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("--requirement"))


def admitted() -> dict[str, Requirement]:
    """The requirements in pyproject.toml, with those of load tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = map(Requirement, project["dependencies"] + project["optional-dependencies"]["loadtest"])
    return {requirement.name: requirement for requirement in wanted}


def test_the_oldest_versions_are_the_oldest_that_are_admitted() -> None:
    floors = {
        name: Version(bound.version)
        for name, requirement in admitted().items()
        for bound in requirement.specifier
        if bound.operator == ">="
    }
    assert {name: Version(version) for name, version in pins("requirements-oldest.txt").items()} == floors


def test_the_versions_that_make_installs_are_admitted() -> None:
    versions = pins("requirements.txt")
    assert [name for name, wanted in admitted().items() if versions[name] not in wanted.specifier] == []


def test_no_requirement_is_in_both_files() -> None:
    assert not pins("requirements.txt").keys() & pins("requirements-dev.txt").keys()


def plain_pytest(*arguments: str) -> str:
    """Run pytest as if only requirements.txt were installed, and without plugins; returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.house.scripts.plain_pytest", *arguments],
        cwd=ROOT, env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"), timeout=120 * SCALE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.long
def test_a_plain_pytest_finds_every_module() -> None:
    modules = {os.path.relpath(path, ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    assert {
        line.split("::")[0] for line in plain_pytest("--collect-only", "-m", "").splitlines() if "::" in line
    } == modules


def test_a_plain_pytest_skips_the_property_tests_and_runs_the_others() -> None:
    printed = plain_pytest("tests/test_payloads.py", "tests/test_histogram.py")
    assert "needs hypothesis, of requirements-dev.txt" in printed
    assert " passed, " in printed
