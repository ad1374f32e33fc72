"""`geventecho serve`: the echo server."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from geventecho.cli.arguments import add_command
from geventecho.cli.one_process import run_one_process
from geventecho.cli.privileges import privileges_of
from geventecho.cli.serve_options import add_options
from geventecho.cli.serve_settings import addresses_of, context_of, passed_sockets
from geventecho.cli.standard_io import STDOUT, encoding_of
from geventecho.cli.workers import run_workers
from geventecho.errors import ConfigError
from geventecho.net import raise_descriptor_limit
from geventecho.service import LineWriter, Metrics, Service, configure_logs, report_hub_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geventecho.address import Address
    from geventecho.cli.arguments import Commands

__all__ = ["add_to", "run"]

logger = logging.getLogger("geventecho.serve")

DESCRIPTION = """\
Serve TCP echo (RFC 862): send every byte back to the client that sent it. The descriptor limit bounds the number of
clients.

Once connects succeed, the server prints `listening on TARGET` as the first line on standard output. SIGTERM, SIGHUP or
Ctrl-C starts a drain: the server accepts no new connections, ends idle ones, and lets active ones finish until
--drain-timeout. At the end it prints two lines. The first has the counters; SIGUSR1 prints it at any time. The second
has the number of connections that finished (drained), the number that were cut, the bytes owed to clients that were
lost, and the bytes that came after the server's FIN and were discarded, if any (--max-rate causes that). A second
SIGTERM or Ctrl-C ends the process at once. Under nohup(1) SIGHUP does nothing. With TLS, SIGHUP does not drain: the
server reads the certificates again.

With --workers N, several processes serve the same addresses. SIGTERM drains all of them. SIGHUP reloads the options and
the certificates; no connect is refused. A dead or stuck process is replaced. Limits apply to each process.

Exit codes: 0 no bytes owed to clients were lost, 1 the server could not listen, or its workers could not start or kept
ending, 2 usage error, 3 bytes owed to clients were lost, 128 + N after a second signal, whose number is N."""

EPILOG = """\
examples:
  geventecho serve                                 on tcp://127.0.0.1:8090, for this machine only
  geventecho serve 127.0.0.1:7000
  geventecho serve 0.0.0.0:7000 --max-connections 500 --idle-timeout 60
  geventecho serve 0.0.0.0:7 --user nobody         as root; needs --user or --allow-root
  geventecho serve --port 7000 --workers auto      a process for each core
  geventecho serve unix:/run/echo.sock
  geventecho serve 0.0.0.0:7443 --tls-cert chain.pem --tls-key key.pem
  geventecho serve --port 7000                     on 127.0.0.1
  geventecho serve --listen [::]:7000 --listen unix:/run/echo.sock --unix-mode 660
  geventecho serve fd:3                            a listening socket that this process inherited
  geventecho serve --metrics 9090                  and metrics on http://127.0.0.1:9090/metrics

Without a TARGET, the server listens on the sockets that systemd passes (LISTEN_FDS), if there are any."""

FULL_COLLECTION_THRESHOLD: Final = 1_000_000
"""Collections of the middle generation before one of all objects (gc.set_threshold): some 7 billion new objects."""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    add_options(
        add_command(commands, "serve", summary="run the echo server", description=DESCRIPTION, epilog=EPILOG, run=run)
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal stops the server, and return the exit code.

    Raises:
        AddressError, ConfigError: an argument is wrong.
        ListenError: the server cannot listen.
    """
    addresses = addresses_of(options)
    if options.unix_mode is not None and not any(address.path.startswith("/") for address in addresses):
        raise ConfigError("--unix-mode needs a Unix socket with a file: listen on unix:/path")
    context = context_of(options, addresses)
    limits = raise_descriptor_limit()
    log = configure_logs(options.log_level, options.log_format)
    report_hub_errors()
    output = LineWriter(STDOUT, encoding_of(sys.stdout), partial(logger.error, "lines of standard output are lost: %s"))
    # The collector looks at new objects only. The imported modules stay, and a pass over all objects of 19,000
    # connections would hold the hub for 55 ms. It would find nothing: a connection leaves no cycle of references.
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_THRESHOLD)
    if (passed := passed_sockets()) and passed != addresses:
        logger.warning("unused sockets of systemd: %d; an option gives other addresses", len(passed))

    def apply_privileges(bound: Sequence[Address]) -> None:
        own = [] if metrics is None else [metrics.address]
        files = [address.path for address in (*addresses, *own) if address.path.startswith("/")]
        privileges_of(options).apply([*bound, *own], files)

    metrics = None
    try:
        metrics = None if options.metrics is None else Metrics(options.metrics)
        announce = partial(_announce, output=output, limits=limits, metrics=metrics)
        service = Service(output, log, apply_privileges, announce, metrics)
        if options.workers is not None:
            return run_workers(options, addresses, service)
        return run_one_process(options, addresses, service, context)
    finally:
        if metrics is not None:
            metrics.close()
        output.stop()
        log.close()


def _announce(
    addresses: Sequence[Address],
    workers: int,
    max_connections: int,
    *,
    output: LineWriter,
    limits: tuple[int, int],
    metrics: Metrics | None,
) -> None:
    """Print the addresses and the capacity. Warn of an address that other machines can reach."""
    before, limit = limits
    for address in addresses:
        output.write(f"listening on {address}")
    raised = f", raised from {before}" if limit != before else ""
    factor = f"{workers} x " if workers > 1 else ""
    output.write(f"capacity {factor}{max_connections} connections (descriptor limit {limit}{raised})")
    for address in addresses:
        if not address.is_loopback:
            logger.warning(
                "%s can be reached from other machines: an open echo server returns the bytes of any client", address
            )
    if metrics is not None:
        where = str(metrics.address)
        output.write(f"metrics on http:{where[4:]}/metrics" if where.startswith("tcp:") else f"metrics on {where}")
        if not metrics.address.is_loopback:
            logger.warning("metrics on %s can be read from other machines", metrics.address)
