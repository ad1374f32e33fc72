"""The table of a run's last lines, and its verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from geventecho.results import Account, Connections, Failures, GateOutcome, Row, Verdict, table
from tests.results.samples import START, block, result, row

DASH = "\N{EN DASH}"


HOSTILE = ["n" * 200, "名前" * 60, "🙂" * 100, "e\u0301" * 200, "\x1b[2J\r\n", "a word " * 30]


def lines(*rows: Row) -> list[str]:
    """The lines of the rows, with their head."""
    printed = table(result(*rows)).splitlines()
    return printed[1 : next(number for number, line in enumerate(printed) if line.startswith("operations: "))]


def test_a_row_has_its_counts_and_times_in_milliseconds() -> None:
    head, counts, response, service = lines(row([block(START + second, [1234.0] * 100) for second in range(60)], 60))
    assert head.split() == ["ms", "p50", "p99", "p99.9"]
    assert counts == "TCP echo: 6000 ok, 0 failed, 100 good/s"
    assert response.startswith("  response ")
    assert response.count("1.23 [1.23, 1.23]") == 3
    assert service.startswith("  service ")


def test_large_figures_have_no_exponent() -> None:
    printed = lines(row([block(START, [1_234_000_000.0] * 12_345)], 1))
    assert printed[1].endswith(" 12345 good/s")
    assert "1234s [1234s, 1234s]" in printed[2]


def test_the_offered_percentiles_are_printed_where_operations_were_lost() -> None:
    printed = lines(row([block(START + second, [100.0] * 98, failed=1, dropped=1) for second in range(60)], 60))
    assert printed[1].endswith("60 failed, 60 dropped, 98 good/s")
    assert printed[-1].startswith("  offered ")
    assert "lost [lost, lost]" in printed[-1]


def test_a_row_without_good_operations_has_no_offered_percentiles() -> None:
    _, counts, *times = lines(row([block(START, [], failed=400)], 1))
    assert counts == "TCP echo: 0 ok, 400 failed, 0 good/s"
    assert not any("offered" in line for line in times)


def test_a_withheld_percentile_has_the_missing_duration() -> None:
    printed = lines(row([block(START, [100.0] * 40)], 1), row([block(START, [100.0] * 367)], 1))
    assert f"{DASH} (9 s more)" in printed[2]
    assert f"{DASH} (1 s more)" in printed[5]


def test_a_withheld_percentile_has_no_duration_where_more_time_brings_no_samples() -> None:
    failed = row([block(START, [], failed=40)], 1)
    some = row([block(START, [100.0] * 40)], 1, ("TCP", "connect"))
    for no_time_helps in (failed, replace(some, missing={})):
        assert "s more" not in "".join(lines(no_time_helps))
    assert lines(failed)[2].split() == ["response", DASH, DASH, DASH]
    assert "".join(lines(some)).count("s more") == 4


def test_the_table_has_the_target_the_account_and_the_verdict() -> None:
    made = replace(
        result(row([block(START, [1.0])], 1)), account=Account(9, 8, 7, 1, 20, 15, 3, 2, 6, 1),
        connections=Connections(0, 0, 1, 6, 1, 5), verdict=Verdict("unsteady", ("it grew", "it fell")),
    )  # fmt: skip
    first, *_, operations, tasks, connects, verdict, reason, another = table(made).splitlines()
    assert first == "tcp://127.0.0.1:1: measured for 60.0 s; times in ms, with 95 % intervals"
    assert operations == "operations: started 20, ok 15, failed 3, aborted 2"
    assert tasks == "tasks: planned 9, sent 8 (7 of them late), dropped 1"
    assert connects == "connects: 6, at most 5 in one second"
    assert (verdict, reason, another) == ("verdict: unsteady", "  it grew", "  it fell")


def test_a_run_without_rows_or_a_plan_has_the_other_lines() -> None:
    made = replace(result(), account=Account(*[0] * 10), verdict=Verdict("trusted", ()))
    assert table(made).splitlines() == [
        "tcp://127.0.0.1:1: measured for 60.0 s",
        "operations: started 0, ok 0, failed 0, aborted 0",
        "connects: 0, at most 5 in one second",
        "verdict: trusted (up to p99)",
    ]


def test_the_most_frequent_failures_are_shown_with_a_sample() -> None:
    kinds = [Failures("TCP", "echo", f"kind {number}", 9 - number, "") for number in range(7)]
    kinds[1] = replace(kinds[1], sample="b'-ERR'\x1b")
    printed = table(replace(result(), failures=tuple(kinds))).splitlines()
    start = printed.index("failures:")
    assert printed[start + 1 : start + 8] == [
        "  9 TCP echo: kind 0", "  8 TCP echo: kind 1", r"    b'-ERR'\x1b", "  7 TCP echo: kind 2",
        "  6 TCP echo: kind 3", "  5 TCP echo: kind 4", "  7 more, of 2 other kinds",
    ]  # fmt: skip


def test_each_gate_has_its_figure() -> None:
    gates = (GateOutcome("p99 < 5ms", True, "p99 3.2 ms", ""), GateOutcome("rate > 9", False, "", "no such row"))
    printed = table(replace(result(), gates=gates)).splitlines()
    assert printed[-4:-2] == ["gate met: p99 < 5ms (p99 3.2 ms)", "gate NOT met: rate > 9: no such row"]


@pytest.mark.parametrize("microseconds", [0.1, 1.0, 99.9, 12_345.6, 999_999.0, 99_999_999.0, 9e10, 1e15])
@pytest.mark.parametrize("count", [1, 10**6, 10**10, 10**15])
def test_lines_fit_80_columns(microseconds: float, count: int, wcswidth: Callable[[str], int]) -> None:
    for text in HOSTILE:
        one = row([block(START, [microseconds] * 4000, failed=1)], 1, ("TRANSACTION", text))
        missing = {"response_us": dict.fromkeys(("p50", "p99", "p99_9"), float(count))}
        many = replace(one, ok=count, failed=count, dropped=count, rate=float(count))
        few = replace(many, missing=missing, response_us=replace(one.response_us, p50=None, p99=None))
        made = replace(
            result(one, many, few), target=text, verdict=Verdict("unsteady", (text, text)),
            account=Account(*[count] * 10),
            connections=Connections(*[count] * 6), failures=(Failures("TCP", text, text, count, text),) * 9,
            gates=(GateOutcome(text, False, text, text),),
        )  # fmt: skip
        for line in table(made).splitlines():
            assert wcswidth(line) <= 80, line
            assert line.isprintable()


def test_text_of_peers_cannot_command_the_terminal() -> None:
    printed = lines(row([block(START, [1.0])], 1, ("TCP", "\x1b[2J\r\n\u202eé")))
    assert printed[1].startswith(r"TCP \x1b[2J\r\n\u202eé: 1 ok")
    assert table(replace(result(), verdict=Verdict("unsteady", ("a\nb",)))).splitlines()[-1] == r"  a\nb"
