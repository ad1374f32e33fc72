"""Limits by address, token buckets and the least rate."""

from __future__ import annotations

from typing import Any

import pytest

from geventecho.address import SockAddr
from geventecho.server import admission, rates
from geventecho.server.admission import AddressLimits
from geventecho.server.config import ServerConfig
from geventecho.server.counters import Refusal
from geventecho.server.rates import PACE_SECONDS, Meter, Pace
from tests.support.properties import given, st
from tests.support.timing import ManualTime


def limits(**options: Any) -> AddressLimits:
    return AddressLimits(ServerConfig(**options))


def v4(host: str = "192.0.2.1") -> SockAddr:
    return (host, 1)


def v6(host: str) -> SockAddr:
    return (host, 1, 0, 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualTime:
    clock = ManualTime()
    for module in (admission, rates):
        monkeypatch.setattr(module, "time", clock)
    return clock


# Admission ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "deny", "host", "admitted"),
    [
        (None, (), "192.0.2.1", True),
        (("192.0.2.0/24",), (), "192.0.2.1", True),
        (("192.0.2.0/24",), (), "192.0.3.1", False),
        (("192.0.2.0/24",), ("192.0.2.1",), "192.0.2.1", False),
        (("192.0.2.0/24",), ("192.0.2.1",), "192.0.2.2", True),
        (None, ("192.0.2.0/24",), "192.0.2.1", False),
        (None, ("192.0.2.0/24",), "198.51.100.1", True),
        (None, ("192.0.2.0/24",), "::ffff:192.0.2.1", False),
        (None, ("::ffff:192.0.2.0/120",), "192.0.2.1", False),
        (None, ("::ffff:192.0.2.0/120",), "::ffff:192.0.3.1", True),
        (None, ("::ffff:0:0/96",), "203.0.113.9", False),
        (None, ("::/0",), "203.0.113.9", True),
        (("2001:db8::/32",), (), "2001:db8:1::1", True),
        (("2001:db8::/32",), (), "2001:db9::1", False),
        (("2001:db8::/32",), (), "192.0.2.1", False),
        (None, ("fe80::/10",), "fe80::1%eth0", False),
        (("0.0.0.0/0", "::/0"), (), "203.0.113.9", True),
        ((), (), "192.0.2.1", False),
        ((), (), "2001:db8::1", False),
    ],
)
def test_deny_wins_over_allow(allow: tuple[str, ...] | None, deny: tuple[str, ...], host: str, admitted: bool) -> None:
    sockaddr = v6(host) if ":" in host else v4(host)
    assert limits(allow=allow, deny=deny).admit(sockaddr) is (None if admitted else Refusal.DENIED)


@pytest.mark.parametrize("peer", ["", b"", b"\0name", "/run/peer"])
def test_limits_by_address_do_not_apply_to_unix_peers_but_an_empty_allow_list_does(peer: SockAddr) -> None:
    strict = limits(allow=("192.0.2.1",), deny=("0.0.0.0/0",), max_per_address=1, connect_rate=1)
    for _ in range(5):
        assert strict.admit(peer) is None
    strict.release(peer)
    assert limits(allow=()).admit(peer) is Refusal.DENIED


@pytest.mark.parametrize(
    ("allow", "deny", "versions", "effect"),
    [
        (None, (), {4, 6}, None),
        (None, ("::/0",), {4, 6}, "names no IPv4 network: all IPv4 clients are admitted"),
        (None, ("0.0.0.0/0",), {4, 6}, "names no IPv6 network: all IPv6 clients are admitted"),
        (None, ("::ffff:0:0/96",), {4, 6}, "names no IPv6 network"),
        (None, ("::/0",), {4}, "names no IPv4 network"),
        (None, ("::/0",), {6}, None),
        (None, ("::/0", "0.0.0.0/0"), {4, 6}, None),
        (("192.0.2.0/24",), ("::/0",), {4, 6}, None),
        (("192.0.2.0/24",), ("::/0",), {4}, None),
        (("2001:db8::/32",), ("192.0.2.1",), {4}, "names no IPv4 network: nobody is admitted"),
        (("192.0.2.0/24",), (), {4, 6}, None),
        (("2001:db8::/32",), (), {4}, "names no IPv4 network: nobody is admitted"),
        ((), (), {4, 6}, "is empty: nobody is admitted"),
        ((), (), set(), "is empty: nobody is admitted"),
        (("192.0.2.0/24",), (), set(), None),
        (None, ("192.0.2.0/24",), set(), None),
        (None, (), set(), None),
    ],
)
def test_an_unexpected_effect_of_the_lists_is_described(
    allow: tuple[str, ...] | None, deny: tuple[str, ...], versions: set[int], effect: str | None
) -> None:
    text = admission.unexpected_effect(ServerConfig(allow=allow, deny=deny), frozenset(versions))
    assert text is None if effect is None else effect in str(text)


# Open connections -----------------------------------------------------------------------------------------------------


def test_an_address_has_at_most_max_per_address_connections() -> None:
    two = limits(max_per_address=2)
    assert [two.admit(v4()) for _ in range(3)] == [None, None, Refusal.ADDRESS_FULL]
    assert two.admit(v4("192.0.2.2")) is None
    two.release(v4())
    assert [two.admit(v4()) for _ in range(2)] == [None, Refusal.ADDRESS_FULL]


