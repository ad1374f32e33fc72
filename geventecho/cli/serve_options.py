"""The options of `geventecho serve`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from geventecho.address import DEFAULT_TARGET, Address
from geventecho.cli.privileges import add_privileges
from geventecho.options import (
    file_mode,
    limit,
    metrics_target,
    protocols,
    seconds,
    seconds_above_zero,
    target,
    whole_number,
)
from geventecho.server import ServerConfig

if TYPE_CHECKING:
    from geventecho.cli.arguments import Parser

__all__ = ["add_options"]


def add_options(parser: Parser) -> None:
    """Add the options, in the order of --help."""
    defaults = ServerConfig()
    _add_where(parser, defaults)
    _add_limits(parser, defaults)
    _add_peers(parser, defaults)
    _add_tls(parser, defaults)
    add_privileges(parser)
    _add_process(parser, defaults)


def _add_where(parser: Parser, defaults: ServerConfig) -> None:
    default = Address.parse(DEFAULT_TARGET)
    where = parser.add_argument_group("where to listen")
    where.add_argument(
        "target", metavar="TARGET", nargs="?",
        help=f"host:port, tcp://host:port, tls://host:port, unix:/path, unix:@name or fd:N (default {DEFAULT_TARGET})",
    )  # fmt: skip
    where.add_argument(
        "--listen", metavar="TARGET", type=target, action="append",
        help="the same as TARGET; may be repeated, and may also stand in the environment or in a --config file",
    )  # fmt: skip
    where.add_argument(
        "--unix-mode", metavar="MODE", type=file_mode,
        help="permissions of a Unix socket's file, such as 660 (default: set by the umask)",
    )  # fmt: skip
    where.add_argument(
        "--host", metavar="HOST",
        help=f"address or name to listen on, instead of TARGET or --listen (default {default.host})",
    )  # fmt: skip
    where.add_argument(
        "--port", metavar="PORT", type=whole_number(0, 65535),
        help=f"port to listen on, with or without --host; 0 lets the kernel choose (default {default.port})",
    )  # fmt: skip
    where.add_argument(
        "--backlog", metavar="N", type=whole_number(1), default=defaults.backlog,
        help="length of the accept queue; the kernel limits it to net.core.somaxconn (default %(default)s)",
    )  # fmt: skip


def _add_limits(parser: Parser, defaults: ServerConfig) -> None:
    times = parser.add_argument_group("time limits of a connection (default: none)")
    for name, text in (
        ("--idle-timeout", "end a connection that carries no byte in either direction for this long"),
        ("--first-byte-timeout", "end a connection whose client has sent no byte after this long"),
        ("--lifetime", "end a connection after this long"),
    ):
        times.add_argument(name, metavar="SECONDS", type=limit, help=text)
    times.add_argument(
        "--write-stall", metavar="SECONDS", type=seconds_above_zero, default=defaults.write_stall,
        help="end a connection whose client takes none of the bytes owed to it for this long (default %(default)s)",
    )  # fmt: skip
    amounts = parser.add_argument_group("limits of connections, bytes and rates (default: none)")
    for name, metavar, minimum, text in (
        ("--max-connections", "N", 0, "open connections; more are refused (default: the descriptor limit minus 64)"),
        ("--max-per-address", "N", 1, "open connections from one address; a /64 of IPv6 counts as one address"),
        ("--max-bytes", "BYTES", 1, "end a connection once its client has sent this many bytes"),
        ("--max-rate", "BYTES", 1, "bytes a second from a client; a faster client is slowed down, not ended"),
        ("--min-rate", "BYTES", 1, "end an active connection with fewer bytes a second in both directions together"),
    ):  # fmt: skip
        amounts.add_argument(name, metavar=metavar, type=whole_number(minimum), help=text)
    amounts.add_argument(
        "--connect-rate", metavar="N", type=limit, help="new connections a second from one address; more are refused",
    )  # fmt: skip


def _add_peers(parser: Parser, defaults: ServerConfig) -> None:
    peers = parser.add_argument_group("clients that may connect (default: every client that can reach the address)")
    peers.add_argument(
        "--allow",
        metavar="NETWORK",
        nargs="+",
        help="admit only these networks, such as 192.0.2.0/24 2001:db8::/32; '' admits no client; "
        "write TARGET before this option",
    )
    peers.add_argument(
        "--deny", metavar="NETWORK", nargs="+", default=(),
        help="refuse these networks; overrides --allow; 0.0.0.0/0 is all of IPv4, ::/0 is all of IPv6; a TARGET with "
        "[::] takes both",
    )  # fmt: skip
    peers.add_argument(
        "--proxy-protocol-from", metavar="NETWORK", action="append", default=[],
        help="address of a proxy, or network of proxies; may be repeated. A proxy must begin each connection with a "
        "PROXY header of version 1 or 2. Limits, --allow, --deny and logs use the client's address in the header. The "
        "word unix means the peers of a Unix socket",
    )  # fmt: skip
    peers.add_argument(
        "--proxy-header-timeout", metavar="SECONDS", type=seconds_above_zero, default=defaults.proxy_header_timeout,
        help="end a connection of a proxy if the header is not complete after this long (default %(default)s)",
    )  # fmt: skip


def _add_tls(parser: Parser, defaults: ServerConfig) -> None:
    tls = parser.add_argument_group("TLS (1.2 and 1.3)")
    tls.add_argument(
        "--tls-cert", metavar="FILE",
        help="serve TLS with the certificate and the chain in this PEM file; SIGHUP reloads all TLS files",
    )  # fmt: skip
    tls.add_argument(
        "--tls-key", metavar="FILE",
        help="PEM file with the certificate's key, not encrypted; only the owner of the file may use it",
    )  # fmt: skip
    tls.add_argument(
        "--tls-client-ca", metavar="FILE",
        help="PEM file with authorities; a client needs a certificate that one of them has signed",
    )  # fmt: skip
    tls.add_argument("--tls13-only", action="store_true", help="refuse TLS 1.2")
    tls.add_argument(
        "--alpn", metavar="NAME[,NAME]", type=protocols,
        help="a client must offer one of these protocols by ALPN; the server chooses the first of them that the client "
        "offers",
    )  # fmt: skip
    tls.add_argument(
        "--tls-handshake-timeout", metavar="SECONDS", type=seconds_above_zero, default=defaults.tls_handshake_timeout,
        help="end a connection whose handshake is not complete after this long (default %(default)s)",
    )  # fmt: skip


def _add_process(parser: Parser, defaults: ServerConfig) -> None:
    parser.add_argument_group("processes").add_argument(
        "--workers", metavar="N", type=_workers,
        help="serve with N processes; auto is one for each core; needs geventecho[workers]. SIGHUP reloads the options "
        "and the certificates, SIGTTIN adds a process, SIGTTOU removes one (default: one process)",
    )  # fmt: skip
    drain = parser.add_argument_group("stopping")
    drain.add_argument(
        "--drain-timeout", metavar="SECONDS", type=seconds, default=defaults.drain_timeout,
        help="end the connections that are still open this long after the signal (default %(default)s)",
    )  # fmt: skip
    drain.add_argument(
        "--drain-idle", metavar="SECONDS", type=seconds, default=defaults.drain_idle,
        help="after the signal, end a connection that carries no byte for this long (default %(default)s)",
    )  # fmt: skip
    log = parser.add_argument_group("logging, on standard error")
    log.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="warning",
        help="debug adds a line for each connection; payload is never logged (default %(default)s)",
    )  # fmt: skip
    log.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="form of the lines (default %(default)s)"
    )
    parser.add_argument_group("metrics, over HTTP").add_argument(
        "--metrics", metavar="TARGET", type=metrics_target,
        help="serve /metrics for Prometheus, /healthz and /readyz here; a port alone is on 127.0.0.1; needs "
        "geventecho[workers] (default: off)",
    )  # fmt: skip


def _workers(text: str) -> int:
    """A number of processes, or "auto": one for each core that this process may use (sched_getaffinity(2))."""
    if text == "auto":
        return len(os.sched_getaffinity(0))
    try:
        return whole_number(1, 512)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None
