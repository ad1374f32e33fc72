"""ServerConfig: frozen and validated; it has all defaults.

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
        backlog: requested length of the accept queue; listen(2) clamps it to net.core.somaxconn.
        unix_mode: permissions of the files of Unix sockets, such as 0o660; None leaves them to the umask.
        max_connections: connections that may be open; further ones are accepted, counted and closed at once. 0 refuses
            all; None is the process's descriptor limit less 64.
        max_per_address: connections of one address that may be open; an IPv6 address counts by its /64.
        connect_rate: connections a second of one address, and a burst of one second's worth.
        allow: networks (``192.0.2.0/24``, ``2001:db8::/32``) that may connect; None admits all, an empty list nobody.
        deny: networks that may not connect; it wins over `allow`.
        idle_timeout: end a connection after this long without a byte in either direction.
        first_byte_timeout: end a connection whose peer has sent nothing within this time.
        lifetime: end a connection that is this old.
        max_bytes: end an echo connection once it has received this many bytes.
        max_rate: bytes a second that the peer of an echo connection may send; the connection is slowed down, not
            ended.
        min_rate: end a connection that is in use and carries fewer bytes a second than this in both directions
            together. It is checked every 10 seconds, and ended 20 to 30 seconds after it became too slow.
        write_stall: end a connection whose peer is owed bytes, and for this long has taken none and opened no window.
        proxy_protocol_from: networks of proxies that begin each connection with a PROXY header, version 1 or 2; "unix"
            stands for the peers of a Unix socket. The client that the header names is then the peer for limits, lists,
            hooks, handlers and logs. Other peers are served without a header: a header that they send is payload.
        proxy_header_timeout: end a connection of a proxy whose header is not complete after this time.
        tls_handshake_timeout: end a connection whose TLS handshake takes longer than this in total.
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
        _check_integer(self, "backlog", minimum=1)
        _check_integer(self, "max_connections", minimum=0)
        _check_integer(self, "unix_mode", minimum=0)
        if self.unix_mode is not None and self.unix_mode > 0o777:
            raise ConfigError(f"unix_mode is {self.unix_mode:#o}; it must be permissions from 0 to 0o777")
        for name in ("max_per_address", "max_bytes", "max_rate", "min_rate"):
            _check_integer(self, name, minimum=1)
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
        _check_networks(self, "proxy_protocol_from", keywords=("unix",))
        if self.alpn is not None:
            _check_protocols(self, "alpn")
        _check_seconds(self, "drain_idle")
        _check_seconds(self, "drain_timeout")

    @classmethod
    def of(cls, config: ServerConfig | None, options: dict[str, Any]) -> ServerConfig:
        """Take a ready config, or options by name.

        Raises:
            ConfigError: both are given, an option is unknown, or a value is out of range.
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
        """The names of the options, in the order of this class."""
        return tuple(field.name for field in fields(cls))


def _check_integer(config: object, name: str, *, minimum: int) -> None:
    value = getattr(config, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number of {minimum} or more")


def _check_networks(config: object, name: str, keywords: tuple[str, ...] = ()) -> None:
    networks = getattr(config, name)
    if isinstance(networks, str) or not isinstance(networks, Iterable):
        raise ConfigError(f"{name} is {networks!r}; it must be a tuple of networks such as 192.0.2.0/24")
    networks = tuple(networks)
    for network in networks:
        if network in keywords:
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
