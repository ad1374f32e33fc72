"""The measurement of a second worker."""

from __future__ import annotations

import subprocess
from unittest import mock

from bench import workers
from tests.support import ROOT
from tests.support.timing import SCALE


def test_the_cpu_time_of_all_processes_is_counted() -> None:
    subprocess.run(["make", "-C", str(ROOT / "bench"), "programs"], check=True, capture_output=True, timeout=60 * SCALE)
    with mock.patch.object(workers, "SECONDS", "0.5"):
        cost, rate = workers.measure("2 workers", "10")
    assert rate > 0
    assert 0.5 < cost < 1000
