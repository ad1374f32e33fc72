"""The histogram: its error bound, exact sums, merges without loss, and its way through JSON and msgpack."""

from __future__ import annotations

import json
import math
import statistics

import msgpack
import pytest

from geventecho.histogram import Histogram
from tests.support.properties import given, st

latencies = st.floats(min_value=1e-6, max_value=100.0)
many = st.lists(latencies, min_size=1, max_size=200)
NANOSECOND = 1e-9


def counted(times: list[float]) -> Histogram:
    histogram = Histogram()
    for seconds in times:
        histogram.record(seconds)
    return histogram


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


@given(st.lists(latencies, max_size=50), st.lists(latencies, max_size=50), st.lists(latencies, max_size=50))
def test_merging_equals_counting_all_in_one(one: list[float], two: list[float], three: list[float]) -> None:
    together = counted(one + two + three)
    left = counted(one)
    left.merge(counted(two))
    left.merge(counted(three))
    right = counted(three)
    right.merge(counted(one))
    right.merge(counted(two))
    assert left == together == right
    assert left != counted([*one, *two, *three, 1.0])


@given(st.lists(latencies, max_size=100))
def test_it_survives_json_and_msgpack(times: list[float]) -> None:
    histogram = counted(times)
    assert Histogram.from_dict(json.loads(json.dumps(histogram.to_dict()))) == histogram
    assert Histogram.from_dict(msgpack.unpackb(msgpack.packb(histogram.to_dict()))) == histogram


def test_it_stays_small() -> None:
    histogram = counted([1e-6 * 1.001**step for step in range(18500)])
    assert histogram.max is not None
    assert histogram.max > 100
    assert len(msgpack.packb(histogram.to_dict())) < 16_000


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
