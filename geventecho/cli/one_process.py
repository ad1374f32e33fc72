"""`geventecho serve` without `--workers`: one process."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from geventecho.address import Address
from geventecho.cli.serve_settings import config_of, context_of
from geventecho.errors import ConfigError
from geventecho.server import EchoServer, TcpServer
from geventecho.service import ANSWER, OneProcess, Service, serve

if TYPE_CHECKING:
    import ssl

__all__ = ["run_one_process"]

logger = logging.getLogger("geventecho.serve")


def run_one_process(
    options: argparse.Namespace,
    addresses: Sequence[Address],
    service: Service,
    context: ssl.SSLContext | None,
) -> int:
    """Serve in this process, and return the exit code.

    Args:
        options: of `geventecho serve`.
        addresses: where to listen.
        service: its outputs and callbacks.
        context: to serve TLS with; None serves without.

    Raises:
        ConfigError: an argument is wrong.
        ListenError: it could not listen.
    """

    def read_anew() -> None:
        try:
            server.ssl_context = context_of(options, addresses)  # type: ignore[assignment]
        except ConfigError as error:
            logger.error("the certificates were not read anew, those in use stay: %s", error, extra=ANSWER)
        else:
            service.output.write(f"certificates read anew from {options.tls_cert}")

    def bound(server: TcpServer) -> None:
        service.on_bound(server.addresses)
        service.on_listening(server.addresses, 1, server.max_connections)

    watched = None if service.metrics is None else OneProcess(service.metrics)
    counters = None if watched is None else watched.counters
    server = EchoServer([*addresses], config=config_of(options), ssl_context=context, counters=counters)
    if watched is not None:
        watched.serve(server, service.log, service.output)
    return serve(server, service.output, service.log, on_bound=bound, reload=None if context is None else read_anew)
