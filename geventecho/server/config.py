"""ServerConfig: frozen, validated, every default in one table.

All times are in seconds, all sizes in bytes. None switches a limit off.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from geventecho.errors import ConfigError

__all__ = ["ServerConfig"]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The limits of a server.

    Attributes:
        backlog: length asked for the accept queue; listen(2) clamps it to net.core.somaxconn.
        unix_mode: permissions of the files of Unix sockets, such as 0o660; None leaves them to the umask.
        max_connections: open connections at once; more are accepted, counted and closed at once. 0 refuses all;
            None is the process's descriptor limit less 64.
        max_per_address: open connections of one address at once; an IPv6 address counts by its /64.
        connect_rate: connections a second of one address, over a burst of one second's worth.
        allow: networks (``192.0.2.0/24``, ``2001:db8::/32``) that may connect; None is all, an empty list nobody.
        deny: networks that may not; wins over `allow`.
        idle_timeout: end a connection after this long without a byte in either direction.
        first_byte_timeout: end a connection that has sent nothing at all for this long.
        lifetime: end a connection that is this old.
        max_bytes: end an echo connection once it has received this much.
        max_rate: bytes a second an echo connection may send; it is slowed down, not ended.
        min_rate: end a connection that is in use and carries fewer bytes a second than this, both directions taken
            together. It is judged every 10 seconds, and ended 20 to 30 seconds after it began to be too slow.
        write_stall: end a connection whose peer has taken no byte and made no room for this long while it was owed one.
        proxy_protocol_from: networks of proxies that begin each connection with a PROXY header, version 1 or 2; "unix"
            stands for the peers of a Unix socket. The client that the header names is then the peer for limits, lists,
            hooks, handlers and logs. Others are served without a header: one of theirs is payload.
        proxy_header_timeout: end a connection of a proxy whose whole header has not come for this long.
        tls_handshake_timeout: end a connection whose TLS handshake takes longer than this in all.
        alpn: protocols for ALPN (RFC 7301), the preferred one first; a TLS client has to offer one of them.
        drain_idle: during a drain, end a connection after this long without a byte.
        drain_timeout: end all open connections this long after a drain began.
    """

    backlog: int = 65535
    unix_mode: int | None = None
    max_connections: int | None = None
    max_per_address: int | None = None
    connect_rate: float | None = None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    idle_timeout: float | None = None
    first_byte_timeout: float | None = None
    lifetime: float | None = None
    max_bytes: int | None = None
    max_rate: int | None = None
    min_rate: int | None = None
    write_stall: float | None = 60.0
    proxy_protocol_from: tuple[str, ...] = ()
    proxy_header_timeout: float | None = 5.0
    tls_handshake_timeout: float | None = 5.0
    alpn: tuple[str, ...] | None = None
    drain_idle: float = 1.0
    drain_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("backlog", "drain_idle", "drain_timeout"):
            if getattr(self, name) is None:
                raise ConfigError(f"{name} is None; it cannot be switched off")
        _check_integer(self, "backlog", least=1)
        _check_integer(self, "max_connections", least=0)
        _check_integer(self, "unix_mode", least=0)
        if self.unix_mode is not None and self.unix_mode > 0o777:
            raise ConfigError(f"unix_mode is {self.unix_mode:#o}; it must be permissions from 0 to 0o777")
        for name in ("max_per_address", "max_bytes", "max_rate", "min_rate"):
            _check_integer(self, name, least=1)
        if self.min_rate is not None and self.max_rate is not None and self.min_rate > self.max_rate:
            raise ConfigError(f"min_rate is {self.min_rate} and max_rate {self.max_rate}: no client can keep both")
        for name in (
            "connect_rate",
            "idle_timeout",
            "first_byte_timeout",
            "lifetime",
            "write_stall",
            "proxy_header_timeout",
            "tls_handshake_timeout",
        ):
            _check_seconds(self, name, above_zero=True)
        if self.allow is not None:
            _check_networks(self, "allow")
        _check_networks(self, "deny")
        _check_networks(self, "proxy_protocol_from", other=("unix",))
        if self.alpn is not None:
            _check_protocols(self, "alpn")
        _check_seconds(self, "drain_idle")
        _check_seconds(self, "drain_timeout")

    @classmethod
    def of(cls, config: ServerConfig | None, options: dict[str, Any]) -> ServerConfig:
        """Take a ready table or options by name, not both.

        Raises:
            ConfigError: both are given, an option is unknown, or one is out of range.
        """
        if config is not None:
            if options:
                raise ConfigError(f"give either config or options, not both: {', '.join(sorted(options))}")
            return config
        unknown = sorted(set(options) - set(cls.names()))
        if unknown:
            raise ConfigError(f"unknown options: {', '.join(unknown)}; there are {', '.join(cls.names())}")
        return cls(**options)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The options, in the order of the table."""
        return tuple(field.name for field in fields(cls))


def _check_integer(config: object, name: str, *, least: int) -> None:
    value = getattr(config, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number of {least} or more")


def _check_networks(config: object, name: str, other: tuple[str, ...] = ()) -> None:
    networks = getattr(config, name)
    if isinstance(networks, str) or not isinstance(networks, Iterable):
        raise ConfigError(f"{name} is {networks!r}; it must be a tuple of networks such as 192.0.2.0/24")
    networks = tuple(networks)
    for network in networks:
        if network in other:
            continue
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise ConfigError(f"{name} has {network!r}: {error}; write a network as 192.0.2.0/24") from None
    object.__setattr__(config, name, networks)  # a list can change later, a generator is empty by now


def _check_protocols(config: object, name: str) -> None:
    protocols = getattr(config, name)
    if isinstance(protocols, str) or not isinstance(protocols, Iterable):
        raise ConfigError(f"{name} is {protocols!r}; it must be a tuple of protocol names such as echo/1")
    protocols = tuple(protocols)
    for protocol in protocols:
        if not (isinstance(protocol, str) and protocol.isascii() and 0 < len(protocol) < 256):
            raise ConfigError(f"{name} has {protocol!r}; a protocol's name has 1 to 255 ASCII characters")
    if not protocols:
        raise ConfigError(f"{name} is empty; leave it out to take clients of any protocol")
    object.__setattr__(config, name, protocols)


def _check_seconds(config: object, name: str, *, above_zero: bool = False) -> None:
    value = getattr(config, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} is {value!r}; it must be a number of 0 or more")
    if above_zero and value == 0:
        raise ConfigError(f"{name} is 0; give a number above 0, or None for no limit")
