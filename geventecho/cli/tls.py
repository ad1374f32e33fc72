"""The TLS options of the commands that connect."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from geventecho.address import Address
from geventecho.cli.standard_io import print_error
from geventecho.client import Client, Tls, check_tls
from geventecho.errors import ConfigError
from geventecho.options import INSECURE, add_tls_arguments, naming_tls, tls_values

if TYPE_CHECKING:
    from geventecho.cli.arguments import Parser

__all__ = ["add_tls", "checked_tls", "tls_of", "warn_of_no_protocol"]


def add_tls(parser: Parser) -> None:
    """Add the options to a command."""
    add_tls_arguments(parser.add_argument_group("TLS (for a target tls://host:port)"))


def tls_of(options: argparse.Namespace, target: Address) -> Tls | None:
    """Return the TLS settings, None for a target without TLS. Warn of --tls-insecure.

    Raises:
        ConfigError: an option is wrong, or the target has no TLS.
    """
    tls = checked_tls(options, target)
    if tls is not None and tls.insecure:
        print_error(f"{options.parser.prog}: warning: --tls-insecure: {INSECURE}")
    return tls


def warn_of_no_protocol(options: argparse.Namespace, client: Client) -> None:
    """Warn when the server chose none of the protocols that --tls-alpn offers."""
    if options.tls_alpn and client.tls is not None and client.tls.alpn is None:
        print_error(f"{options.parser.prog}: warning: --tls-alpn: the server chose none of {options.tls_alpn}")


def checked_tls(options: argparse.Namespace, target: Address, *, may_start_later: bool = False) -> Tls | None:
    """Return the checked TLS settings, None for a target without TLS.

    Args:
        options: the options of the command.
        target: where to connect.
        may_start_later: whether a target other than tls:// may have TLS options: users may call `start_tls`.

    Raises:
        ConfigError: an option is wrong, or the target has no TLS.
    """
    values = tls_values(vars(options))
    is_secure = target.scheme == "tls"
    if not is_secure and not values:
        return None
    if not is_secure and not may_start_later:
        flags = ", ".join(f"--tls-{name}".replace("_", "-") for name in values)
        raise ConfigError(f"{flags}: {target} has no TLS; write tls://host:port")
    with naming_tls():
        tls = Tls(**values)
        check_tls(tls, target)
    return tls
