"""Trends of values over time."""

from __future__ import annotations

import random

import pytest

from geventecho.results.steadiness import trend


def test_nine_points_have_no_trend() -> None:
    assert trend([(float(second), 1.0) for second in range(9)]) is None
    assert trend([(float(second), 1.0) for second in range(10)]) is not None


@pytest.mark.parametrize("count", [10, 59, 60, 61, 500, 1024])
def test_the_trend_of_a_line_is_that_line(count: int) -> None:
    """Slope, change and level are those of the line, however many points are averaged."""
    found = trend([(float(second), 5.0 + second * 0.25) for second in range(count)])
    assert found is not None
    assert found.is_ordered
    assert found.per_minute == pytest.approx(15.0)
    assert found.level == pytest.approx(5.0 + 0.25 * (count - 1) / 2, rel=0.01)
    assert found.change == pytest.approx(0.25 * (count - 1), rel=0.02 if count <= 60 else 0.06)


def test_a_stall_near_an_end_is_no_trend() -> None:
    """A quarter of the points may be far from the line."""
    found = trend(
        [(float(second), 1.0 + 0.01 * (second % 3) + (90.0 if second >= 15 else 0.0)) for second in range(20)]
    )
    assert found is not None
    assert abs(found.change) < 1.0


@pytest.mark.parametrize("count", [10, 20, 60, 300])
def test_random_values_have_no_order(count: int) -> None:
    """At most 2 of 300 random sequences are ordered."""
    draw = random.Random(12).gauss
    ordered = 0
    for _ in range(300):
        found = trend([(float(second), draw(1.0, 0.2)) for second in range(count)])
        ordered += found is not None and found.is_ordered
    assert ordered <= 2
