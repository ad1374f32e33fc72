"""`geventecho serve`: the echo server."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from geventecho.address import DEFAULT_TARGET, Address
from geventecho.cli.arguments import SOURCES, add_command
from geventecho.cli.privileges import add_privileges, privileges_of
from geventecho.cli.standard_io import STDOUT, encoding_of
from geventecho.errors import AddressError, ConfigError
from geventecho.net import descriptor_capacity, raise_descriptor_limit
from geventecho.options import file_mode, limit, protocols, seconds, seconds_above_zero, target, whole_number
from geventecho.server import EchoServer, ServerConfig, TcpServer
from geventecho.service import LineWriter, configure_logs, report_hub_errors, serve

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from geventecho.cli.arguments import Commands, Parser

__all__ = ["add_to", "run"]

logger = logging.getLogger("geventecho.serve")

DESCRIPTION = """\
Serve TCP echo (RFC 862): every byte that a client sends comes back to it, for as many clients as there are descriptors.

The first line on standard output is `listening on TARGET`, once connects succeed. SIGTERM, SIGHUP or Ctrl-C drains: no
new clients, idle ones are ended, active ones may finish until --drain-timeout. The last line then says how many
connections finished (drained), how many were cut, how many bytes owed to them were lost, and how many came after the
server's FIN and were discarded, if any (--max-rate causes that). The line before it has the counters, which SIGUSR1
prints too. A second SIGTERM or Ctrl-C ends at once. Under nohup(1) SIGHUP does nothing. With TLS, SIGHUP does not
drain: it reads the certificates anew.

Exit codes: 0 nothing owed was lost, 1 it could not listen, 2 usage, 3 bytes owed were lost, 128 + N by a second
signal."""

EPILOG = """\
examples:
  geventecho serve                                 on tcp://127.0.0.1:8090, for this machine only
  geventecho serve 127.0.0.1:7000
  geventecho serve 0.0.0.0:7000 --max-connections 500 --idle-timeout 60
  geventecho serve 0.0.0.0:7 --user nobody         as root, which --user or --allow-root is needed for
  geventecho serve unix:/run/echo.sock
  geventecho serve 0.0.0.0:7443 --tls-cert chain.pem --tls-key key.pem
  geventecho serve --port 7000                     on 127.0.0.1
  geventecho serve --listen [::]:7000 --listen unix:/run/echo.sock --unix-mode 660
  geventecho serve fd:3                            a listening socket that this process inherited

