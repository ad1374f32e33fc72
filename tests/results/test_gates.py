"""Gates: their syntax, and their judgement of a result."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geventecho.errors import ConfigError
from geventecho.results import Gate, GateOutcome, Row, parse_gates, uncounted_failures
from tests.results.samples import START, block, result, row
from tests.support.properties import given, st

ECHO = ("TCP", "echo")
GET = ("TCP", "get")


def steady(*times_us: float, key: tuple[str, str] = ECHO, seconds: int = 60, failed: int = 0, dropped: int = 0) -> Row:
    """A row in which each second has the same times."""
    return row([block(START + n, times_us, failed=failed, dropped=dropped) for n in range(seconds)], seconds, key)


def judge(text: str, *rows: Row) -> GateOutcome:
    return Gate.parse(text).judge(result(*rows))


# Syntax -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("echo p99 < 5ms", ("", "echo", "response_us", "p99", "<", 5_000.0)),
        ("failures<0.1%", ("", "", "response_us", "failures", "<", 0.001)),
        ("failures <= .001", ("", "", "response_us", "failures", "<=", 0.001)),
        ("rate > 900/s", ("", "", "response_us", "rate", ">", 900.0)),
        ("  rate >= 30 /min ", ("", "", "response_us", "rate", ">=", 0.5)),
        ("'get item' p99.99 < 1.1 ms", ("", "get item", "response_us", "p99.99", "<", 1_100.0)),
        ('"it\'s < 5" max<2min', ("", "it's < 5", "response_us", "max", "<", 120e6)),
        ("TCP 'x' service p50 < 7us", ("TCP", "x", "service_us", "p50", "<", 7.0)),
        ("echo offered mean < 7µs", ("", "echo", "offered_us", "mean", "<", 7.0)),
        ("service p90 < 7μs", ("", "", "service_us", "p90", "<", 7.0)),
        ("'service' p90 < 1s", ("", "service", "response_us", "p90", "<", 1e6)),
        ("p99 p99 < 1s", ("", "p99", "response_us", "p99", "<", 1e6)),
        ("TCP p99 < 1s", ("", "TCP", "response_us", "p99", "<", 1e6)),
        ("TASK EchoUser failures < 1%", ("TASK", "EchoUser", "response_us", "failures", "<", 0.01)),
    ],
)
def test_a_gate_is_read(text: str, read: tuple[object, ...]) -> None:
    gate = Gate.parse(text)
    assert (gate.type, gate.row, gate.kind, gate.metric, gate.comparison, gate.limit) == read
    assert str(gate) == text.strip()
    assert Gate.parse(str(gate)) == gate


@pytest.mark.parametrize(
    ("marked", "why"),
    [
        ("echo§", "a comparison is missing: <, <=, > or >="),
        ("echo p99 §5ms", "a comparison is missing"),
        ("echo p99 §= 5ms", "a comparison is <, <=, > or >="),
        ("echo p99 <= §= 5ms", "a comparison is <"),
        ("echo p99 < 5ms §> 3ms", "a gate has one comparison"),
        ("§'echo p99 < 5ms", "this quote is not closed"),
        ("§< 5ms", "a metric is missing: p50, p90, "),
        ("echo §p98 < 5ms", "this is not a metric; a metric is p50, "),
        ("§echo < 5ms", "this is not a metric"),
        ("§get item p99 < 5ms", "quote a row's name that has spaces; before the name may be its type: TCP, "),
        ("TCP §get item p99 < 5ms", "quote a row's name that has spaces"),
        ("§'' p99 < 5ms", "this name is empty"),
        ("echo §service rate > 1/s", "rate has no kind of time: leave this word out"),
        ("echo p99 <§", "write a number of 0 or more here; a time has a unit: us, ms, s or min, as in 5ms"),
        ("echo p99 < §-5ms", "write a number of 0 or more here"),
        ("echo p99 < §٣ms", "write a number of 0 or more here"),
        ("echo p99 < 5§", "a time has a unit"),
        ("echo p99 < 5§%", "a time has a unit"),
        ("echo p99 < 5§m", "a time has a unit"),
        ("echo §P99 < 5ms", "write the metric in lower case"),
        ("echo p99 < 5§MS", "a time has a unit"),
        ("echo p99 < 5 ms  §or so", "nothing may follow the limit"),
        ("echo p99 < 1§e-3s", "write the number in plain digits, as in 0.001"),
        ("rate > 900§", "a rate has the unit /s or /min, as in 900/s"),
        ("failures < 3§/s", "a share of failures is in %, or a ratio without a unit, as in 0.1% or 0.001"),
        ("failures < §1.5", "a share is at most 100%"),
    ],
)
def test_an_error_points_at_the_place(marked: str, why: str) -> None:
    text = marked.replace("§", "")
    with pytest.raises(ConfigError) as caught:
        Gate.parse(text)
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(why)
    assert shown == f"  {text}"
    assert caret == f"  {' ' * marked.index('§')}^"


def test_a_text_cannot_command_the_terminal() -> None:
    with pytest.raises(ConfigError) as caught:
        Gate.parse("'\x1b[2J' p98 < 5ms")
    assert str(caught.value).split("\n")[1:] == ["  '\\x1b[2J' p98 < 5ms", "            ^"]


@given(st.one_of(st.text(), st.text(alphabet="ep9.' \"<>=5ms%/TCPrate\t\n", max_size=30)))
def test_any_text_is_a_gate_or_an_error_with_a_place_in_it(text: str) -> None:
    try:
        gate = Gate.parse(text)
    except ConfigError as error:
        if not text.strip():
            return
        _, shown, caret = str(error).split("\n")
        assert caret.strip() == "^"
        assert 2 <= caret.index("^") <= len(shown)
    else:
        assert Gate.parse(str(gate)) == gate


def test_several_gates_are_one_on_each_line() -> None:
    gates = parse_gates("echo p99 < 5ms\r\n\n  failures < 1%\n")
    assert [str(gate) for gate in gates] == ["echo p99 < 5ms", "failures < 1%"]
    for empty in ("", " \n "):
        with pytest.raises(ConfigError, match=r"^the gate is empty; write a condition such as 'echo p99 < 5ms'$"):
            parse_gates(empty)


# Judgement --------------------------------------------------------------------------------------------------------


def test_a_percentile_is_judged_by_the_far_end_of_its_interval() -> None:
    # Times of 1 to 2 ms, so that the interval of the median has a width.
    echo = steady(*range(1000, 2000, 50))
    p50 = echo.response_us.p50
    assert p50 is not None
    assert p50.low < p50.high
    assert judge(f"echo p50 < {p50.high + 1}us", echo) == GateOutcome(
        f"echo p50 < {p50.high + 1}us", True, "p50 1.45 ms [1.45, 1.50]", ""
    )
    low, high = p50.low, p50.high
    met = {
        f"echo p50 < {high}us": False, f"echo p50 <= {high}us": True, f"echo p50 < {(low + high) / 2}us": False,
        f"echo p50 > {low}us": False, f"echo p50 >= {low}us": True, f"echo p50 > {low - 1}us": True,
        f"echo p50 > {(low + high) / 2}us": False,
    }  # fmt: skip
    assert {text: judge(text, echo).met for text in met} == met
    missed = judge(f"echo p50 < {high}us", echo)
    assert missed.reason == f"the high end of its interval is not below {high}us"
    assert judge(f"echo p50 > {low}us", echo).reason == f"the low end of its interval is not above {low}us"


def test_a_percentile_below_its_floor_does_not_pass_and_the_reason_has_a_remedy() -> None:
    few = row([block(START, [100.0] * 40)], 1)
    for comparison in "<>":
        outcome = judge(f"echo p99 {comparison} 5s", few)
        assert not outcome.met
        assert outcome.reason == "p99 needs 368 operations: measure 9 s longer, or with more load"
    assert judge("echo p99 < 5s", replace(few, missing={})).reason == (
        "p99 needs 368 operations, and each user makes one: there were 40; use more users"
    )


def test_lost_operations_are_infinitely_long_in_the_offered_times() -> None:
    echo = steady(*[100.0] * 96, failed=2, dropped=2)
    assert judge("echo p99 < 5s", echo).met, "the good operations are fast"
    lost = judge("echo offered p99 < 5s", echo)
    assert (lost.met, lost.value) == (False, "p99 lost [lost, lost]")
    assert lost.reason == "the high end of its interval is not below 5s"
    assert judge("echo offered p90 < 5s", echo).met
    assert not judge("echo offered max < 5s", echo).met
    assert not judge("echo offered mean < 5s", echo).met
    for alone in (steady(*[100.0] * 96, failed=1), steady(*[100.0] * 96, dropped=1)):
        assert not judge("echo offered mean < 5s", alone).met
    assert judge("echo mean <= 0.1ms", echo).met
    assert judge("echo max <= 100us", echo) == GateOutcome("echo max <= 100us", True, "max 0.100 ms", "")
    assert judge("echo max < 100us", echo).reason == "it is not below 100us"
    assert judge("'a < b' max < 1us", replace(echo, name="a < b")).reason == "it is not below 1us"


def test_a_gate_on_times_that_a_row_lacks_is_not_met() -> None:
    silent = steady(failed=3)
    for text in ("echo p50 < 1s", "echo p50 > 1s", "echo mean < 1s"):
        assert judge(text, silent) == GateOutcome(text, False, "", "TCP echo has no good operation")
    plain = row([block(START, [100.0] * 100, kinds=["response"])], 1)
    assert judge("echo service p50 < 1s", plain).reason == "TCP echo has no times of this kind"


def test_failures_count_tasks_and_without_a_plan_operations() -> None:
    connect = steady(100.0, key=("TCP", "connect"))
    whole = steady(*[100.0] * 9, key=("TRANSACTION", "whole"), failed=500)
    echo = steady(*[100.0] * 97, failed=2)
    assert judge("failures < 2%", connect, echo, whole) == GateOutcome(
        "failures < 2%", False, "failures 2% (120 of 6000 operations)", "it is not below 2%"
    )
    assert judge("failures <= 2%", connect, echo, whole).met
    tasks = steady(*[100.0] * 997, key=("TASK", "EchoUser"), failed=1, dropped=2)
    assert judge("failures < 0.31%", echo, tasks).value == "failures 0.3% (180 of 60000 tasks)"
    assert judge("failures <= 0.3%", echo, tasks).met, "exactly 0.3 %"
    assert judge("failures < 1%", steady(*[100.0] * 98, failed=13)).value == "failures 11.7% (780 of 6660 operations)"
    assert not judge("echo failures < 1%", echo, tasks).met
    assert judge("EchoUser failures < 1%", echo, tasks).met


def test_the_rate_counts_good_operations_but_no_connects_and_logins() -> None:
    rows = [
        steady(*[100.0] * 50, failed=50),
        steady(*[100.0] * 7, key=("TCP", "get")),
        *(steady(*[100.0] * 1000, key=("TCP", name)) for name in ("connect", "tls", "login")),
        steady(*[100.0] * 1000, key=("TRANSACTION", "both")),
        steady(*[100.0] * 1000, key=("TASK", "User")),
    ]
    assert judge("rate >= 57/s", *rows).met
    missed = judge("rate > 57/s", *rows)
    assert (missed.met, missed.value, missed.reason) == (False, "rate 57/s", "it is not above 57/s")
    assert judge("get rate >= 420/min", *rows).met
    assert not judge("get rate > 7/s", *rows).met
    assert judge("connect rate > 999/s", *rows) == GateOutcome("connect rate > 999/s", True, "rate 1,000/s", "")


def test_a_gate_on_a_row_that_never_appears_is_not_met_and_says_so() -> None:
    rows = [steady(100.0, key=("TCP", "connect"), seconds=1), steady(100.0, seconds=1)]
    for metric in ("p99 < 5s", "failures < 1%", "rate > 0/s"):
        outcome = judge(f"get {metric}", *rows)
        assert (outcome.met, outcome.value) == (False, "")
        assert outcome.reason == "there was no row get; the rows are TCP connect, TCP echo"
    assert judge("TASK echo rate > 0/s", *rows).reason.startswith("there was no row TASK echo; ")
    other = steady(100.0, key=("TCP", "other"), seconds=1)
    assert judge("get p99 < 5s", other).reason.endswith("TCP other; further rows are added up in the row other")
    many = [steady(100.0, key=("TCP", f"row {n}"), seconds=1) for n in range(12)]
    assert judge("get p99 < 5s", *many).reason.endswith("TCP row 9 and 2 more")
    assert judge("get p99 < 5s").reason == "nothing was measured"
    outcome = Gate.parse("other rate > 0/s").judge(replace(result(other), duration_s=0.0))
    assert outcome.reason == "nothing was measured"


def test_a_time_without_a_row_belongs_to_the_only_row_of_operations() -> None:
    connect, echo = steady(1e6, key=("TCP", "connect")), steady(*[100.0] * 10)
    task = steady(2e6, key=("TASK", "EchoUser"))
    assert judge("p99 < 1ms", connect, echo, task).met
    get = steady(*[100.0] * 10, key=("TCP", "get"))
    assert judge("p99 < 1ms", connect, echo, get).reason == "write the row before p99: the rows are TCP echo, TCP get"
    assert judge("p99 < 1ms", connect).reason == "write the row before p99: the rows are TCP connect"


def test_the_type_selects_between_rows_of_the_same_name() -> None:
    rows = [steady(100.0), steady(2e6, key=("TRANSACTION", "echo"))]
    assert judge("echo max < 1s", *rows).reason == (
        "TCP echo, TRANSACTION echo have the same name: write the type before the name"
    )
    assert judge("TCP echo max < 1s", *rows).met
    assert not judge("TRANSACTION 'echo' max < 1s", *rows).met


@pytest.mark.parametrize(
    ("gates", "failed", "uncounted"),
    [
        ("failures < 1%", {ECHO: 60, GET: 120}, []),
        ("failures < 1%", {ECHO: 60, GET: 121}, [ECHO, GET]),
        ("echo failures < 1%", {ECHO: 60, GET: 1}, [GET]),
        ("echo failures < 1%", {ECHO: 61}, [ECHO]),
        ("TCP echo failures < 1%", {ECHO: 60}, []),
        ("TRANSACTION echo failures < 1%", {ECHO: 60}, [ECHO]),
        ("echo failures < 1%\nfailures < 1%", {ECHO: 60, GET: 120}, []),
        ("failures < 1%", {ECHO: 60, ("TRANSACTION", "a"): 60, ("TRANSACTION", "b"): 180}, []),
        ("failures < 1%", {("TRANSACTION", "a"): 181}, [("TRANSACTION", "a")]),
        ("failures < 1%", {("GET", "/"): 1}, [("GET", "/")]),
        ("rate > 1/s", {ECHO: 1}, [ECHO]),
        ("rate > 1/s", {}, []),
    ],
)
def test_failures_count_if_they_are_in_the_figure_of_a_gate(
    gates: str, failed: dict[tuple[str, str], int], uncounted: list[tuple[str, str]]
) -> None:
    measured = result(steady(100.0, failed=1), steady(100.0, key=GET, failed=2))
    assert uncounted_failures(parse_gates(gates), measured, failed) == uncounted


def test_a_gate_counts_only_failures_of_tasks_where_there_are_tasks() -> None:
    gates = parse_gates("failures < 99%")
    measured = result(steady(100.0, failed=2), steady(100.0, key=("TASK", "EchoUser"), failed=1, dropped=5))
    assert uncounted_failures(gates, measured, {ECHO: 60}) == []
    assert uncounted_failures(gates, measured, {ECHO: 120}) == [ECHO]
    assert uncounted_failures(parse_gates("failures < 99%\necho failures < 99%"), measured, {ECHO: 120}) == []