def test_ipv6_counts_by_its_64_prefix_and_mapped_ipv4_as_ipv4() -> None:
    one = limits(max_per_address=1)
    assert one.admit(v6("2001:db8:0:1::1")) is None
    assert one.admit(v6("2001:db8:0:1:ffff::9")) is Refusal.ADDRESS_FULL
    assert one.admit(v6("2001:db8:0:2::1")) is None
    assert one.admit(v6("::ffff:192.0.2.1")) is None
    assert one.admit(v4("192.0.2.1")) is Refusal.ADDRESS_FULL
    assert one.admit(v6("fe80::1%eth0")) is None
    assert one.admit(v6("fe80::2%eth1")) is Refusal.ADDRESS_FULL


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_open_connections_are_counted_exactly_and_then_forgotten(steps: list[tuple[bool, int]]) -> None:
    most = 2
    found = limits(max_per_address=most)
    open_: dict[int, int] = dict.fromkeys(range(4), 0)
    for connects, number in steps:
        peer = v4(f"192.0.2.{number}")
        if connects:
            assert (found.admit(peer) is None) == (open_[number] < most)
            open_[number] = min(most, open_[number] + 1)
        elif open_[number]:
            found.release(peer)
            open_[number] -= 1
    for number, count in open_.items():
        for _ in range(count):
            found.release(v4(f"192.0.2.{number}"))
    assert not found._open


# Connect rate ---------------------------------------------------------------------------------------------------------


def test_connect_rate_admits_a_burst_of_one_second(clock: ManualTime) -> None:
    five = limits(connect_rate=5)
    assert [five.admit(v4()) for _ in range(6)] == [None] * 5 + [Refusal.CONNECT_RATE]
    clock.now += 0.21
    assert [five.admit(v4()) for _ in range(2)] == [None, Refusal.CONNECT_RATE]
    clock.now += 100
    assert [five.admit(v4()) for _ in range(6)] == [None] * 5 + [Refusal.CONNECT_RATE]
    assert five.admit(v4("192.0.2.2")) is None


def test_connect_rate_may_be_below_one_a_second(clock: ManualTime) -> None:
    slow = limits(connect_rate=0.1)
    assert [slow.admit(v4()) for _ in range(2)] == [None, Refusal.CONNECT_RATE]
    clock.now += 9.9
    assert slow.admit(v4()) is Refusal.CONNECT_RATE
    clock.now += 0.2
    assert slow.admit(v4()) is None


def test_the_table_forgets_the_address_not_seen_for_longest(clock: ManualTime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "TABLE_SIZE", 3)
    small = limits(connect_rate=1)
    for number in range(1000):
        assert small.admit(v4(f"10.0.{number // 250}.{number % 250}")) is None
        assert len(small._buckets) <= 3
    assert small.admit(v4("10.0.3.249")) is Refusal.CONNECT_RATE
    assert small.admit(v4("10.0.0.0")) is None


def test_a_refused_peer_takes_no_slot(clock: ManualTime) -> None:
    both = limits(connect_rate=1, max_per_address=5)
    assert both.admit(v4()) is None
    for _ in range(10):
        assert both.admit(v4()) is Refusal.CONNECT_RATE
    both.release(v4())
    assert not both._open


# Bytes ----------------------------------------------------------------------------------------------------------------


def test_a_meter_counts_down_to_the_last_byte() -> None:
    meter = Meter(100, None, 64)
    assert meter.window == 64
    assert meter.spend(64) == 0
    assert meter.window == 36
    meter.spend(36)
    assert meter.window == 0


@given(st.integers(1, 10_000_000), st.lists(st.integers(1, 65536), min_size=1, max_size=50))
def test_a_meter_never_lets_more_than_its_rate_pass(rate: int, sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = ManualTime()
        patch.setattr(rates, "time", clock)
        meter = Meter(None, rate, 65536)
        passed = 0
        for size in sizes:
            taken = min(size, meter.window)
            assert taken > 0
            passed += taken
            # A tenth of a second ahead of time is allowed, and the one read that goes over.
            assert passed <= (clock.now - 1000.0) * rate + 0.1 * rate + meter.window + 1
            clock.now += meter.spend(taken)


# Least rate -----------------------------------------------------------------------------------------------------------

PERIOD = PACE_SECONDS


def judged(pace: Pace, *carried: int, silent: float = 0.0, owed: bool = False) -> list[bool]:
    """Whether each period is judged to be slow, by the bytes carried in each."""
    now, total, found = 0.0, 0, []
    for count in carried:
        now += PERIOD
        total += count
        found.append(pace.is_slow(total, silent, now, owed=owed))
        assert pace.due == now + PERIOD
    return found


def test_the_first_period_of_use_is_never_slow() -> None:
    assert judged(Pace(100, 0.0), 1, 1) == [False, True]
    assert judged(Pace(100, 0.0), 0, 0, 1, 1) == [False, False, False, True]
    assert judged(Pace(100, 0.0), 1, 0, 1, 1) == [False, False, False, True]


def test_a_client_within_the_rate_stays() -> None:
    enough = int(100 * PERIOD)
    assert judged(Pace(100, 0.0), *[enough] * 5) == [False] * 5
    assert judged(Pace(100, 0.0), enough, enough, enough - 1) == [False, False, True]


def test_a_silent_client_is_idle_and_not_slow() -> None:
    assert judged(Pace(100, 0.0), *[1] * 5, silent=PERIOD / 2) == [False] * 5


def test_a_period_without_progress_is_judged_with_the_next_while_bytes_are_owed() -> None:
    """A kernel announces room in lumps: 4,000 bytes a second may show as 64 KiB every 16 seconds."""
    pace = Pace(1000, 0.0)
    assert judged(pace, 65536, 0, 65536, 0, 65536, silent=PERIOD, owed=True) == [False] * 5
    assert judged(Pace(5000, 0.0), 65536, 0, 65536, silent=PERIOD, owed=True) == [False, False, True]
