"""The systemd units in deploy/: the checks of systemd itself, and real socket activation."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest
from gevent import socket

from geventecho.address import Address
from geventecho.server.config import ServerConfig
from tests.support import ROOT
from tests.support.commands import environment
from tests.support.locust_process import free_port
from tests.support.seccomp import confine
from tests.support.servers import connect_to, ping, serve
from tests.support.timing import PATIENCE, wait_until

UNITS = [ROOT / "deploy" / "geventecho.service", ROOT / "deploy" / "geventecho.socket"]
with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")


def settings(unit: Path) -> dict[str, list[str]]:
    """The values of each setting, in their order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done
    return done


@with_systemd
def test_systemd_verifies_the_units_without_a_finding(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text().replace("/opt/geventecho/bin/geventecho", "/bin/true")  # a program has to exist
        (tmp_path / unit.name).write_text(text)
    done = analyze("verify", *(tmp_path / unit.name for unit in UNITS))
    assert done.stdout + done.stderr == ""


@with_systemd
def test_the_documentation_has_the_exposure_level() -> None:
    report = analyze("security", "--offline=true", "--no-pager", UNITS[0]).stdout
    found = re.search(r"exposure level for geventecho.service: (\S+) ", report)
    assert found
    assert float(found[1]) <= 1.5
    assert f"exposure level {found[1]} of 10" in (ROOT / "docs" / "how-to" / "operate.md").read_text()


def system_calls() -> set[str]:
    """The names of the system calls that the unit allows (systemd.exec(5), SystemCallFilter=)."""
    groups: dict[str, set[str]] = {}
    for line in analyze("syscall-filter", "--no-pager").stdout.splitlines():
        if line.startswith("@"):
            found = groups.setdefault(line.strip(), set())
        elif line.startswith("    ") and not line.strip().startswith("#"):
            found.add(line.strip())

    def expanded(name: str) -> set[str]:
        return set().union(*map(expanded, groups[name])) if name in groups else {name}

    calls = expanded("@default")
    for value in settings(UNITS[0])["SystemCallFilter"]:
        named = set().union(*map(expanded, value.removeprefix("~").split()))
        calls = calls - named if value.startswith("~") else calls | named
    return calls


@with_systemd
@pytest.mark.skipif(find_library("seccomp") is None, reason="no libseccomp")
def test_serve_needs_no_system_call_that_the_unit_forbids(tmp_path: Path) -> None:
    from tests.support.tls import files, secured

    calls = system_calls()
    assert "accept4" in calls
    assert "setuid" not in calls
    with serve(*files(tmp_path).options, "--workers", "1", preexec_fn=lambda: confine(calls)) as server:
        server.signal(signal.SIGHUP)
        wait_until(lambda: any(line.startswith("reloaded: ") for line in server.lines))
        with secured(server.connect()) as client:
            ping(client)
        assert server.stop() == 0
        assert server.errors == ""
    with serve(preexec_fn=lambda: confine(calls)) as server, server.connect() as client:
        ping(client, b"x" * 1_000_000)  # by splice(2)
        assert server.errors == ""


def test_the_timeouts_of_a_stop_are_longer_than_a_drain() -> None:
    (seconds,) = settings(UNITS[0])["TimeoutStopSec"]
    longest, page = ServerConfig().drain_timeout + 1, (ROOT / "docs" / "how-to" / "operate.md").read_text()
    assert float(seconds) > longest
    assert float(re.findall(r"--stop-timeout (\d+)", page)[0]) > longest
    pause = re.findall(r'"sleep", "(\d+)"', page)[0]
    assert float(re.findall(r"terminationGracePeriodSeconds: (\d+)", page)[0]) > longest + float(pause)


def connected(address: Address) -> socket.socket:
    """A client, once a connect succeeds."""
    found: list[socket.socket] = []

    def connects() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            found.append(connect_to(address))
        return bool(found)

    wait_until(connects)
    return found[0]


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="no systemd-socket-activate")
def test_the_first_client_starts_the_command_of_the_unit() -> None:
    program, *arguments = shlex.split(
        settings(UNITS[0])["ExecStart"][0].replace("/etc/geventecho", str(UNITS[0].parent))
    )
    assert program.endswith("/bin/geventecho")
    address = Address.parse(f"127.0.0.1:{free_port()}")
    activate = ["systemd-socket-activate", "--listen", f"{address.host}:{address.port}"]
    with subprocess.Popen(
        [*activate, sys.executable, "-m", "geventecho", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT,
    ) as process:  # fmt: skip
        try:
            with connected(address) as client:
                ping(client)
            assert process.stdout is not None
            assert process.stdout.readline() == f"listening on {address}\n"
            process.send_signal(signal.SIGTERM)
            lines = process.communicate(timeout=PATIENCE)[0].splitlines()
        finally:
            process.kill()
    assert process.returncode == 0
    assert lines[-1].startswith("stopped: ")
    assert lines[-1].endswith("bytes lost 0")
