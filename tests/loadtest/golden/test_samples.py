"""Golden test of the percentiles of few samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loadtest.golden.runs import GoldenRun, KnownServer


@pytest.mark.long
def test_the_p99_needs_368_samples(tmp_path: Path) -> None:
    """The p99 of 367 samples is withheld, in each kind of time."""
    found = {}
    with (
        KnownServer() as server,
        GoldenRun(
            tmp_path / "few", server.target, users=1, locustfile="exactly.py", extra={"EXACTLY": "367"}
        ) as few,
        GoldenRun(
            tmp_path / "enough", server.target, users=1, locustfile="exactly.py", extra={"EXACTLY": "368"}
        ) as enough,
    ):  # fmt: skip
        found = {367: few.measured().row(), 368: enough.measured().row()}
    for count, row in found.items():
        assert row["ok"] == count
        for kind in ("response_us", "service_us", "generator_delay_us", "read_delay_us", "offered_us"):
            assert (row[kind]["p99"] is None) == (count < 368), kind
            assert row[kind]["p95"]["low"] <= row[kind]["p95"]["value"] <= row[kind]["p95"]["high"]
            assert row[kind]["p99_9"] is None
    assert "p99" in found[367]["missing"]["response_us"]
    assert "p99" not in found[368]["missing"]["response_us"]
    p99 = found[368]["response_us"]["p99"]
    assert p99["low"] <= p99["value"] <= p99["high"]
