"""The state of a running test, as lines of a terminal of any size and as a line of a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geventecho.results import Users, display, plain_line

EN_DASH = "\N{EN DASH}"
USERS = Users(50, 50)


def row(name: str = "echo", ok: int = 1000, kind: str = "TCP", **values: Any) -> dict[str, Any]:
    times = {"p50": {"value": 210.0, "low": 200.0, "high": 220.0}, "p99": None}
    return {
        "type": kind, "name": name, "setup": name == "connect", "ok": ok, "failed": 0, "rate": ok / 12,
        "response_us": times,
    } | values  # fmt: skip


def live(*rows: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A running test after 12 seconds."""
    account = {"started": 1050, "failed": 0, "dropped": 0}
    return {
        "state": "running", "elapsed_s": 12.3, "left_s": 17.7, "target": "tcp://127.0.0.1:8090",
        "verdict": {"status": "trusted", "reasons": []}, "gates": [],
        "now": {"achieved": 83.33, "planned": None},
        "account": account, "connections": {"open": 50}, "rows": rows or (row("connect", 50), row()),
    } | values  # fmt: skip


def test_the_line_of_a_log_has_the_state_of_the_test() -> None:
    assert plain_line(live(), USERS) == (
        f"12 s of 30 s: 50 users, 83.33 good/s, p50 0.210 ms, p99 {EN_DASH}, 0 failed, 50 open, trusted so far"
    )


def test_the_line_has_the_planned_time_if_there_is_one_and_the_users_that_are_missing() -> None:
    assert plain_line(live(left_s=None), Users(20, 50)).startswith("12 s: 20 of 50 users, ")
    assert plain_line(live(elapsed_s=3900.0, left_s=20.0), Users(1, 1)).startswith("1:05:00 of 1:05:20: 1 user, ")
    assert plain_line(live(elapsed_s=119.0, left_s=6.0), Users(0, 0)).startswith("119 s of 2:05: 0 users, ")


def test_before_the_first_result_the_line_has_the_state() -> None:
    starting = {"state": "starting", "elapsed_s": 0.2, "left_s": 29.8}
    assert plain_line(starting, Users(3, 50)) == "0 s of 30 s: 3 of 50 users, starting"
    assert display({"state": "starting"}, Users(3, 50), 80, 12)[1] == "3 of 50 users   starting"


def test_failures_have_a_share_and_a_plan_its_rate() -> None:
    planned = live(
        account={"started": 1000, "failed": 30, "dropped": 5},
        now={"achieved": 83.33, "planned": 90.0},
        verdict={"status": "unsteady", "reasons": ["echo: p50 rose"]},
    )  # fmt: skip
    assert "83.33 good/s, 90 tasks/s planned, " in plain_line(planned, USERS)
    assert plain_line(planned, USERS).endswith("30 failed (3.00%), 5 dropped, 50 open, unsteady so far")


def test_the_percentiles_are_those_of_the_busiest_row_except_connects() -> None:
    slow = {"p50": {"value": "lost"}, "p99": {"value": 12_345_678.0}}
    found = plain_line(
        live(row("connect", 9000), row("a", 10), row("b", 20, response_us=slow), row("U", 99, "TASK")), USERS
    )
    assert "p50 lost, p99 12.3s, " in found
    failing = row("a", 10, failed=11, response_us=slow)
    assert "p50 lost" in plain_line(live(row("b", 20), failing), USERS), "failed operations count as well"
    assert "p50" not in plain_line(live(rows=[]), USERS)


def test_the_display_has_a_line_for_each_row_and_the_first_reason() -> None:
    verdict = {"status": "generator-bound", "reasons": ["the process had no core", "another"]}
    gates = [{"expression": "echo p99 < 5ms", "met": False}, {"expression": "failures < 1%", "met": True}]
    lines = display(live(verdict=verdict, gates=gates), USERS, 80, 12)
    assert lines[0].strip("\N{BOX DRAWINGS LIGHT HORIZONTAL}").split() == [
        "12", "s", "of", "30", "s", "\N{BOX DRAWINGS LIGHT HORIZONTAL}", "tcp://127.0.0.1:8090",
    ]  # fmt: skip
    assert lines[1:] == [
        "50 users   50 open   83.33 good/s   0 failed",
        "                                           p50 ms   p99 ms   good/s   failed",
        f"TCP echo                                    0.210        {EN_DASH}    83.33        0",
        f"TCP connect                                 0.210        {EN_DASH}    4.167        0",
        "1 of 2 gates met so far; not met: echo p99 < 5ms",
        "generator-bound so far: the process had no core",
    ]


def test_rows_leave_the_display_before_the_verdict_does() -> None:
    many = live(*(row(f"row {number:02}", 100 - number, failed=10_000_000) for number in range(12)))
    verdict = "trusted so far"
    whole = display(many, USERS, 80, 100)
    assert [line.split()[2] for line in whole[3:-1]] == [f"{number:02}" for number in range(8)]
    assert (whole[3].split()[-1], whole[-1]) == ("10M", verdict)
    for height in range(5, 12):
        assert display(many, USERS, 80, height) == [*whole[: height - 1], verdict]
    for height in (3, 4):
        assert display(many, USERS, 80, height) == [*whole[:2], verdict], "no head without a row"


HOSTILE = ["\x1b[2J\x07\r\n", "名前" * 40, "e\u0301" * 60, "\u202e" * 9, "🙂" * 30, "n" * 200, "\x9b31m"]


@pytest.mark.parametrize("width", [1, 2, 7, 20, 21, 39, 40, 79, 80, 200, 400])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 12, 100])
def test_no_line_is_too_wide_and_none_commands_the_terminal(
    width: int, height: int, wcswidth: Callable[[str], int]
) -> None:
    for text in HOSTILE:
        rows = [row(f"{number}{text}", 10**number, failed=10**number) for number in range(1, 13)]
        verdict = {"status": "unsteady", "reasons": [text * 3]}
        gates = [{"expression": text, "met": False}]
        found = live(
            *rows, target=text, verdict=verdict, gates=gates, account={"started": 1, "failed": 10**10, "dropped": 2}
        )
        lines = display(found, Users(10**6, 10**7), width, height)
        assert 0 < len(lines) <= height
        for line in lines:
            assert line.isprintable()
            assert wcswidth(line) <= width
        assert plain_line(found, USERS).isprintable()
