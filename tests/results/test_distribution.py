"""The percentiles of HdrHistogram's iteration."""

from __future__ import annotations

import math

from geventecho.histogram import Histogram
from geventecho.results.distribution import distribution
from tests.support.properties import given, st


def histogram(*microseconds: float) -> Histogram:
    made = Histogram()
    made.count_all([int(time * 1000) for time in microseconds])
    return made


def test_there_are_five_ticks_in_each_half_of_the_distance() -> None:
    found = distribution(histogram(*range(1, 1001)))
    assert found.percentiles[:12] == (0, 10, 20, 30, 40, 50, 55, 60, 65, 70, 75, 77.5)
    assert found.percentiles[-1] == 100.0
    assert found.counts[-1] == 1000
    assert found.counts[found.percentiles.index(50)] >= 500
    assert abs(found.values[found.percentiles.index(50)] - 500) <= 5
    assert found.values[-1] == found.max == 1000.0
    assert found.mean == 500.5
    assert abs(found.deviation - 288.7) < 3


def test_the_distribution_of_one_time_has_levels_0_and_100() -> None:
    found = distribution(histogram(250.0))
    assert (found.percentiles, found.counts) == ((0.0, 100.0), (1, 1))
    assert found.values == (250.0, 250.0)
    assert found.deviation == 0.0


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300))
def test_each_percentile_agrees_with_the_histogram(nanoseconds: list[int]) -> None:
    made = Histogram()
    made.count_all(nanoseconds)
    found = distribution(made)
    assert list(found.percentiles) == sorted(found.percentiles)
    assert list(found.counts) == sorted(found.counts)
    assert list(found.values) == sorted(found.values)
    for percentile, value, count in zip(found.percentiles, found.values, found.counts, strict=True):
        assert count >= math.floor(percentile * len(nanoseconds) / 100)
        exact = made.percentile(percentile)
        assert exact is not None
        assert abs(value - exact * 1e6) <= 0.011 * exact * 1e6 + 0.1
