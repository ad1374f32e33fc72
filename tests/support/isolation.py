"""Programs in a network namespace of their own, where addresses and links can be made without being root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT

WITHOUT_ROOT = ("unshare", "--user")
"""The words before a command: it runs in a user namespace of its own, as user 65534, without any right of root's."""
UNSHARE = ("unshare", "-Urn", "--kill-child")
CAN_ISOLATE = (
    shutil.which("ip") is not None
    and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
)
isolated = pytest.mark.skipif(not CAN_ISOLATE, reason="no network namespace can be made here")
"""Skips a test where no network namespace can be made."""


def isolate(name: str, *arguments: str) -> str:
    """Run a program of this folder in a network namespace; returns its output."""
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", f"tests.support.{name}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={name: text for name, text in os.environ.items() if name.startswith("GEVENTECHO_TEST_")}
        | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        timeout=150,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
