"""ServerConfig and ClientConfig: frozen, validated, every default in one table.

All times are in seconds, all sizes in bytes. None switches a limit off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from geventecho.errors import ConfigError

__all__ = ["DEFAULT_TARGET", "ClientConfig", "ServerConfig"]

DEFAULT_TARGET: Final = "tcp://127.0.0.1:8090"
"""Where to listen and to connect when nobody says otherwise: the port of Node's tutorial, on this machine only."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server may do and for how long.

    Attributes:
        backlog: length asked for the accept queue; listen(2) clamps it to net.core.somaxconn.
        max_connections: open connections at once; more are accepted, counted and closed at once. 0 refuses all;
            None is the process's descriptor limit less 64.
        idle_timeout: end a connection after this long without a byte in either direction.
        write_stall: end a connection whose peer has taken no byte for this long while one was owed.
        drain_idle: during a drain, end a connection after this long without a byte.
        drain_timeout: end whatever is still open this long after a drain began.
    """

    backlog: int = 65535
    max_connections: int | None = None
    idle_timeout: float | None = None
    write_stall: float | None = 60.0
    drain_idle: float = 1.0
    drain_timeout: float = 30.0

    def __post_init__(self) -> None:
        _check_integer(self, "backlog", least=1)
        _check_integer(self, "max_connections", least=0)
        _check_seconds(self, "idle_timeout", above_zero=True)
        _check_seconds(self, "write_stall", above_zero=True)
        _check_seconds(self, "drain_idle")
        _check_seconds(self, "drain_timeout")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The options, in the order of the table."""
        return tuple(field.name for field in fields(cls))


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
        _check_seconds(self, "connect_timeout", above_zero=True)
        _check_seconds(self, "request_timeout", above_zero=True)


def _check_integer(config: object, name: str, *, least: int) -> None:
    value = getattr(config, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number of {least} or more")


def _check_seconds(config: object, name: str, *, above_zero: bool = False) -> None:
    value = getattr(config, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} is {value!r}; it must be a number of seconds of 0 or more")
    if above_zero and value == 0:
        raise ConfigError(f"{name} is 0; give seconds above 0, or leave it out to switch it off")
