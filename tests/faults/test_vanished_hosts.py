"""Scenarios of a client's host that vanishes without a word, in a network namespace of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from timing import UNIT
from watch import HERE, figure

pytestmark = pytest.mark.faults


# 10 -------------------------------------------------------------------------------------------------------------------

isolated = pytest.mark.skipif(
    not shutil.which("ip")
    or subprocess.run(["unshare", "-Urn", "true"], capture_output=True, check=False).returncode != 0,
    reason="no network namespace can be made here",
)


def vanish(what: str, **options: object) -> float:
    """Seconds from the moment a client's host falls silent until the server has freed its connection."""
    done = subprocess.run(
        ["unshare", "-Urn", "--kill-child", sys.executable, str(HERE / "vanishing.py"), what, repr(options)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(HERE.parent), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


@isolated
def test_10_a_vanished_host_with_unsent_data() -> None:
    stall = 10 * UNIT
    took = vanish("unsent", write_stall=stall)
    figure(f"10: freed after the host vanished with data on its way, write stall {stall:g} s", round(took, 2))
    assert stall <= took <= stall + 1 + 20 * UNIT


@isolated
def test_10_a_vanished_host_that_was_idle_is_found_by_keep_alive() -> None:
    took = vanish("idle", keepalive=[1, 1, 2], write_stall=None)
    figure("10: freed after an idle host vanished, keep-alive after 1 s, twice, 1 s apart", round(took, 2))
    assert took <= 3 + 30 * UNIT


@isolated
@pytest.mark.long
@pytest.mark.timeout(200)
def test_10_a_vanished_host_with_the_defaults() -> None:
    took = vanish("idle")
    figure("10: freed after an idle host vanished, s", round(took, 1))
    assert took <= 95
