"""The values of the options of `geventecho serve`: addresses, limits, TLS context."""

from __future__ import annotations

import argparse
import logging
import os
from typing import TYPE_CHECKING, Final

from geventecho.address import DEFAULT_TARGET, Address
from geventecho.cli.arguments import SOURCES
from geventecho.errors import AddressError, ConfigError
from geventecho.net import descriptor_capacity
from geventecho.options import target
from geventecho.server import ServerConfig

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

__all__ = ["addresses_of", "config_of", "context_of", "passed_sockets"]

logger = logging.getLogger("geventecho.serve")

LISTEN_OPTIONS: Final = {"target": "TARGET", "listen": "--listen", "host": "--host/--port", "port": "--host/--port"}
"""The options for the address to listen on, by name, as messages show them. Only --host and --port can be combined."""
FIRST_PASSED: Final = 3
"""The descriptor of the first socket that systemd passes."""


def config_of(options: argparse.Namespace) -> ServerConfig:
    """Return the limits that the options set, lowered to the limits of this process.

    Raises:
        ConfigError: one is out of range.
    """
    values = {name: getattr(options, name) for name in ServerConfig.names()}
    if options.allow is not None and not "".join(options.allow).strip():
        values["allow"] = ()
    asked, capacity = options.max_connections, descriptor_capacity()
    if asked is not None and asked > capacity:
        logger.warning("--max-connections %d is more than the descriptor limit allows: %d are used", asked, capacity)
        values["max_connections"] = capacity
    return ServerConfig(**values)


def context_of(options: argparse.Namespace, addresses: Sequence[Address]) -> ssl.SSLContext | None:
    """Return the context that the options describe, or None without TLS.

    Raises:
        ConfigError: an option is missing, or a file cannot be used.
    """
    given = {
        **{str(address): address.scheme == "tls" for address in addresses},
        "--tls-key": options.tls_key is not None,
        "--tls-client-ca": options.tls_client_ca is not None,
        "--tls13-only": options.tls13_only,
        "--alpn": options.alpn is not None,
        "--tls-cert": options.tls_cert is not None,
    }
    for needed, value in (("--tls-cert", options.tls_cert), ("--tls-key", options.tls_key)):
        if value is None and any(given.values()):
            raise ConfigError(f"{next(name for name, is_given in given.items() if is_given)} needs {needed} FILE")
    if options.tls_cert is None:
        return None
    from geventecho.cli.certificates import read_context  # noqa: PLC0415  # ssl takes 4 MiB

    return read_context(options)


def addresses_of(options: argparse.Namespace) -> list[Address]:
    """Return the addresses to listen on: TARGET, --listen, --host and --port, or the sockets that systemd passed.

    The command line overrides the environment, and the environment overrides a --config file.

    Raises:
        AddressError: the target or the host is wrong.
        ConfigError: the same source has two options that exclude each other.
    """
    sources = {name: options.parser.origin(name)[0] for name in LISTEN_OPTIONS if getattr(options, name) is not None}
    strongest = min(sources.values(), key=SOURCES.index, default=None)
    given = sorted({LISTEN_OPTIONS[name] for name, source in sources.items() if source == strongest})
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} both say where to listen: give one of them")
    if given == [LISTEN_OPTIONS["target"]]:
        try:  # not as an argparse type: for a misspelt option the error would be that its value is a wrong TARGET
            return [target(options.target)]
        except argparse.ArgumentTypeError as error:
            raise AddressError(str(error)) from None
    if given == [LISTEN_OPTIONS["listen"]]:
        return list(options.listen)
    return [_host_and_port(options)] if given else passed_sockets() or [Address.parse(DEFAULT_TARGET)]


def passed_sockets() -> list[Address]:
    """Return the sockets that systemd passed to this process (sd_listen_fds(3))."""
    names = os.environ
    if names.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = names.get("LISTEN_FDS", "")
    if not (count.isdecimal() and len(count) < 5):
        raise ConfigError(f"LISTEN_FDS is {count!r}; it must be a number of sockets")
    return [Address("fd", fd=FIRST_PASSED + number) for number in range(int(count))]


def _host_and_port(options: argparse.Namespace) -> Address:
    default = Address.parse(DEFAULT_TARGET)
    host = default.host if options.host is None else options.host.removeprefix("[").removesuffix("]")
    try:
        return Address.of((host, default.port if options.port is None else options.port))
    except AddressError as error:
        raise AddressError(f"argument --host: {error}") from None
