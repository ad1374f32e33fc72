"""The histogram: its error bound, exact sums, counting in bulk, merges without loss, and its compact form."""

from __future__ import annotations

import math
import statistics
from random import Random

import pytest

from geventecho.histogram import Histogram, middle
from tests.support.properties import given, st

latencies = st.floats(min_value=1e-6, max_value=100.0)
many = st.lists(latencies, min_size=1, max_size=200)
NANOSECOND = 1e-9


def counted(times: list[float]) -> Histogram:
    histogram = Histogram()
    for seconds in times:
        histogram.record(seconds)
    return histogram


def figures(histogram: Histogram) -> list[float | None]:
    percentiles = [histogram.percentile(percent) for percent in (0, 1, 50, 90, 99, 99.9, 99.99, 100)]
    return [histogram.count, histogram.min, histogram.max, histogram.mean, *percentiles]


def nearest_rank(times: list[float], percent: float) -> float:
    return sorted(times)[max(1, math.ceil(len(times) * percent / 100)) - 1]


@given(many, st.floats(min_value=0, max_value=100))
def test_a_percentile_is_within_one_percent(times: list[float], percent: float) -> None:
    found = counted(times).percentile(percent)
    assert found == pytest.approx(nearest_rank(times, percent), rel=0.01, abs=NANOSECOND)


@given(latencies)
def test_the_bound_holds_between_other_times(seconds: float) -> None:
    # Neither the shortest nor the longest, which are exact anyway.
    found = counted([seconds, seconds / 10, seconds * 10]).percentile(50)
    assert found == pytest.approx(seconds, rel=0.01, abs=NANOSECOND)


@given(many)
def test_count_extremes_and_mean_are_exact(times: list[float]) -> None:
    histogram = counted(times)
    assert histogram.count == len(times)
    assert histogram.min == pytest.approx(min(times), abs=NANOSECOND, rel=1e-12)
    assert histogram.max == pytest.approx(max(times), abs=NANOSECOND, rel=1e-12)
    assert histogram.mean == pytest.approx(statistics.fmean(times), abs=NANOSECOND, rel=1e-12)
    assert (histogram.percentile(0), histogram.percentile(100)) == (histogram.min, histogram.max)


@given(st.lists(st.lists(latencies, max_size=50), max_size=5), st.randoms())
def test_merged_figures_equal_those_of_the_pooled_samples_in_any_order(
    parts: list[list[float]], chance: Random
) -> None:
    pooled = counted([seconds for part in parts for seconds in part])
    histograms = [counted(part) for part in parts]
    chance.shuffle(histograms)
    merged = Histogram()
    for histogram in histograms:
        # As it arrives from a worker, or as it was counted.
        merged.merge(chance.choice([histogram, Histogram.from_bytes(histogram.to_bytes())]))
    assert merged == pooled
    assert figures(merged) == figures(pooled)
    merged.record(1.0)
    assert merged != pooled


def test_a_hundred_thousand_times_are_each_within_one_percent() -> None:
    chance = Random(1)
    times = sorted(round(10 ** chance.uniform(3, 11)) for _ in range(100_000))  # 1 µs to 100 s
    histogram = Histogram()
    histogram.count_all(times)
    spread = [time for bucket, count in histogram.buckets() for time in [middle(bucket)] * count]
    assert max(abs(found / time - 1) for found, time in zip(spread, times, strict=True)) < 0.004


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_percentiles_agree_with_numpy(sigma: float) -> None:
    numpy = pytest.importorskip("numpy", reason="needs numpy, of requirements-dev.txt")
    times = (numpy.random.default_rng(1).lognormal(0, sigma, 100_001) * 1e6).astype(int)
    histogram = Histogram()
    histogram.count_all(times.tolist())
    for percent in (0.01, 1, 25, 50, 90, 95, 99, 99.9, 99.99):
        exact = numpy.percentile(times, percent, method="inverted_cdf") / 1e9
        assert histogram.percentile(percent) == pytest.approx(float(exact), rel=0.005)


@given(st.lists(st.integers(min_value=-(10**6), max_value=10**15), max_size=100))
def test_counting_in_bulk_equals_counting_one_by_one(times: list[int]) -> None:
    together = Histogram()
    together.count_all(times)
    one_by_one = Histogram()
    for nanoseconds in times:
        one_by_one.count_all([nanoseconds])
    assert together == one_by_one
    assert together.count == len(times)
    assert together.mean == (sum(max(0, time) for time in times) / (len(times) * 10**9) if times else None)


@given(many)
def test_buckets_are_sorted_and_near_their_times(times: list[float]) -> None:
    buckets = counted(times).buckets()
    spread = [middle(bucket) / 1e9 for bucket, count in buckets for _ in range(count)]
    assert buckets == sorted(buckets)
    assert spread == pytest.approx(sorted(times), rel=0.005, abs=NANOSECOND)


@given(st.lists(latencies, max_size=100), st.integers(min_value=1, max_value=10**12))
def test_its_compact_form_restores_it(times: list[float], weight: int) -> None:
    histogram = counted(times)
    for _ in range(weight.bit_length()):
        histogram.merge(histogram)  # counts and totals of any width
    assert Histogram.from_bytes(histogram.to_bytes()) == histogram


def test_its_compact_form_is_small() -> None:
    histogram = counted([1e-6 * 1.001**step for step in range(18500)])
    assert histogram.max is not None
    assert histogram.max > 100
    assert len(histogram.to_bytes()) < 2 * len(histogram.buckets()) + 50


def test_a_percentile_is_of_the_number_as_written() -> None:
    # 99.9 is not a binary fraction: 1000 * 99.9 / 100 is a little more than 999.
    histogram = counted([1.0] * 999 + [2.0])
    assert histogram.percentile(99.9) == pytest.approx(1.0, rel=0.01)


def test_nothing_counted_has_no_figures() -> None:
    empty = Histogram()
    assert (empty.count, empty.min, empty.max, empty.mean, empty.percentile(50)) == (0, None, None, None, None)
    empty.merge(Histogram())
    assert empty == Histogram()


def test_zero_and_a_clock_that_went_back_count_as_zero() -> None:
    histogram = counted([0.0, -1.0])
    assert (histogram.count, histogram.min, histogram.max, histogram.mean) == (2, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan])
def test_a_percentile_outside_its_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        counted([1.0]).percentile(percent)
