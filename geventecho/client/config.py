"""ClientConfig: how patient a client is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geventecho.errors import ConfigError

__all__ = ["ClientConfig"]


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How patient a client is.

    Attributes:
        connect_timeout: budget to resolve the name and connect.
        request_timeout: budget of one send, receive, echo or request.
    """

    connect_timeout: float | None = 5.0
    request_timeout: float | None = 5.0

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "request_timeout"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ConfigError(f"{name} is {value!r}; it must be a number of 0 or more")
            if value == 0:
                raise ConfigError(f"{name} is 0; give a number above 0, or None for no limit")