Without a TARGET, it takes the sockets that systemd passes (LISTEN_FDS)."""

WHERE: Final = {"target": "TARGET", "listen": "--listen", "host": "--host/--port", "port": "--host/--port"}
"""The options that say where to listen, by name; those with the same text go together."""
FIRST_PASSED: Final = 3
"""The descriptor of the first socket that systemd passes."""
NEVER: Final = 1_000_000
"""Passes of the cycle collector over young objects before it goes through all objects: some 7 billion new objects."""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    defaults = ServerConfig()
    parser = add_command(
        commands, "serve", summary="run the echo server", description=DESCRIPTION, epilog=EPILOG, run=run
    )
    _add_where(parser, defaults)
    _add_limits(parser, defaults)
    _add_peers(parser, defaults)
    _add_tls(parser, defaults)
    add_privileges(parser)
    drain = parser.add_argument_group("stopping")
    drain.add_argument(
        "--drain-timeout", metavar="SECONDS", type=seconds, default=defaults.drain_timeout,
        help="end what is still open this long after the signal (default %(default)s)",
    )  # fmt: skip
    drain.add_argument(
        "--drain-idle", metavar="SECONDS", type=seconds, default=defaults.drain_idle,
        help="after the signal, end a connection after this long without a byte (default %(default)s)",
    )  # fmt: skip
    log = parser.add_argument_group("logging, on standard error")
    log.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="warning",
        help="debug has a line for each connection; payload is never logged (default %(default)s)",
    )  # fmt: skip
    log.add_argument("--log-format", choices=("text", "json"), default="text", help="(default %(default)s)")


def _add_where(parser: Parser, defaults: ServerConfig) -> None:
    default = Address.parse(DEFAULT_TARGET)
    where = parser.add_argument_group("where to listen")
    where.add_argument(
        "target", metavar="TARGET", nargs="?",
        help=f"host:port, tcp://host:port, tls://host:port, unix:/path, unix:@name or fd:N (default {DEFAULT_TARGET})",
    )  # fmt: skip
    where.add_argument(
        "--listen", metavar="TARGET", type=target, action="append",
        help="the same as TARGET, which cannot stand in the environment or in a --config file; give it again for more",
    )  # fmt: skip
    where.add_argument(
        "--unix-mode", metavar="MODE", type=file_mode,
        help="permissions of the file of a Unix socket, as in 660 (default: as the umask says)",
    )  # fmt: skip
    where.add_argument("--host", metavar="HOST", help=f"instead: address or name to bind (default {default.host})")
    where.add_argument(
        "--port", metavar="PORT", type=whole_number(0, 65535),
        help=f"with or without --host; 0 lets the kernel choose (default {default.port})",
    )  # fmt: skip
    where.add_argument(
        "--backlog", metavar="N", type=whole_number(1), default=defaults.backlog,
        help="accept queue to ask for; the kernel clamps it to net.core.somaxconn (default %(default)s)",
    )  # fmt: skip


def _add_limits(parser: Parser, defaults: ServerConfig) -> None:
    times = parser.add_argument_group("how long a connection may last (default: for ever)")
    for name, text in (
        ("--idle-timeout", "end a connection after this long without a byte in either direction"),
        ("--first-byte-timeout", "end a connection that has sent nothing at all for this long"),
        ("--lifetime", "end a connection that is this old"),
    ):
        times.add_argument(name, metavar="SECONDS", type=limit, help=text)
    times.add_argument(
        "--write-stall", metavar="SECONDS", type=seconds_above_zero, default=defaults.write_stall,
        help="end a connection whose peer has taken no byte for this long while one was owed (default %(default)s)",
    )  # fmt: skip
    amounts = parser.add_argument_group("how much (default: no limit)")
    for name, metavar, minimum, text in (
        ("--max-connections", "N", 0, "open at once; more are closed at once (default: descriptor limit less 64)"),
        ("--max-per-address", "N", 1, "open at once from one address; an IPv6 address counts by its /64"),
        ("--max-bytes", "BYTES", 1, "end a connection once it has sent this much"),
        ("--max-rate", "BYTES", 1, "bytes a second that a connection may send; it is slowed down, not ended"),
        ("--min-rate", "BYTES", 1, "end a connection that is in use and carries less than this a second, both ways"),
    ):  # fmt: skip
        amounts.add_argument(name, metavar=metavar, type=whole_number(minimum), help=text)
    amounts.add_argument(
        "--connect-rate", metavar="N", type=limit, help="connections a second from one address",
    )  # fmt: skip


def _add_peers(parser: Parser, defaults: ServerConfig) -> None:
    peers = parser.add_argument_group("who may connect (default: everybody who can reach the address)")
    peers.add_argument(
        "--allow",
        metavar="NETWORK",
        nargs="+",
        help="only these, as 192.0.2.0/24 2001:db8::/32; an empty one ('') admits nobody; "
        "TARGET stands before this option, not after it",
    )
    peers.add_argument(
        "--deny", metavar="NETWORK", nargs="+", default=(),
        help="not these; wins over --allow; 0.0.0.0/0 is all of IPv4 and ::/0 all of IPv6, and [::] takes both",
    )  # fmt: skip
    peers.add_argument(
        "--proxy-protocol-from", metavar="NETWORK", action="append", default=[],
        help="a proxy, or a network of them; may be repeated. It has to begin each connection with a PROXY header, "
        "version 1 or 2, and the client that this names is the peer for limits, lists and logs; unix is the peers of a "
        "Unix socket",
    )  # fmt: skip
    peers.add_argument(
        "--proxy-header-timeout", metavar="SECONDS", type=seconds_above_zero, default=defaults.proxy_header_timeout,
        help="end a connection of a proxy whose whole header has not come for this long (default %(default)s)",
    )  # fmt: skip


def _add_tls(parser: Parser, defaults: ServerConfig) -> None:
    tls = parser.add_argument_group("TLS (1.2 and 1.3)")
    tls.add_argument(
        "--tls-cert", metavar="FILE",
        help="serve TLS with this certificate and those of its chain, in PEM; SIGHUP reads all files anew",
    )  # fmt: skip
    tls.add_argument("--tls-key", metavar="FILE", help="its key, in PEM, not encrypted, and only the owner's to read")
    tls.add_argument(
        "--tls-client-ca", metavar="FILE", help="a client needs a certificate of one of these authorities, in PEM"
    )
    tls.add_argument("--tls13-only", action="store_true", help="refuse TLS 1.2")
    tls.add_argument(
        "--alpn", metavar="NAME[,NAME]", type=protocols,
        help="a client has to offer one of these protocols by ALPN; the first that it has is taken",
    )  # fmt: skip
    tls.add_argument(
        "--tls-handshake-timeout", metavar="SECONDS", type=seconds_above_zero, default=defaults.tls_handshake_timeout,
        help="end a connection whose handshake takes longer than this in all (default %(default)s)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends it, and return the exit code.

    Raises:
        AddressError, ConfigError: an argument is wrong.
        ListenError: it could not listen.
    """
    addresses = _addresses(options)
    if options.unix_mode is not None and not any(address.path.startswith("/") for address in addresses):
        raise ConfigError("--unix-mode needs a Unix socket with a file: listen on unix:/path")
    context = _ssl_context(options, addresses)
    limits = raise_descriptor_limit()
    log = configure_logs(options.log_level, options.log_format)
    report_hub_errors()
    output = LineWriter(STDOUT, encoding_of(sys.stdout), partial(logger.error, "lines of standard output are lost: %s"))
    # The collector looks at new objects only. What is imported by now stays, and a pass over all objects of 19,000
    # connections would hold the hub for 55 ms. It would find nothing: a connection leaves no cycle of references.
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], NEVER)
    if (passed := _passed_sockets()) and passed != addresses:
        logger.warning("sockets of systemd that nobody listens on: %d; an option says where to listen", len(passed))

    def read_anew() -> None:
        try:
            server.ssl_context = _ssl_context(options, addresses)  # type: ignore[assignment]
        except ConfigError as error:
            logger.error("the certificates were not read anew, those in use stay: %s", error)
        else:
            output.write(f"certificates read anew from {options.tls_cert}")

    def on_bound(server: TcpServer) -> None:
        files = [address.path for address in addresses if address.path.startswith("/")]
        privileges_of(options).settle(server.addresses, files)
        _announce(server, output=output, limits=limits)

    try:
        server = EchoServer([*addresses], config=_config(options), ssl_context=context)
        return serve(server, output, log, on_bound=on_bound, reload=None if context is None else read_anew)
    finally:
        output.stop()
        log.close()


