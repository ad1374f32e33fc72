"""connect() -> Client: resolves the name, connects, and does the TLS handshake."""

from __future__ import annotations

from dataclasses import replace
from types import EllipsisType

from geventecho.address import DEFAULT_TARGET, Address, AddressLike
from geventecho.client.client import Client, Seconds
from geventecho.client.config import check_timeout
from geventecho.client.dial import check_target, dial
from geventecho.client.tls import DEFAULT_TLS, TlsLike, check_tls
from geventecho.client.wire import Wire
from geventecho.errors import ConfigError
from geventecho.net import CLOCK, PROXY_VERSIONS, Deadline, ProxyVersion

__all__ = ["connect"]


def connect(
    target: AddressLike = DEFAULT_TARGET,
    *,
    timeout: float | None = 5.0,
    connect_timeout: Seconds = ...,
    source: AddressLike | None = None,
    nodelay: bool = True,
    timed: bool = False,
    proxy_protocol: ProxyVersion | None = None,
    tls: TlsLike | None = None,
    handshake: bool = True,
) -> Client:
    """Connect to a server.

    Args:
        target: "host:port", "tcp://host:port", "tls://host:port", "unix:/path" or "unix:@name", an `Address`, or a
            (host, port) pair.
        timeout: seconds for connecting (the name, all addresses and the TLS handshake together), and the default time
            limit of each later call; None is no limit.
        connect_timeout: seconds for connecting, if other than `timeout`.
        source: local IP address and port (0 for any) to connect from.
        nodelay: send small messages at once (TCP_NODELAY, tcp(7)).
        timed: keep the times of each exchange in `Client.traffic`, arrivals by the kernel's stamps (SO_TIMESTAMPNS).
            This costs some 3 us for each exchange. TLS has no stamps: a reply arrives when it is read.
        proxy_protocol: send a PROXY header of this version first, also before TLS. It names this end of the connection
            as the client.
        tls: settings such as the trusted authorities, see `Tls`; or an ssl.SSLContext. The connection then uses TLS
            with any scheme of the target. Without it, a tls:// target is checked against the system's authorities.
        handshake: whether a TLS connection shakes hands at once. False leaves the handshake to `Client.start_tls`.

    Raises:
        AddressError: `target` or `source` cannot be parsed.
        ConfigError: an option is out of range, or a client cannot connect to the target.
        ConnectError: or a subclass: ResolveError, ConnectRefused, ConnectTimeout, ConnectUnreachable, OutOfResources.
        TlsError: or a subclass; the TLS handshake failed.
    """
    address = Address.of(target)
    local = None if source is None else Address.of(source)
    check_timeout("timeout", timeout)
    if isinstance(connect_timeout, EllipsisType):
        connect_timeout = timeout
    else:
        check_timeout("connect_timeout", connect_timeout)
    if tls is not None and address.scheme == "tcp":
        address = replace(address, scheme="tls")
    check_target(address, local)
    if proxy_protocol not in (None, *PROXY_VERSIONS):
        raise ConfigError(f"proxy_protocol is {proxy_protocol!r}; it must be v1, v2 or None")
    is_secure = address.scheme == "tls" or tls is not None
    if is_secure:
        check_tls(tls or DEFAULT_TLS, address)
    deadline = Deadline(connect_timeout)
    sock, peer = dial(
        address, connect_timeout, source=local, nodelay=nodelay, stamped=timed, proxy_protocol=proxy_protocol
    )
    client = Client(Wire(sock, address, timeout, CLOCK if timed else None), address, peer)
    if is_secure and handshake:
        client.start_tls(tls or DEFAULT_TLS, timeout=None if connect_timeout is None else deadline.remaining())
    return client
