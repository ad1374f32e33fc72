"""The parts of a test: warm-up, measured part, stages."""

from __future__ import annotations

import math

import pytest

from geventecho.results.timeline import Span, Timeline

BEGUN = 1000.25


def timeline(warm_up: float = 0.0, ended: float | None = None, boundaries: set[int] | None = None) -> Timeline:
    made = Timeline(BEGUN, warm_up, set() if boundaries is None else boundaries)
    made.ended = ended
    return made


def test_without_a_warm_up_all_of_the_test_is_measured() -> None:
    made = timeline(ended=1030.75)
    assert made.measured(2000) == Span(1000, 1031, 30.5)
    assert made.warm_up(2000) is None


def test_the_second_in_which_the_warm_up_ends_belongs_to_it() -> None:
    boundaries: set[int] = set()
    made = timeline(5.0, 1030.75, boundaries)
    assert made.measured(2000) == Span(1006, 1031, 24.75)
    assert made.warm_up(2000) == Span(1000, 1006, 5.75)
    assert boundaries == {1006}
    whole = Timeline(1000.0, 5.0, set())
    assert whole.measured(1010.0) == Span(1005, 1010, 5.0), "a warm-up of whole seconds takes no further second"


@pytest.mark.parametrize("ended", [1003.5, 1006.0])
def test_a_warm_up_that_is_not_over_leaves_no_measured_part(ended: float) -> None:
    made = timeline(5.0, ended)
    assert made.measured(2000).duration == 0
    warm_up = made.warm_up(2000)
    assert warm_up is not None
    assert warm_up.duration == ended - BEGUN


def test_a_reset_begins_the_measured_part_anew_and_does_not_end_the_warm_up() -> None:
    boundaries: set[int] = set()
    made = timeline(5.0, None, boundaries)
    made.restart(1002.5)
    assert made.measured_from == 1006
    made.restart(1010.5)
    assert made.measured(1020.0) == Span(1011, 1020, 9.0)
    warm_up = made.warm_up(1020.0)
    assert warm_up == Span(1000, 1011, 10.75)
    assert {1006, 1011} <= boundaries


def test_each_second_belongs_to_one_stage_if_stages_last_whole_seconds() -> None:
    made = Timeline(1000.0, 0.0, set())
    made.ended = 1012.5
    made.follow_plan(1000.3, [(100.0, 3.0), (500.0, 2.0), (50.0, math.inf)])
    assert made.stages(2000) == [
        Span(1000, 1003, 3.0, rate=100.0),
        Span(1003, 1005, 2.0, rate=500.0),
        Span(1005, 1013, 7.5, rate=50.0),
    ]
    assert sum(span.duration for span in made.stages(2000)) == made.measured(2000).duration


def test_a_second_in_which_two_stages_meet_belongs_to_none() -> None:
    boundaries: set[int] = set()
    made = timeline(ended=1012.0, boundaries=boundaries)
    made.follow_plan(1000.3, [(100.0, 3.5), (500.0, 0.5), (200.0, 2.0), (50.0, math.inf)])
    assert made.stages(2000) == [
        Span(1000, 1003, 2.75, rate=100.0),
        Span(1005, 1006, 1.0, rate=200.0),
        Span(1007, 1012, 5.0, rate=50.0),
    ]
    assert boundaries >= {1003, 1004, 1005, 1006, 1007}


def test_a_change_of_the_rate_ends_the_stages_that_were_planned() -> None:
    made = timeline(ended=1010.0)
    made.follow_plan(1000.3, [(100.0, 3.0), (500.0, 60.0)])
    made.follow_plan(1005.5, [(10.0, 2.0), (20.0, math.inf)])
    assert [(span.first, span.end, span.rate) for span in made.stages(2000)] == [
        (1000, 1003, 100.0), (1004, 1005, 500.0), (1006, 1007, 10.0), (1008, 1010, 20.0),
    ]  # fmt: skip


