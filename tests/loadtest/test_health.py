"""The samples of a process's health."""

from __future__ import annotations

import pytest

from tests.support.locust_script import run_script
from tests.support.timing import SCALE


def test_a_process_that_is_stopped_says_so() -> None:
    """SIGSTOP: no code of it runs, and the tick afterwards is late by as much."""
    samples = run_script("health.stopped", 0.5)
    longest = max(samples, key=lambda sample: sample["lag"])
    assert longest["lag"] > 0.47
    assert longest["span"] > 0.47
    assert sum(sample["span"] for sample in samples) > 0.7


def test_a_machine_that_was_suspended_says_so() -> None:
    """No clock that ticks meanwhile is used for the ticks."""
    samples = run_script("health.suspended", 30.0)
    assert samples[-1]["lag"] == pytest.approx(30.0, abs=0.01)


def test_the_counts_of_each_second() -> None:
    """They are differences, and add up. Counts from before the start are not in them."""
    samples = run_script("health.counted")
    assert len(samples) >= 2
    assert [sample["second"] for sample in samples] == sorted({sample["second"] for sample in samples})
    turns = sum(sample["late"] for sample in samples)
    assert turns > 5
    expected = {"started": 4, "ended": 2, "planned": 3, "sent": 2, "dropped": 1, "waited": 2}
    assert {name: sum(sample[name] for sample in samples) for name in expected} == {
        name: each * turns for name, each in expected.items()
    }
    assert samples[-1]["in_flight"] == 100 + turns
    assert {(sample["users"], sample["pausing"]) for sample in samples} == {(7, 5)}


def test_a_worker_that_did_not_hear_the_start_of_its_test_is_sampled_from_its_next_report_on() -> None:
    """It came late, and had users before it listened. All that they did by then is counted."""
    samples = run_script("health.unheard_start")
    assert sum(sample["connects"] for sample in samples) == 3
    assert sum(sample["started"] for sample in samples) == 5
    assert sum(sample["span"] for sample in samples) < 0.2 * SCALE
    assert (samples[-1]["users"], samples[-1]["open"]) == (3, 2), "as they were before they began to end"


@pytest.mark.alone
def test_a_process_beside_a_hog() -> None:
    """It runs, or waits for its core, all of the time; schedstat and the clock of the process agree."""
    result = run_script("health.beside_a_busy_process")
    samples = result["samples"]
    whole = sum(sample["span"] for sample in samples)
    ran = sum(sample["cpu"] * sample["span"] for sample in samples)
    waited = sum(sample["wait"] * sample["span"] for sample in samples)
    assert ran == pytest.approx(result["used"], abs=0.02)
    assert ran + waited > 0.9 * whole
    assert waited > 0.2 * whole
    assert max(sample["core"] for sample in samples) > 0.9
    assert all(0 <= sample["steal"] <= 1 for sample in samples)


def test_what_cannot_be_read_is_unknown() -> None:
    """It is None, not 0. The clock of the process is always there."""
    for sample in run_script("health.without_files"):
        assert [sample[name] for name in ("core", "wait", "throttled", "steal")] == [None] * 4
        assert sample["cpu"] > 0


@pytest.mark.parametrize(
    ("membership", "first", "unit"),
    [
        ("0::/system.slice/load.service\n", "/sys/fs/cgroup/system.slice/load.service/cpu.stat", 1e6),
        ("0::/\n", "/sys/fs/cgroup/cpu.stat", 1e6),
        ("5:memory:/m\n4:cpu,cpuacct:/docker/ab:c\n0::/\n", "/sys/fs/cgroup/cpu/docker/ab:c/cpu.stat", 1e9),
        ("1:cpu:/\n2:cpuset:/x\n", "/sys/fs/cgroup/cpu/cpu.stat", 1e9),
    ],
)
def test_where_the_cgroup_is(membership: str, first: str, unit: float) -> None:
    """Both versions of cgroups; with version 1 the line of the processor counts."""
    files = run_script("health.cgroup_files", membership)
    assert files[0] == [first, unit]


def test_a_process_without_a_cgroup_has_no_file() -> None:
    """Nothing is guessed."""
    assert run_script("health.cgroup_files", "") == []