def _config(options: argparse.Namespace) -> ServerConfig:
    """Return the limits that the options set, those that this process can have.

    Raises:
        ConfigError: one is out of range.
    """
    values = {name: getattr(options, name) for name in ServerConfig.names()}
    if options.allow is not None and not "".join(options.allow).strip():
        values["allow"] = ()
    asked, capacity = options.max_connections, descriptor_capacity()
    if asked is not None and asked > capacity:
        logger.warning("--max-connections %d is more than the descriptor limit allows: it is %d", asked, capacity)
        values["max_connections"] = capacity
    return ServerConfig(**values)


def _announce(server: TcpServer, *, output: LineWriter, limits: tuple[int, int]) -> None:
    """Print where it listens and how many connections it takes; warn of an address that others can reach."""
    before, limit = limits
    for address in server.addresses:
        output.write(f"listening on {address}")
    raised = f", raised from {before}" if limit != before else ""
    output.write(f"capacity {server.max_connections} connections (descriptor limit {limit}{raised})")
    for address in server.addresses:
        if not address.is_loopback:
            logger.warning(
                "%s can be reached from other machines: an open echo returns all that anybody sends", address
            )


def _ssl_context(options: argparse.Namespace, addresses: Sequence[Address]) -> ssl.SSLContext | None:
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
    from geventecho.cli.certificates import context_of  # noqa: PLC0415  # ssl takes 4 MiB

    return context_of(options)


def _addresses(options: argparse.Namespace) -> list[Address]:
    """Return where to listen: TARGET, --listen, --host and --port, or what systemd passed.

    One on the command line wins over another one in the environment, and that over one in a --config file.

    Raises:
        AddressError: the target or the host is wrong.
        ConfigError: two of them come from the same source.
    """
    sources = {name: options.parser.origin(name)[0] for name in WHERE if getattr(options, name) is not None}
    strongest = min(sources.values(), key=SOURCES.index, default=None)
    ways = sorted({WHERE[name] for name, source in sources.items() if source == strongest})
    if len(ways) > 1:
        raise ConfigError(f"{' and '.join(ways)} both say where to listen: give one of them")
    if ways == [WHERE["target"]]:
        try:  # not as its type: the value of a misspelt option would be a wrong TARGET, and the option not be named
            return [target(options.target)]
        except argparse.ArgumentTypeError as error:
            raise AddressError(str(error)) from None
    if ways == [WHERE["listen"]]:
        return list(options.listen)
    return [_host_and_port(options)] if ways else _passed_sockets() or [Address.parse(DEFAULT_TARGET)]


def _passed_sockets() -> list[Address]:
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
