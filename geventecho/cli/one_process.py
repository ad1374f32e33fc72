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
        options: the options of `geventecho serve`.
        addresses: the addresses to listen on.
        service: its outputs and callbacks.
        context: for TLS; None serves without TLS.

    Raises:
        ConfigError: an argument is wrong.
        ListenError: the server cannot listen.
    """

    def reload() -> None:
        try:
            server.ssl_context = context_of(options, addresses)  # type: ignore[assignment]
        except ConfigError as error:
            logger.error("the certificates were not reloaded, the old ones stay in use: %s", error, extra=ANSWER)
        else:
            service.output.write(f"certificates reloaded from {options.tls_cert}")

    def bound(server: TcpServer) -> None:
        service.on_bound(server.addresses)
        service.on_listening(server.addresses, 1, server.max_connections)

    metrics = None if service.metrics is None else OneProcess(service.metrics)
    counters = None if metrics is None else metrics.counters
    server = EchoServer([*addresses], config=config_of(options), ssl_context=context, counters=counters)
    if metrics is not None:
        metrics.serve(server, service.log, service.output)
    return serve(server, service.output, service.log, on_bound=bound, reload=None if context is None else reload)
