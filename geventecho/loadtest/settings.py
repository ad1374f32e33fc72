"""The values of the options that we add to Locust, and the settings of a user."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from locust.env import Environment

from geventecho.address import Address, unsupported
from geventecho.client import DEFAULT_TLS, Tls, TlsLike, context_of, is_insecure
from geventecho.errors import AddressError, ConfigError
from geventecho.net import PROXY_VERSIONS, ProxyVersion
from geventecho.options import (
    duration,
    metrics_url,
    naming,
    naming_tls,
    one_of,
    rate_stages,
    seconds,
    tls_values,
    whole_number,
)
from geventecho.results import Gate, parse_gates

__all__ = [
    "CHECKS",
    "CLASS_TYPES",
    "FIXED",
    "PLAN_TYPES",
    "PREFIX",
    "RUN_TYPES",
    "TLS_OPTION",
    "TYPES",
    "Settings",
    "class_values",
    "gates_of",
    "given",
    "is_insecure_run",
    "is_unattended",
    "option",
    "option_check",
    "options_of",
    "target_of",
]

LARGEST_PAYLOAD: Final = 1 << 30
TLS_OPTION: Final = "--tcp-tls-"
PREFIX: Final = "tcp_"
"""The beginning of our options' names, so that no option of Locust or of a locustfile has the same name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a user. An option that is given overrides the attribute of the user's class.

    Attributes:
        payload_size: bytes of each payload of `TcpUser.next_payload`.
        think_time: mean time between two tasks in seconds; 0 is no pause.
        connect_timeout: seconds to resolve the name and connect; None is no limit.
        request_timeout: seconds for one request and its reply; None is no limit.
        proxy_protocol: the version of the PROXY header at the start of each connection, "v1" or "v2"; None is no
            header.
        tls: the TLS settings: the attribute of the class, with the fields that options override.
    """

    payload_size: int
    think_time: float
    connect_timeout: float | None
    request_timeout: float | None
    proxy_protocol: ProxyVersion | None
    tls: TlsLike

    @classmethod
    def of(cls, options: Mapping[str, Any], defaults: object) -> Settings:
        """Return the settings of a user class, or of one user.

        Args:
            options: Locust's current options by name. The web UI changes them between two tests.
            defaults: the class or the user, with an attribute for each setting.

        Raises:
            ConfigError: a value is wrong.
        """
        owner = defaults if isinstance(defaults, type) else type(defaults)
        values: dict[str, Any] = {}
        for name in CLASS_TYPES:
            values[name] = given(options, name)
            if values[name] is None:
                values[name] = _default(name, getattr(defaults, name), f"{owner.__name__}.{name}")
        for name in ("backoff_base", "backoff_cap"):  # no options exist for these two
            value = getattr(defaults, name, 0.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                label = f"{owner.__name__}.{name}"
                raise ConfigError(f"{label} is {value!r}; it must be a number of seconds of 0 or more")
        return cls(**values, tls=_tls(options, getattr(defaults, "tls", DEFAULT_TLS), f"{owner.__name__}.tls"))


def options_of(environment: Environment) -> dict[str, Any]:
    """Return Locust's current options by name; empty without a command line."""
    return vars(environment.parsed_options or argparse.Namespace())


def is_unattended(options: Mapping[str, Any]) -> bool:
    """Whether the test starts without the form of the web UI."""
    return bool(options.get("headless") or options.get("autostart"))


def given(options: Mapping[str, Any], name: str) -> Any:
    """Return the value of one of our options, or None if it is not given.

    Args:
        options: the options by name. Their values are text from the command line, the environment or the web form.
        name: the name of the option, such as "think_time".

    Raises:
        ConfigError: the value is wrong.
    """
    text = str(options.get(PREFIX + name, "")).strip()
    return _parse(name, text, option(name)) if text else None


def gates_of(options: Mapping[str, Any]) -> tuple[Gate, ...]:
    """Return the gates of the options.

    Args:
        options: the options by name.

    Raises:
        ConfigError: a gate is malformed.
    """
    return tuple(gate for text in options.get("tcp_gate") or () for gate in parse_gates(text))


def is_insecure_run(options: Mapping[str, Any], user_classes: Iterable[Any]) -> bool:
    """Whether the options or a user class turn off the check of the server's certificate."""
    return bool(options.get("tcp_tls_insecure")) or any(is_insecure(user_class.tls) for user_class in user_classes)


