"""Connects a socket to a target: resolves its name and tries its addresses, all within one time limit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final

import gevent
from gevent import socket

from geventecho import errors
from geventecho.address import Address, SockAddr, unsupported
from geventecho.client.names import NAMES, Found
from geventecho.net import Deadline, ProxyVersion, make_proxy_header, stamp_arrivals, translate_connect, wait_ready

__all__ = ["check_target", "dial"]

# linux/in.h: choose the local port at connect, not at bind. A bind does not know the destination and reserves the port
# for all destinations: one source address would be used up after some 28,000 connections.
IP_BIND_ADDRESS_NO_PORT: Final = 24
# A Unix listener with a full queue answers EAGAIN (unix(7)), and there is no event to wait for.
UNIX_RETRY: Final = 0.01


def check_target(target: Address, source: Address | None = None) -> None:
    """Refuse a target that a client cannot connect to, or a source that it cannot connect from.

    Raises:
        ConfigError: an fd target; a source that is not an IP address and port; a source for a Unix target.
    """
    if reason := unsupported(target):
        raise errors.ConfigError(f"{target}: {reason}")
    if source is not None and (target.scheme == "unix" or source.scheme != "tcp" or source.family is None):
        raise errors.ConfigError(f"source is {source}; it must be an IP address and port, for a tcp:// target")


def dial(
    target: Address,
    timeout: float | None,
    *,
    source: Address | None = None,
    nodelay: bool = True,
    stamped: bool = False,
    proxy_protocol: ProxyVersion | None = None,
) -> tuple[socket.socket, SockAddr]:
    """Connect to the first address of the target that accepts.

    Args:
        target: a tcp or unix address.
        timeout: seconds for all addresses and the name; None leaves the limit to the kernel.
        source: local IP address to connect from, and port (0 for any).
        nodelay: send small messages at once (TCP_NODELAY, tcp(7)).
        stamped: have the kernel stamp arrivals, from the first segment on; not on a Unix socket.
        proxy_protocol: begin with a PROXY header of this version.

    Returns:
        The connected socket and its peer's address.

    Raises:
        ConnectError: or a subclass, for the last address; its notes have the failures of the other addresses.
    """
    deadline = Deadline(timeout)
    failures: list[tuple[SockAddr, errors.ConnectError]] = []
    family = target.family
    addresses = NAMES.lookup(target, deadline) if family is None else [(family, target.sockaddr)]
    if source is not None:
        addresses = [(family, sockaddr) for family, sockaddr in addresses if family == source.family]
        if not addresses:
            raise errors.ConnectError(f"it has no address of the family of {source}", address=target, phase="connect")
    for budget, (family, sockaddr) in _shares(addresses, deadline):
        try:
            sock = _connect(family, sockaddr, budget, source, nodelay, stamped)
            if proxy_protocol is not None:
                _send_header(sock, proxy_protocol)
            return sock, sockaddr
        except TimeoutError as error:
            failures.append((sockaddr, _timeout_error(error, target, timeout)))
        except OSError as error:
            failures.append((sockaddr, translate_connect(error, target)))
    NAMES.failed(target)
    try:
        raise _last_failure(failures)
    finally:
        failures.clear()  # a cycle of error, traceback and this frame would keep the callers' frames alive


def _send_header(sock: socket.socket, version: ProxyVersion) -> None:
    """Send a PROXY header that names this end as the client. The send buffer of a new connection takes all of it."""
    try:
        sock._sock.sendall(make_proxy_header(version, sock.getsockname(), sock.getpeername()))
    except BaseException:
        sock.close()
        raise


def _shares(addresses: list[Found], deadline: Deadline) -> Iterator[tuple[Deadline, Found]]:
    """Yield each address with its share of the time: an address that never answers leaves time for the next."""
    for tried, found in enumerate(addresses):
        yield Deadline(deadline.remaining() / (len(addresses) - tried)), found


def _timeout_error(error: TimeoutError, target: Address, timeout: float | None) -> errors.ConnectError:
    reason = "no answer in time" if timeout is None else f"no answer within {timeout:g} s"
    return errors.ConnectTimeout(reason, address=target, phase="connect", errno=error.errno)


def _last_failure(failures: list[tuple[SockAddr, errors.ConnectError]]) -> errors.ConnectError:
    _, failure = failures[-1]
    for sockaddr, other in failures[:-1]:
        failure.add_note(f"{Address.from_sockaddr(sockaddr)} before that: {other.reason}")
    return failure


def _connect(
    family: int, sockaddr: SockAddr, deadline: Deadline, source: Address | None, nodelay: bool, stamped: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if nodelay and family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if stamped and family != socket.AF_UNIX:
            stamp_arrivals(sock)
        if source is not None:
            if source.port == 0:
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind(source.sockaddr)
        # The raw socket: gevent's connect() asks the resolver thread even for a numeric address.
        raw = sock._sock
        number = raw.connect_ex(sockaddr)
        while number == errno.EAGAIN and family == socket.AF_UNIX:
            if deadline.expired:
                raise TimeoutError
            gevent.sleep(UNIX_RETRY)
            number = raw.connect_ex(sockaddr)
        if number == errno.EINPROGRESS:
            if not wait_ready(sock._write_event, deadline.remaining()):
                raise TimeoutError
            number = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        # On loopback, the kernel may choose the port of the target as our local port if nobody listens there. TCP then
        # connects the socket to itself (simultaneous open, RFC 9293 3.5), and every echo is correct.
        if family != socket.AF_UNIX and raw.getsockname()[1] == sockaddr[1] and raw.getsockname() == raw.getpeername():
            raise ConnectionRefusedError("connected to itself")
    except BaseException:
        sock.close()
        raise
    return sock
