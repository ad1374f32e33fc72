"""The samples of a process's health."""

from __future__ import annotations

import pytest

from tests.support.locust_script import run_script
from tests.support.timing import SCALE


def test_the_lag_of_a_stopped_process_is_the_time_for_which_it_was_stopped() -> None:
    """No code of the process runs after SIGSTOP. The tick after SIGCONT is late by the length of the stop."""
    samples = run_script("health.stopped", 0.5)
    longest = max(samples, key=lambda sample: sample["lag"])
    assert longest["lag"] > 0.47
    assert longest["span"] > 0.47
    assert sum(sample["span"] for sample in samples) > 0.7


def test_the_lag_has_the_time_for_which_the_machine_was_suspended() -> None:
    """The clock of the ticks stands still in a suspension, so the lag comes from CLOCK_BOOTTIME."""
    samples = run_script("health.suspended", 30.0)
    assert samples[-1]["lag"] == pytest.approx(30.0, abs=0.01)


def test_the_counts_of_the_seconds_add_up() -> None:
    """The counts are differences. Operations from before the start are not in them."""
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


def test_a_worker_that_did_not_get_the_start_of_its_test_is_sampled_from_its_next_report_on() -> None:
    """The worker joins late, and has users before it listens for the start. All their operations are counted."""
    samples = run_script("health.unheard_start")
    assert sum(sample["connects"] for sample in samples) == 3
    assert sum(sample["started"] for sample in samples) == 5
    assert sum(sample["span"] for sample in samples) < 0.2 * SCALE
    assert (samples[-1]["users"], samples[-1]["open"]) == (3, 2), "the numbers from before the end of the users"


@pytest.mark.alone
def test_a_process_that_shares_its_core_shows_the_wait_for_it() -> None:
    """The process always runs or waits for its core. schedstat and the clock of the process agree."""
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


def test_a_figure_whose_file_cannot_be_read_is_unknown() -> None:
    """The figure is None, not 0. The clock of the process is always there."""
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
def test_the_file_of_the_cgroup_is_found(membership: str, first: str, unit: float) -> None:
    """In version 1 of cgroups the line of the cpu controller names the folder."""
    files = run_script("health.cgroup_files", membership)
    assert files[0] == [first, unit]


def test_a_process_without_a_cgroup_has_no_file() -> None:
    assert run_script("health.cgroup_files", "") == []
