"""`geventecho serve --workers`: several processes."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from geventecho.address import Address
from geventecho.cli.serve_settings import addresses_of, config_of, context_of
from geventecho.errors import ConfigError
from geventecho.server import Counters, EchoServer, ServerConfig, TcpServer
from geventecho.service import Plan, Service, serve_with_workers

if TYPE_CHECKING:
    import ssl

__all__ = ["run_workers"]

FIXED: Final = {
    "unix_mode": "--unix-mode", "backlog": "--backlog", "log_format": "--log-format", "user": "--user",
    "allow_root": "--allow-root", "metrics": "--metrics",
}  # fmt: skip
"""Options that only a restart can change, beside the addresses and the use of TLS."""


def run_workers(
    options: argparse.Namespace,
    addresses: Sequence[Address],
    service: Service,
) -> int:
    """Serve with the workers that the options ask for, and return the exit code.

    Args:
        options: the options of `geventecho serve`.
        addresses: the addresses to listen on.
        service: its outputs and callbacks.

    Raises:
        ConfigError: an argument is wrong.
        ListenError: the server cannot listen.
    """

    def reload() -> Plan:
        again = options.parser.parse_again()
        changed = [option for name, option in FIXED.items() if getattr(again, name) != getattr(options, name)]
        if addresses_of(again) != addresses:
            changed.append("the addresses")
        if (again.tls_cert is None) != (options.tls_cert is None):
            changed.append("the use of TLS (--tls-cert)")
        if again.workers is None:
            changed.append("--workers")
        if changed:
            raise ConfigError(f"only a restart can change {', '.join(changed)}")
        plan = _plan(again, addresses)
        logging.getLogger().setLevel(again.log_level.upper())
        return plan

    scheme = "tcp" if options.tls_cert is None else "tls"
    plan = _plan(options, addresses)
    return serve_with_workers(addresses, plan, service, scheme=scheme, reload=reload)


def _plan(options: argparse.Namespace, addresses: Sequence[Address]) -> Plan:
    config, context = config_of(options), context_of(options, addresses)
    return Plan(options.workers, config, partial(_make_server, config, context))


def _make_server(
    config: ServerConfig, context: ssl.SSLContext | None, listeners: list[Address], counters: Counters
) -> TcpServer:
    return EchoServer(listeners, config=config, ssl_context=context, counters=counters)