def _tls(options: Mapping[str, Any], default: TlsLike, label: str) -> TlsLike:
    values = tls_values(options, TLS_OPTION)
    if not isinstance(default, Tls):
        if values:
            named = ", ".join(option(f"tls_{name}") for name in values)
            raise ConfigError(f"{named}: {label} is an SSLContext, which has its own settings; leave this out")
        context_of(default)
        return default
    if not values and default == DEFAULT_TLS:
        return default  # without a context: reading the system's authorities is slow, and most tests use no TLS
    with naming_tls(TLS_OPTION):
        tls = replace(default, **values)
        context_of(tls)
    return tls


def check_options(options: Mapping[str, Any]) -> None:
    """Check our options.

    Raises:
        ConfigError: a value is wrong.
    """
    for name in TYPES:
        given(options, name)
    _tls(options, DEFAULT_TLS, "TcpUser.tls")


def option(name: str) -> str:
    """Return the option of a setting as on the command line, such as "--tcp-think-time"."""
    return f"--{PREFIX}{name}".replace("_", "-")


def _default(name: str, value: Any, label: str) -> Any:
    if value is None and name in NONE:
        return None
    return _parse(name, str(value), label)


def _parse(name: str, text: str, label: str) -> Any:
    with naming(label):
        return TYPES[name](text)


def _timeout(text: str) -> float:
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("a timeout must be above 0 seconds")
    return value


CLASS_TYPES: Final[dict[str, Callable[[str], Any]]] = {
    "payload_size": whole_number(1, LARGEST_PAYLOAD),
    "think_time": seconds,
    "connect_timeout": _timeout,
    "request_timeout": _timeout,
    "proxy_protocol": one_of(*PROXY_VERSIONS),
}
PLAN_TYPES: Final[dict[str, Callable[[str], Any]]] = {
    "arrival_rate": rate_stages,
    "arrivals": one_of("even", "poisson"),
    "max_lateness": seconds,
    "seed": whole_number(0, (1 << 63) - 1),
}
"""The types of the options for the plan of arrivals."""
RUN_TYPES: Final = PLAN_TYPES | {"warm_up": duration, "account": metrics_url}
"""The types of the options for the whole test. User classes have no such attributes."""
TYPES: Final = CLASS_TYPES | RUN_TYPES
NONE: Final = {"connect_timeout": "no limit", "request_timeout": "no limit", "proxy_protocol": "no header"}
"""The settings that may be None, with the text for None."""
Check = Callable[[Mapping[str, Any]], object]
CHECKS: Final[list[Check]] = [check_options]
FIXED: Final = {PREFIX + name for name in CLASS_TYPES}
"""The names of the options that a user reads only at its start."""


def class_values(user_classes: Iterable[type]) -> dict[str, str]:
    """Return the value of each setting in the user classes, with the names of the classes if their values differ."""
    values: dict[str, str] = {}
    for name in CLASS_TYPES:
        classes: dict[str, list[str]] = {}
        for user_class in user_classes:
            value = getattr(user_class, name)
            classes.setdefault(NONE[name] if value is None else f"{value}", []).append(user_class.__name__)
        if len(classes) == 1:
            values[name] = next(iter(classes))
        elif classes:
            values[name] = ", ".join(f"{value} ({', '.join(names)})" for value, names in classes.items())
    return values


@lru_cache(maxsize=16)
def target_of(text: str | None) -> Address:
    """The target in the text of Locust's host field.

    Raises:
        AddressError: the text is empty or malformed, or a client cannot connect to such a target.
    """
    if not text:
        raise AddressError("no target was given; write tcp://host:port or unix:/path, or give the user class a host")
    address = Address.parse(text.strip())
    if reason := unsupported(address):
        raise AddressError(f"{address}: {reason}")
    return address


def option_check(check: Check, fixed: Iterable[str] = ()) -> Check:
    """Register a function that checks the options before use; a decorator for locustfiles with their own options.

    Args:
        check: a function that takes the options by name, as parsed or as text from the web form. It raises ConfigError
            for a wrong value. The web form shows the message; a command line with a wrong value ends with it.
        fixed: the names of the options that a user reads only at its start, such as "send". The web form says that a
            change does not affect running users.
    """
    CHECKS.append(check)
    FIXED.update(fixed)
    return check
