"""Thousands of users in one Locust process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.locust_process import EchoServerProcess, LocustRun
from tests.support.timing import SCALE


@pytest.mark.parametrize(
    ("users", "rate", "seconds", "think"),
    [
        (1_000, 500, 4, 1.0),
        pytest.param(10_000, 1_000, 70, 5.0, marks=[pytest.mark.long, pytest.mark.timeout(300)]),
    ],
)
@pytest.mark.alone
def test_all_users_connect_and_echo_at_their_rate(
    users: int, rate: int, seconds: int, think: float, tmp_path: Path
) -> None:
    with EchoServerProcess() as server, LocustRun(
        tmp_path, "--headless", "-u", f"{users}", "-r", f"{rate}", "-t", f"{seconds}", "--tcp-think-time", f"{think}",
        "--only-summary", "--host", server.target, descriptors=1024,
    ) as run:  # fmt: skip
        assert run.wait(2 * seconds + 60 * SCALE) == 0, run.log
    print(run.log)
    (average,) = re.findall(rf"TCP +connect +{users} +0\(0\.00%\) \| +([\d.]+) ", run.log)
    assert float(average) < 25 * SCALE, "the connects of a burst are spread: all at once, half of them take 50 ms"
    (fired,) = run.fired()
    account = fired["account"]
    assert fired["failed"] == account["failed"] == 0
    assert account["started"] == account["ok"] + account["aborted"]
    assert run.counted() == {"requests": fired["ok"], "failures": 0}
    assert server.counters["accepted"] == server.peak == users, "all users are connected at once"
    # After the ramp-up each user echoes once in `think` seconds. A tenth allows for latencies and the last pause.
    echoes = fired["ok"] - users
    assert echoes > 0.9 * users * (seconds - users / rate) / think
    assert 1024 * echoes <= server.counters["bytes_received"] <= 1024 * (echoes + account["aborted"])
