"""Percentiles and their intervals: against scipy and numpy on raw samples, and their coverage of the true values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from statistics import NormalDist
from typing import TYPE_CHECKING

import pytest

from geventecho.histogram import Histogram
from geventecho.results import FLOORS, Estimate, Percentile, estimate
from geventecho.results.intervals import enclosing_rank

# Without requirements-dev.txt these tests are skipped, and the other tests run.
if TYPE_CHECKING or find_spec("scipy"):
    import numpy as np
    from numpy.typing import NDArray
else:
    from unittest.mock import MagicMock

    np = NDArray = MagicMock()

pytestmark = pytest.mark.skipif(not find_spec("scipy"), reason="needs scipy, of requirements-dev.txt")

MEDIAN = 2e6  # ns
WITHIN = 0.5  # sigma of the lognormal times of a second
SECONDS = 60
KINDS = {"independent": 0.0, "a level for each second": 0.0, "correlated seconds": 0.5}
BETWEEN = 0.3  # sigma of the lognormal levels of seconds

Times = NDArray[np.int64]


def counted(times: Times | Sequence[int]) -> Histogram:
    histogram = Histogram()
    histogram.count_all([int(time) for time in times])
    return histogram


def of(found: Estimate, percent: float) -> Percentile:
    percentile = found.percentiles[percent]
    assert percentile is not None
    return percentile


def run(random: np.random.Generator, kind: str, rate: int, between: float = BETWEEN) -> list[Times]:
    """The times of each second of a run."""
    level, levels = random.standard_normal(), []
    correlation = KINDS[kind]
    for _ in range(SECONDS):
        levels.append(level)
        level = correlation * level + math.sqrt(1 - correlation**2) * random.standard_normal()
    spread = 0.0 if kind == "independent" else between
    return [
        (MEDIAN * np.exp(spread * level + WITHIN * random.standard_normal(rate))).astype(np.int64) for level in levels
    ]


def truth(kind: str, percent: float, between: float = BETWEEN) -> float:
    sigma = WITHIN if kind == "independent" else math.hypot(WITHIN, between)
    return MEDIAN * math.exp(sigma * NormalDist().inv_cdf(percent / 100))


def runs(kind: str, rate: int, count: int, between: float = BETWEEN) -> Iterator[tuple[Estimate, Times]]:
    random = np.random.default_rng([rate, int(100 * between), *kind.encode()])
    for _ in range(count):
        seconds = run(random, kind, rate, between)
        yield estimate([counted(times) for times in seconds]), np.concatenate(seconds)


# Floors


@pytest.mark.parametrize(("percent", "floor"), [(50, 6), (90, 36), (95, 72), (99, 368), (99.9, 3_688), (99.99, 36_887)])
def test_the_floor_is_the_least_number_that_has_an_interval(percent: float, floor: int) -> None:
    part = percent / 100
    assert FLOORS[percent] == floor
    # The chance that all samples are on one side of the percentile.
    assert max(part, 1 - part) ** floor <= 0.025 < max(part, 1 - part) ** (floor - 1)


def test_a_percentile_below_its_floor_is_withheld_and_its_missing_samples_are_counted() -> None:
    found = estimate([counted(range(1_000, 1_367))])
    assert found.percentiles[99] is None
    assert found.missing == {99: 1, 99.9: 3_688 - 367, 99.99: 36_887 - 367}
    assert estimate([counted(range(1_000, 1_368))]).percentiles[99] is not None


def test_without_samples_there_is_no_percentile() -> None:
    for blocks in ([], [Histogram()], [Histogram()] * SECONDS):
        found = estimate(blocks)
        assert set(found.percentiles.values()) == {None}
        assert found.missing == FLOORS
        assert not found.is_unsteady


# Values and intervals against the raw samples


@pytest.mark.parametrize("count", [6, 37, 368, 4_000, 40_000])
@pytest.mark.parametrize("blocks", [1, 40])
def test_values_and_intervals_agree_with_the_raw_samples(count: int, blocks: int) -> None:
    import scipy.stats  # here, because each process of a run collects this file, and the import takes over a second

    times = (MEDIAN * np.random.default_rng(count).lognormal(0, WITHIN, count)).astype(np.int64)
    found = estimate([counted(part) for part in np.array_split(times, blocks)])
    assert found.method == ("order statistics" if blocks == 1 else "bootstrap")
    for percent, percentile in found.percentiles.items():
        if percentile is None:
            assert count < FLOORS[percent]
            continue
        part = round(percent / 100, 6)  # 99.9 / 100 is more than 0.999
        value = np.quantile(times, part, method="inverted_cdf")
        assert percentile.value == pytest.approx(float(value), rel=0.01)
        exact = scipy.stats.quantile_test(times, p=part).confidence_interval()
        if blocks == 1:
            assert (percentile.low, percentile.high) == pytest.approx((exact.low, exact.high), rel=0.01)
        else:
            assert percentile.low <= exact.low * 1.01
            assert percentile.high >= exact.high * 0.99


@pytest.mark.parametrize("samples", [6, 368, 36_887, 1_000_003, 40_000_000])
@pytest.mark.parametrize("part", [0.5, 0.1, 0.01, 0.0001])
def test_the_ranks_that_enclose_a_percentile_are_exact(samples: int, part: float) -> None:
    import scipy.stats

    assert enclosing_rank(samples, part) == scipy.stats.binom.ppf(0.025, samples, part)
    assert enclosing_rank(samples, 1 - part) == scipy.stats.binom.ppf(0.025, samples, 1 - part)


# Lost samples


def test_lost_samples_are_the_longest() -> None:
    blocks = [counted(range(1_000_000, 1_000_098))] * SECONDS
    found = estimate(blocks, lost=[2] * SECONDS)
    assert of(found, 99).value == math.inf
    assert math.isfinite(of(found, 90).high)
    assert of(estimate(blocks), 99).value < math.inf
    # 2 of 100: the interval of p98 has ends on both sides.
    edge = of(estimate(blocks, lost=[2] * SECONDS, quantiles=[98]), 98)
    assert math.isfinite(edge.low)
    assert edge.high == math.inf


@pytest.mark.parametrize("blocks", [1, SECONDS])
def test_every_percentile_is_infinite_when_all_samples_are_lost(blocks: int) -> None:
    found = estimate([Histogram()] * blocks, lost=[100] * blocks)
    assert found.percentiles[50] == Percentile(math.inf, math.inf, math.inf)


# Special runs


@pytest.mark.parametrize("blocks", [1, SECONDS])
def test_equal_times_have_an_interval_without_width(blocks: int) -> None:
    found = estimate([counted([1_234_567] * 100)] * blocks)
    assert found.percentiles[90] == Percentile(1_234_567, 1_234_567, 1_234_567)
    assert not found.is_unsteady


def test_one_stalled_second_moves_the_tail_only() -> None:
    seconds = run(np.random.default_rng(5), "independent", 100)
    seconds[30] = np.full(100, 2_000_000_000)
    found = estimate([counted(times) for times in seconds])
    assert of(found, 50).high < 1.1 * of(found, 50).value
    assert of(found, 99).high == pytest.approx(2e9, rel=0.01)
    assert not found.is_unsteady


def test_empty_seconds_count_as_blocks() -> None:
    seconds = run(np.random.default_rng(6), "independent", 100)
    blocks = [counted(times) for times in seconds]
    found = estimate([block for busy in blocks for block in (busy, Histogram())])
    assert found.method == "bootstrap"
    assert of(found, 99).value == of(estimate(blocks), 99).value


def test_the_order_of_the_blocks_changes_only_their_correlation() -> None:
    seconds = run(np.random.default_rng(7), "a level for each second", 100)
    blocks = [counted(times) for times in seconds]
    found = estimate(blocks)
    assert estimate(blocks) == found
    assert estimate(blocks[::-1]) == found
    ordered = estimate(sorted(blocks, key=lambda block: block.mean or 0))
    assert ordered.is_unsteady
    assert not found.is_unsteady
    assert ordered.block_length > found.block_length
    assert of(ordered, 90).value == of(found, 90).value
    assert of(ordered, 90).high > of(found, 90).high


@pytest.mark.parametrize(("rise", "is_unsteady"), [(1.05, False), (3.0, True)])
def test_a_run_is_unsteady_only_if_it_gets_much_slower(rise: float, is_unsteady: bool) -> None:
    seconds = run(np.random.default_rng(9), "independent", 1_000)
    blocks = [counted(times * rise ** (place / SECONDS)) for place, times in enumerate(seconds)]
    assert estimate(blocks).is_unsteady is is_unsteady


def test_fewer_than_twenty_blocks_have_the_interval_of_order_statistics() -> None:
    blocks = [counted(times) for times in run(np.random.default_rng(8), "a level for each second", 100)]
    assert estimate(blocks[:20]).method == "bootstrap"
    few = estimate(blocks[:19])
    assert (few.method, few.block_length, few.is_unsteady) == ("order statistics", 1, False)


def test_the_ends_of_intervals_are_in_the_order_of_the_percentiles() -> None:
    """A p99.9 cannot be below the p99: a time that is too short for the p99 is too short for the p99.9."""
    random = np.random.default_rng(10)
    quantiles = (99.9, 50, 99, 95, 90)
    for _ in range(3):
        seconds = run(random, "a level for each second", 500)
        for slow in (10, 30, 50):
            seconds[slow][:200] = random.uniform(5e6, 200e6, 200)
        found = estimate([counted(times) for times in seconds], quantiles=quantiles)
        assert [*found.percentiles] == [*quantiles]
        known = [of(found, percent) for percent in sorted(quantiles)]
        for end in ("low", "value", "high"):
            ends = [getattr(percentile, end) for percentile in known]
            assert ends == sorted(ends), end
        assert all(percentile.low <= percentile.value <= percentile.high for percentile in known)


# Coverage


def test_intervals_hold_the_true_percentiles_when_neighbouring_seconds_are_alike() -> None:
    # An interval for independent samples holds the true p90 in every fourth of these runs.
    held = dict.fromkeys((50, 90, 99), 0)
    for found, _ in runs("correlated seconds", 20, 200):
        assert found.method == "bootstrap"
        for percent in held:
            held[percent] += of(found, percent).low <= truth("correlated seconds", percent) <= of(found, percent).high
    assert min(held.values()) >= 0.9 * 200, held


@pytest.mark.long
@pytest.mark.parametrize("between", [0.2, 0.3])
@pytest.mark.parametrize("rate", [20, 100, 1_000])
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_the_true_percentiles_in_93_percent_of_a_thousand_runs(
    kind: str, rate: int, between: float
) -> None:
    held = dict.fromkeys((50, 90, 95, 99), 0)
    widths = dict.fromkeys(held, 0.0)
    values: dict[float, list[float]] = {percent: [] for percent in held}
    for found, _ in runs(kind, rate, 1_000, between):
        for percent in held:
            percentile = of(found, percent)
            held[percent] += percentile.low <= truth(kind, percent, between) <= percentile.high
            widths[percent] += (percentile.high - percentile.low) / 1_000
            values[percent].append(percentile.value)
    ideal = {percent: np.quantile(values[percent], 0.975) - np.quantile(values[percent], 0.025) for percent in held}
    assert min(held.values()) >= 930, held
    assert all(widths[percent] <= 1.6 * ideal[percent] for percent in held), (widths, ideal)


def test_no_interval_is_narrower_than_that_of_independent_samples() -> None:
    """The same samples in one block have the interval of order statistics."""
    random = np.random.default_rng(1)
    for each in (4, 20, 50, *[200] * 20):
        blocks = [counted((MEDIAN * np.exp(WITHIN * random.standard_normal(each))).astype(np.int64)) for _ in range(20)]
        pooled = Histogram()
        for block in blocks:
            pooled.merge(block)
        found, narrowest = estimate(blocks), estimate([pooled])
        assert (found.method, narrowest.method) == ("bootstrap", "order statistics")
        for percent in (percent for percent, known in found.percentiles.items() if known):
            assert of(found, percent).low <= of(narrowest, percent).low
            assert of(found, percent).high >= of(narrowest, percent).high
