"""Golden tests of several workers: together they measure like a single worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from geventecho.histogram import Histogram
from tests.loadtest.golden.runs import GoldenRun, KnownServer, Measured, distances, plan, unevenness
from tests.support import peers
from tests.support.locust_script import run_script
from tests.support.timing import figure

DELAYS = (0.0, 0.03, 0.12)
PERCENTS = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


@pytest.mark.long
def test_percentiles_of_three_workers_are_those_of_all_their_samples(tmp_path: Path) -> None:
    """The server of each worker has its own delay, so no mean of the workers' percentiles would be right."""
    first, second, third = (peers.echoes_after(delay) for delay in DELAYS)
    with first, second, third:
        targets = json.dumps([peer.target for peer in (first, second, third)])
        options = ("--processes", "3", "--tcp-think-time", "0.1", "-t", "5")
        with GoldenRun(
            tmp_path / "run", None, *options, users=45, locustfile="apart.py", extra={"TARGETS": targets}
        ) as run:  # fmt: skip
            found = run.measured()
    pooled = Histogram()
    parts = [json.loads(path.read_text()) for path in run.directory.glob("times-*.json")]
    assert len(parts) == 3
    for part in parts:
        pooled.count_all(part)
    spans = sorted((min(part), max(part)) for part in parts)
    row = found.row()
    assert row["ok"] == pooled.count == sum(map(len, parts))
    for name, percent in PERCENTS.items():
        value = pooled.percentile(percent)
        assert value is not None
        assert row["response_us"][name]["value"] == round(value * 1e6, 1)
    assert row["response_us"]["max"] == round(max(map(max, parts)) / 1e3, 1)
    assert row["response_us"]["mean"] == round(sum(map(sum, parts)) / pooled.count / 1e3, 1)
    assert spans[1][0] >= 0.03e9, "the distributions are apart"
    assert spans[2][0] >= 0.12e9


def received(directory: Path, rate: float, length: float, kind: str, workers: int) -> tuple[list[int], Measured]:
    """The instants at which a server received the requests of a run."""
    options = (*plan(rate, length, kind=kind), "--tcp-seed", "7")
    split = ("--processes", str(workers)) if workers > 1 else ()
    with KnownServer() as server, GoldenRun(directory, server.target, *options, *split, users=20) as run:
        found = run.measured()
    assert len(server.arrivals) == found.account["sent"]
    return sorted(server.arrivals), found


@pytest.mark.alone
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_two_even_workers_are_as_even_as_one(workers: int, tmp_path: Path) -> None:
    """If each worker had its own phase, each worker would be even, and both together would not."""
    instants, _ = received(tmp_path / "even", 100, 4, "even", workers)
    figure(f"unevenness of {workers}", unevenness(instants))
    assert unevenness(instants) <= 0.1


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_arrivals_at_the_server_are_those_of_the_plan(workers: int, tmp_path: Path) -> None:
    """Even distances vary by at most a twentieth; Poisson distances have the planned distribution."""
    even, _ = received(tmp_path / "even", 200, 20, "even", workers)
    uneven = unevenness(even)
    figure("unevenness", uneven)
    assert uneven <= 0.05
    instants, _ = received(tmp_path / "poisson", 400, 25, "poisson", workers)
    stages = [[0.5, 2.0], [400.0, 25.0]]
    planned = sorted(at for part in run_script("arrivals.plan", stages, "poisson", workers) for at in part)
    difference = largest_difference(distances(planned), distances([at / 1e9 for at in instants]))
    figure("largest difference of the distributions of distances (KS)", difference)
    assert difference <= 0.02


def largest_difference(first: list[float], second: list[float]) -> float:
    """The two-sample Kolmogorov-Smirnov distance of values in ascending order."""
    return max(_differences(first, second))


def _differences(first: list[float], second: list[float]) -> Iterator[float]:
    below = 0
    for place, value in enumerate(first):
        while below < len(second) and second[below] < value:
            below += 1
        yield abs(below / len(second) - place / len(first))
