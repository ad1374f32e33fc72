"""The table of a run's last lines, and its verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geventecho.results import Row, Verdict, table, verdict_lines, worker_of
from tests.results.evidence import QUIET
from tests.results.samples import START, block, result, row

DASH = "\N{EN DASH}"


def lines(*rows: Row) -> list[str]:
    return table(result(*rows)).splitlines()


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


def test_the_offered_percentiles_are_beside_the_good_ones_where_something_was_lost() -> None:
    printed = lines(row([block(START + second, [100.0] * 98, failed=1, dropped=1) for second in range(60)], 60))
    assert "1 failed" not in printed[1]
    assert printed[1].endswith("60 failed, 60 dropped, 98 good/s")
    assert printed[-1].startswith("  offered ")
    assert "lost [lost, lost]" in printed[-1]


def test_a_withheld_percentile_says_how_long_it_would_take() -> None:
    printed = lines(row([block(START, [100.0] * 40)], 1), row([block(START, [100.0] * 367)], 1))
    assert f"{DASH} (9 s more)" in printed[2]
    assert f"{DASH} (1 s more)" in printed[5]


def test_where_more_time_would_bring_no_samples_a_withheld_percentile_says_nothing() -> None:
    """Nothing ended well, or all connects have been made: one of each of the 40 users."""
    failed = row([block(START, [], failed=40)], 1)
    once = row([block(START, [100.0] * 40)], 1, ("TCP", "connect"))
    again = row([block(START, [100.0] * 41)], 1, ("TCP", "tls"))
    worker = worker_of("w1", Verdict("trusted", ()), {}, [replace(QUIET, users=40)], 1.0)
    printed = table(replace(result(failed, once, again), workers=(worker,))).splitlines()
    assert [line.count("s more") for line in printed if line.startswith("  ")] == [0, 0, 0, 0, 2, 2]
    assert printed[2].split() == ["response", DASH, DASH, DASH]


@pytest.mark.parametrize("microseconds", [0.1, 1.0, 99.9, 12_345.6, 999_999.0, 99_999_999.0])
def test_lines_fit_80_columns(microseconds: float) -> None:
    long = row([block(START, [microseconds] * 4000, failed=1)], 1, ("TRANSACTION", "n" * 200))
    few = replace(long, missing={})
    for line in [*lines(long), *lines(few)]:
        assert len(line) <= 80, line


def test_what_peers_send_cannot_command_the_terminal() -> None:
    printed = lines(row([block(START, [1.0])], 1, ("TCP", "\x1b[2J\r\n\u202eé")))
    assert printed[1].startswith(r"TCP \x1b[2J\r\n\u202eé: 1 ok")
    assert verdict_lines(Verdict("unsteady", ("a\nb", "c"))).splitlines() == ["verdict: unsteady", r"  a\nb", "  c"]
    assert verdict_lines(Verdict("trusted", ())) == "verdict: trusted (up to p99)"
