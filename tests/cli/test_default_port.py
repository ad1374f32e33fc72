"""Tests of the default port run in their own network: on this machine another program may have the port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.isolation import CAN_ISOLATE, UNSHARE
from tests.support.timing import SCALE

FOLDER = Path(__file__).with_name("default_port")
PORT = 8090


def is_free(port: int) -> bool:
    """Whether a server could listen there, on any address."""
    try:
        socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True).close()
    except OSError:
        return False
    return True


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["default_target", "node_tutorial"])
def test_the_default_port_works_in_its_own_network(name: str) -> None:
    if name == "node_tutorial" and not shutil.which("node"):
        pytest.skip("there is no node on this machine: apt-get install nodejs")
    if not CAN_ISOLATE and not is_free(PORT):
        pytest.skip(f"another program has port {PORT}, and no network namespace can be made here")
    network = [*UNSHARE, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"] if CAN_ISOLATE else []
    done = subprocess.run(
        [*network, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(FOLDER / f"{name}.py")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=280 * SCALE,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
