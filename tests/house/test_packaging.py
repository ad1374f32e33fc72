"""Wheel and sdist: they build without a warning, hold all files, and work in an environment of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import geventecho
from tests.support import ROOT
from tests.support.documents import blocks
from tests.support.locust_process import environment
from tests.support.real_servers import real_server
from tests.support.timing import SCALE

IGNORED = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "reports")
OTHERS = (".", "bench/build", "bench/results")
# The words in the output of `build` where setuptools finds a fault.
FAULT = re.compile(r"warning|deprecat|error", re.IGNORECASE)


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without this project's path, and without variables that make setuptools print warnings."""
    ours = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    return {name: value for name, value in environment(**extra).items() if name not in ours}


def run(*command: str, directory: Path, seconds: float = 120.0) -> str:
    """Run a command that must succeed; returns its output."""
    done = subprocess.run(
        command, cwd=directory, env=clean_environment(), timeout=seconds * SCALE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(source: Path, output: Path, *arguments: str) -> str:
    return run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), *arguments, directory=source)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, so that a build leaves no file in the project; it has the files of benchmark runs."""
    copy = Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "geventecho", ignore=IGNORED))
    for left in ("bench/build/venv/lib/module.py", "bench/results/now/run.json", "loadtests/__pycache__/any_tcp.pyc"):
        (copy / left).parent.mkdir(parents=True, exist_ok=True)
        (copy / left).touch()
    return copy


@pytest.fixture(scope="module")
def built(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the sdist and the wheel, made from the sdist, and the output of the build."""
    pytest.importorskip("build", reason="needs build, of requirements-dev.txt")
    output = tmp_path_factory.mktemp("dist")
    return output, build(project, output)


def package_files() -> set[str]:
    """The modules, and the files that they read: the page with its scripts."""
    folder = ROOT / "geventecho"
    data = [path for path in (folder / "results" / "html").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(ROOT)) for path in [*folder.rglob("*.py"), *data]}


def wheel_names(folder: Path) -> set[str]:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_sdist_and_wheel_build_without_a_warning(built: tuple[Path, str]) -> None:
    listed = re.compile("^(copying|adding|creating) ")  # lines of files, which may be named errors.py
    assert [line for line in built[1].splitlines() if FAULT.search(line) and not listed.search(line)] == []


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, str]) -> None:
    info = f"geventecho-{geventecho.__version__}.dist-info"
    names = wheel_names(built[0])
    package = {name for name in names if not name.startswith(info)}
    assert package == package_files() | {"geventecho/py.typed"}
    licenses = {f"{info}/licenses/LICENSE", f"{info}/licenses/geventecho/results/html/uplot/LICENSE"}
    assert names - package >= licenses | {f"{info}/entry_points.txt", f"{info}/METADATA"}


def test_the_sdist_holds_the_project(built: tuple[Path, str]) -> None:
    (sdist,) = built[0].glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= package_files() | {
        "LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "geventecho/py.typed",
        "requirements.txt", "requirements-dev.txt", "requirements-oldest.txt",
        "docs/reference/summary.md", "docs/images/locust-ui.png", "loadtests/locustfile.py", "loadtests/any_tcp.py",
        "tests/conftest.py", "tests/house/test_packaging.py", "bench/run.py",
        "deploy/geventecho.service", "deploy/Dockerfile",
    }  # fmt: skip
    assert not [
        name for name in names if name.endswith(".pyc") or name.startswith((".", "bench/build", "bench/results"))
    ]


@pytest.mark.long
def test_the_sdist_builds_the_same_wheel_again(built: tuple[Path, str], tmp_path: Path) -> None:
    (sdist,) = built[0].glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again", "--wheel")
    assert wheel_names(tmp_path / "again") == wheel_names(built[0])


@pytest.mark.long
def test_an_installed_package_runs_the_readme_locustfile_against_redis(project: Path, tmp_path: Path) -> None:
    """The environment is new, and the README's locustfile is in an empty folder."""
    users = [str(block.values[0]) for block in blocks("python") if str(block.id).startswith("README.md")]
    (snippet,) = [text for text in users if "RedisUser" in text]
    with real_server("redis-server") as port:
        run(sys.executable, "-m", "venv", "environment", directory=tmp_path)
        programs = tmp_path / "environment" / "bin"
        run(str(programs / "pip"), "install", "--quiet", f"{project}[loadtest]", directory=tmp_path, seconds=600)
        empty = tmp_path / "empty"
        empty.mkdir()
        assert geventecho.__version__ in run(str(programs / "geventecho"), "--version", directory=empty)
        (empty / "redis_ping.py").write_text(snippet.replace(":6379", f":{port}"))
        arguments = ["-f", "redis_ping.py", "--headless", "-u", "10", "-r", "10", "-t", "5"]
        printed = run(str(programs / "locust"), *arguments, directory=empty)
    assert re.search(r"^TCP PING: [1-9]\d* ok, 0 failed, ", printed, re.MULTILINE), printed
    assert "\nTCP connect: 10 ok, 0 failed, " in printed, printed
    assert "Traceback" not in printed
    assert set(os.listdir(empty)) <= {"redis_ping.py", "__pycache__"}
