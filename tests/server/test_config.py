"""ServerConfig: the defaults, and values out of range."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from geventecho.address import DEFAULT_TARGET
from geventecho.errors import ConfigError
from geventecho.server.config import ServerConfig
from tests.support.properties import given, st

OPTIONAL_TIMES = [
    "idle_timeout",
    "first_byte_timeout",
    "lifetime",
    "write_stall",
    "proxy_header_timeout",
    "tls_handshake_timeout",
]
OPTIONAL_AMOUNTS = ["max_per_address", "max_bytes", "max_rate", "min_rate"]


def test_the_defaults_are_the_documented_ones() -> None:
    assert DEFAULT_TARGET == "tcp://127.0.0.1:8090"
    assert dataclasses.asdict(ServerConfig()) == {
        "backlog": 65535, "unix_mode": None, "max_connections": None, "max_per_address": None, "connect_rate": None,
        "allow": None, "deny": (), "idle_timeout": None, "first_byte_timeout": None, "lifetime": None,
        "max_bytes": None, "max_rate": None, "min_rate": None, "write_stall": 60.0, "proxy_protocol_from": (),
        "proxy_header_timeout": 5.0, "tls_handshake_timeout": 5.0,
        "alpn": None, "drain_idle": 1.0, "drain_timeout": 30.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", OPTIONAL_TIMES)
@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, "1", True, b""])
def test_a_time_that_can_be_switched_off_is_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        ServerConfig(**{name: value})


@pytest.mark.parametrize("name", ["drain_idle", "drain_timeout"])
@pytest.mark.parametrize("value", [None, -1, math.nan, math.inf, "1", True])
def test_a_drain_time_is_finite_and_not_negative(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        ServerConfig(**{name: value})


@pytest.mark.parametrize("name", OPTIONAL_AMOUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "1", True])
def test_an_amount_is_a_whole_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        ServerConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("backlog", 0), ("backlog", None), ("max_connections", -1)])
def test_backlog_and_max_connections_have_a_least_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        ServerConfig(**{name: value})


@pytest.mark.parametrize("name", [*OPTIONAL_TIMES, *OPTIONAL_AMOUNTS, "connect_rate", "max_connections"])
def test_none_switches_a_limit_off(name: str) -> None:
    assert getattr(ServerConfig(**{name: None}), name) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["drain_idle", "drain_timeout", "max_connections"])
def test_drain_times_and_max_connections_may_be_zero(name: str) -> None:
    assert getattr(ServerConfig(**{name: 0}), name) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["allow", "deny"])
@pytest.mark.parametrize("value", [("nonsense",), ("192.0.2.0/33",), ("10.0.0.1", ""), "192.0.2.0/24", 5])
def test_a_value_that_is_no_list_of_networks_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} .*192.0.2.0/24"):
        ServerConfig(**{name: value})


def test_a_min_rate_above_the_max_rate_is_refused() -> None:
    assert ServerConfig(min_rate=100, max_rate=100).min_rate == 100
    with pytest.raises(ConfigError, match="min_rate is 101 and max_rate 100"):
        ServerConfig(min_rate=101, max_rate=100)


def test_a_network_may_be_an_address_or_have_host_bits() -> None:
    networks = ("192.0.2.7", "192.0.2.7/24", "2001:db8::/32")
    assert ServerConfig(allow=networks).allow == networks


@pytest.mark.parametrize("empty", [(), [], iter(())])
def test_an_empty_allow_list_is_not_the_same_as_none(empty: Any) -> None:
    assert ServerConfig().allow is None
    assert ServerConfig(allow=empty).allow == ()


def test_networks_are_read_once() -> None:
    networks = ["192.0.2.7"]
    config = ServerConfig(allow=networks, deny=(text for text in networks))  # type: ignore[arg-type]
    networks.clear()
    assert config.allow == config.deny == ("192.0.2.7",)
    with pytest.raises(ConfigError, match="deny is None"):
        ServerConfig(deny=None)  # type: ignore[arg-type]


@given(
    st.dictionaries(
        st.sampled_from(ServerConfig.names()),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    )
)
def test_any_options_give_a_config_or_a_config_error(options: dict[str, Any]) -> None:
    try:
        config = ServerConfig.of(None, options)
    except ConfigError:
        return
    assert all(getattr(config, name) == value for name, value in options.items())


def test_of_takes_a_config_or_options_but_not_both() -> None:
    config = ServerConfig(lifetime=5)
    assert ServerConfig.of(config, {}) is config
    assert ServerConfig.of(None, {"lifetime": 5}) == config
    with pytest.raises(ConfigError, match="not both: lifetime"):
        ServerConfig.of(config, {"lifetime": 5})


def test_an_unknown_option_is_named_beside_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown options: idle; there are backlog, .*idle_timeout"):
        ServerConfig.of(None, {"idle": 5})


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServerConfig().backlog = 1  # type: ignore[misc]
