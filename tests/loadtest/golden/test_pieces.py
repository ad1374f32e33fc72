"""Golden tests of replies in pieces, and of delays that TCP itself may add."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loadtest.golden.runs import GoldenRun, KnownServer, plan
from tests.support.timing import figure

DELAY, GAP = 0.03, 0.05


def test_the_first_byte_and_the_whole_reply_are_apart(tmp_path: Path) -> None:
    with (
        KnownServer(delay=DELAY, gap=GAP) as server,
        GoldenRun(tmp_path / "run", server.target, *plan(60, 4)) as run,
    ):  # fmt: skip
        found = run.measured()
    first, whole = found.times("first_byte"), found.times("service")
    assert first["p50"] == pytest.approx(DELAY, abs=0.02)
    assert whole["p50"] - first["p50"] == pytest.approx(GAP, abs=0.005)
    assert found.times("response")["p50"] >= DELAY + GAP


@pytest.mark.long
def test_no_request_waits_for_an_acknowledgement(tmp_path: Path) -> None:
    """A second request is sent at once, and not when the first request is acknowledged (Nagle's algorithm).

    Here the reply acknowledges the first request, after 0.035 s. A delayed ACK would come after 0.04 s. Tests of client
    and server assert TCP_NODELAY of their sockets.
    """
    pause, delay = 0.01, 0.035
    with (
        KnownServer(delay=delay) as server,
        GoldenRun(tmp_path / "run", server.target, "-t", "4", users=1, locustfile="two_at_once.py") as run,
    ):
        found = run.measured()
    apart = sorted(
        (second - first) / 1e9 for first, second in zip(server.arrivals[::2], server.arrivals[1::2], strict=False)
    )
    figure("median distance of the two requests", apart[len(apart) // 2])
    assert len(apart) >= 20
    assert apart[len(apart) // 2] == pytest.approx(pause, abs=0.01)
    assert found.times("service", "pair")["p50"] < delay + 2 * pause
