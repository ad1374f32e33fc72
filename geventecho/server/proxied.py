"""Connections of proxies: the PROXY header, read before anything else.

No byte after the header is read here: the bytes are first read with MSG_PEEK, and then only the header is taken.
"""

from __future__ import annotations

from gevent import socket

from geventecho.net import LONGEST_PROXY_HEADER, MalformedHeader, ProxyHeader, is_broken, parse_proxy_header
from geventecho.server.connection import Connection, Ended
from geventecho.server.counters import Ending, HeaderFailure

__all__ = ["HeaderFailed", "read_header"]


class HeaderFailed(Exception):
    """Raised when a proxy sent no PROXY header."""

    def __init__(self, why: HeaderFailure) -> None:
        super().__init__(why.value)
        self.why = why


def read_header(connection: Connection) -> ProxyHeader:
    """Read the header, in the connection's own greenlet.

    Raises:
        HeaderFailed: it is malformed, late or not complete.
        Ended: the connection was told to end for another reason.
    """
    try:
        return _read(connection.sock)
    except MalformedHeader:
        raise HeaderFailed(HeaderFailure.MALFORMED) from None
    except Ended:
        if connection.end_reason is not Ending.PROXY_HEADER:
            raise
        raise HeaderFailed(HeaderFailure.TIMEOUT) from None


def _read(sock: socket.socket) -> ProxyHeader:
    taken, raw = b"", sock._sock
    while True:
        socket.wait(sock._read_event)
        try:
            data = taken + raw.recv(LONGEST_PROXY_HEADER - len(taken), socket.MSG_PEEK)
            if len(data) == len(taken):
                raise HeaderFailed(HeaderFailure.GONE if taken else HeaderFailure.PROBE)
            header = parse_proxy_header(data)
            taken += raw.recv((len(data) if header is None else header.size) - len(taken))
        except BlockingIOError:
            continue
        except OSError as error:
            if not is_broken(error):
                raise
            raise HeaderFailed(HeaderFailure.GONE if taken else HeaderFailure.PROBE) from None
        if header is not None:
            return header
