"""The load test's own Locust arguments: on the command line, and as fields of the web UI."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from locust.argument_parser import LocustArgumentParser

from geventecho.address import Address
from geventecho.client import ClientConfig
from geventecho.errors import AddressError, ConfigError
from geventecho.options import seconds, whole_number

__all__ = ["CHECKS", "Settings", "add_arguments", "option_check", "target_of"]

LARGEST_PAYLOAD: Final = 1 << 30
PATIENT: Final = ClientConfig()


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user is told by the options.

    Attributes:
        payload_size: bytes of each echo.
        think_time: seconds between two tasks; 0 is flat out.
        connect_timeout: seconds to resolve the name and connect.
        request_timeout: seconds for one request and its reply.
    """

    payload_size: int = 1024
    think_time: float = 1.0
    connect_timeout: float = PATIENT.connect_timeout or 5.0
    request_timeout: float = PATIENT.request_timeout or 5.0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Read them from Locust's options as they are now: the web UI changes them between two tests, on workers too.

        Args:
            options: by name; values as they were parsed, or still text.

        Raises:
            ConfigError: a value is wrong.
        """
        values: dict[str, Any] = {}
        for name, parse in TYPES.items():
            if name in options:
                try:
                    values[name] = parse(str(options[name]))
                except argparse.ArgumentTypeError as error:
                    raise ConfigError(f"{name.replace('_', ' ').capitalize()}: {error}") from None
        return cls(**values)


def _timeout(text: str) -> float:
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("a timeout must be above 0 seconds")
    return value


TYPES: Final[dict[str, Callable[[str], Any]]] = {
    "payload_size": whole_number(1, LARGEST_PAYLOAD),
    "think_time": seconds,
    "connect_timeout": _timeout,
    "request_timeout": _timeout,
}
HELP: Final = {
    "payload_size": "Bytes that each echo sends",
    "think_time": "Seconds a user waits between two tasks; 0 is flat out",
    "connect_timeout": "Seconds to resolve the target's name and connect",
    "request_timeout": "Seconds for a request and its whole reply",
}
METAVAR: Final = {"payload_size": "BYTES"}

Check = Callable[[Mapping[str, Any]], object]
CHECKS: Final[list[Check]] = [Settings.of]


def add_arguments(parser: LocustArgumentParser) -> None:
    """Add them to Locust's parser. In a group of their own they would not show in the web UI."""
    for field in fields(Settings):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=TYPES[field.name],
            # The form turns what it is sent into the type of the current value, so the default's type matters.
            default=field.default,
            metavar=METAVAR.get(field.name, "SECONDS"),
            help=f"{HELP[field.name]}. Default is {field.default}.",
            env_var=f"GEVENTECHO_LOADTEST_{field.name.upper()}",
        )


@lru_cache(maxsize=16)
def target_of(text: str | None) -> Address:
    """The target in Locust's host field.

    Raises:
        AddressError: it is missing, no target, or none that a client can connect to.
    """
    if not text:
        raise AddressError("no target was given; write tcp://host:port or unix:/path")
    address = Address.parse(text.strip())
    if address.scheme not in ("tcp", "unix"):
        raise AddressError(f"a load test cannot connect to {text!r}; write tcp://host:port or unix:/path")
    return address


def option_check(check: Check) -> Check:
    """Have a function check the options before they are used; a decorator for locustfiles with options of their own.

    It gets the options by name, as parsed or as text from the web form, and raises ConfigError for a wrong one: the
    form then shows the message, the command line ends with it.
    """
    CHECKS.append(check)
    return check
