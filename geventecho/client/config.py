"""The time limits of a client, and their check."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geventecho.errors import ConfigError

__all__ = ["ClientConfig", "check_timeout"]


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Time limits as one checked value. `connect` takes the same limits as arguments.

    Attributes:
        connect_timeout: seconds to resolve the name and connect; None is no limit.
        request_timeout: seconds for one send, receive, echo or request; None is no limit.

    Raises:
        ConfigError: a limit is not a number above 0.
    """

    connect_timeout: float | None = 5.0
    request_timeout: float | None = 5.0

    def __post_init__(self) -> None:
        check_timeout("connect_timeout", self.connect_timeout)
        check_timeout("request_timeout", self.request_timeout)


def check_timeout(name: str, value: object) -> None:
    """Check a time limit in seconds; None is no limit.

    Args:
        name: the name of the argument, for the message.
        value: the argument.

    Raises:
        ConfigError: the value is neither a finite number above 0 nor None.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{name} is {value!r}; it must be a number of seconds above 0, or None for no limit")