def test_the_tasks_asked_for_are_rates_times_durations() -> None:
    made = timeline(ended=1012.0)
    assert made.asked(2000) == 0
    made.follow_plan(1000.3, [(100.0, 3.0), (500.0, 60.0)])
    made.follow_plan(1005.25, [(10.0, 2.0)])
    assert made.asked(2000) == pytest.approx(300 + 1000 + 20)
    late = timeline(4.0, 1012.0)
    late.follow_plan(BEGUN, [(100.0, math.inf)])
    assert late.asked(2000) == 100.0 * late.measured(2000).duration


def test_stages_begin_with_the_measured_part() -> None:
    made = timeline(4.0, 1010.0)
    made.follow_plan(1000.3, [(100.0, 3.0), (500.0, 3.0), (50.0, math.inf)])
    assert [(span.first, span.end) for span in made.stages(2000)] == [(1005, 1006), (1007, 1010)]


def test_a_stage_of_a_shape_is_unchanged_for_10_seconds() -> None:
    made = timeline(ended=1050.0)
    for second, users in ((0.1, 10), (1, 10), (12, 20), (15, 30), (16, 30), (30, 10)):
        made.follow_shape(BEGUN + second, users, 5.0)
    assert made.stages(2000) == [
        Span(1000, 1012, 11.75, users=10, spawn_rate=5.0),
        Span(1016, 1030, 14.0, users=30, spawn_rate=5.0),
        Span(1031, 1050, 19.0, users=10, spawn_rate=5.0),
    ]


def test_a_stage_of_10_seconds_is_found_though_the_shape_is_asked_once_a_second() -> None:
    made = timeline(ended=1030.3)
    for tick in range(30):
        at = tick * 1.004
        made.follow_shape(BEGUN + at, 10 * (1 + int(at / 10)), 5.0)
    assert [span.users for span in made.stages(2000)] == [10, 20, 30]


def test_a_shape_and_a_plan_make_a_stage_of_each_combination() -> None:
    made = timeline(ended=1040.0)
    made.follow_plan(BEGUN, [(100.0, 20.0), (500.0, math.inf)])
    made.follow_shape(BEGUN, 10, 5.0)
    made.follow_shape(1025.0, 20, 5.0)
    assert [(span.rate, span.users) for span in made.stages(2000)] == [(100.0, 10), (500.0, 20)]


def test_blocks_outside_of_the_test_are_in_its_first_or_last_part_and_add_no_time() -> None:
    made = timeline(5.0, 1015.5)
    made.follow_plan(BEGUN, [(100.0, 8.0), (50.0, math.inf)])
    for second in (1002, 1016, 998):
        made.see(second)
    assert made.measured(2000) == Span(1006, 1017, 9.5)
    assert made.warm_up(2000) == Span(998, 1006, 5.75)
    assert [(span.first, span.end, span.duration) for span in made.stages(2000)] == [
        (1006, 1008, 2.0),
        (1009, 1017, 6.5),
    ]
    cold = timeline(ended=1015.5)
    cold.see(998)
    assert cold.measured(2000) == Span(998, 1016, 15.25)
    short = timeline(60.0, 1015.5)
    short.see(1016)
    assert short.warm_up(2000) == Span(1000, 1017, 15.25)


def test_without_rate_and_shape_there_are_no_stages() -> None:
    assert timeline(ended=1040.0).stages(2000) == []


def test_the_load_is_steady_between_changes_of_users_and_rate() -> None:
    made = timeline(5.0, 1040.0)
    for second, users in ((1, 5), (2, 10), (3, 10), (30, 9)):
        made.count_users(1000.0 + second, users)
    assert made.steady(2000) == [(1006, 1030), (1030, 1040)]
    made.follow_plan(BEGUN, [(100.0, 10.0), (50.0, math.inf)])
    assert made.steady(2000) == [(1006, 1010), (1011, 1030), (1030, 1040)]
