"""Golden tests of the account: the load test and the server count the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.loadtest.golden.runs import SIZE, GoldenRun, KnownServer, plan
from tests.support.locust_process import EchoServerProcess


@pytest.mark.parametrize(
    ("length", "workers"),
    [pytest.param(3, (), id="short"), pytest.param(20, ("--processes", "2"), marks=pytest.mark.long, id="long")],
)
def test_a_slow_server_changes_nothing_in_the_plan(length: int, workers: tuple[str, ...], tmp_path: Path) -> None:
    """With a delay of 0.2 s and without, the numbers of sent, received, echoed and counted requests are the same."""
    rate = 100
    with (
        KnownServer() as prompt,
        KnownServer(delay=0.2) as slow,
        GoldenRun(tmp_path / "prompt", prompt.target, *plan(rate, length), *workers, users=40) as first,
        GoldenRun(tmp_path / "slow", slow.target, *plan(rate, length), *workers, users=40) as second,
    ):
        runs = [(prompt, first.measured()), (slow, second.measured())]
    for server, found in runs:
        row, account = found.row(), found.account
        assert account["planned"] == rate * length
        assert account["sent"] == row["ok"] == len(server.arrivals)
        assert account["dropped"] <= 5, "instants that fall due in the last moment are dropped"
        assert account["ok"] == row["ok"] + 40, "the connects are operations, too"
        assert row["bytes_sent"] == row["bytes_received"] == SIZE * row["ok"]
        assert (server.bytes_received, server.bytes_sent) == (row["bytes_sent"], row["bytes_received"])
        assert (row["failed"], account["failed"], account["aborted"]) == (0, 0, 0)
    assert runs[1][1].times("response")["p50"] > 0.2


def test_our_server_and_our_load_test_count_the_same(tmp_path: Path) -> None:
    options = (*plan(100, 3, kind="poisson"), "--processes", "2")
    with EchoServerProcess() as server, GoldenRun(tmp_path / "run", server.target, *options, users=20) as run:
        found = run.measured()
    counters: dict[str, Any] = server.counters
    row = found.row()
    assert found.account["aborted"] == found.account["failed"] == 0
    assert row["ok"] > 100
    assert SIZE * row["ok"] == row["bytes_sent"] == row["bytes_received"]
    assert (counters["bytes_received"], counters["bytes_sent"]) == (row["bytes_sent"], row["bytes_received"])
    assert counters["accepted"] == found.account["connects"] == found.row("connect")["ok"] == 20
