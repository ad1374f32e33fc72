"""The header of the PROXY protocol, versions 1 and 2: a proxy sends it first and names its client in it.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Final, Literal

from geventecho.address import SockAddr

__all__ = [
    "LONGEST_PROXY_HEADER",
    "PROXY_VERSIONS",
    "MalformedHeader",
    "ProxyHeader",
    "ProxyVersion",
    "make_proxy_header",
    "parse_proxy_header",
]

ProxyVersion = Literal["v1", "v2"]
PROXY_VERSIONS: Final = ("v1", "v2")
"""Versions of the header: a line of text, or binary."""

LONGEST_LINE: Final = 107
"""Bytes of a header of version 1, its CRLF included."""
LONGEST_PROXY_HEADER: Final = 4096
"""Bytes of the longest header that is read. Version 2 allows 65,551; proxies send some hundreds."""
LINE_START: Final = b"PROXY "
SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED: Final = struct.Struct("!12sBBH")
"""The part that each header of version 2 has: signature, version and command, family, length of the rest."""
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6 = 0x11, 0x21
ADDRESSES: Final = {0x00: 0, TCP4: 12, 0x12: 12, TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Bytes of the addresses by family and transport: none, then IPv4, IPv6 and Unix, each as stream and as datagram."""
PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")


class MalformedHeader(ValueError):
    """Raised when bytes are not a header, or not the beginning of one."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A whole header.

    Attributes:
        size: its length in bytes.
        source: the client, as accept(2) would name it. None: the connection is the proxy's own (LOCAL, used by health
            checks), or the client is unknown or has no IP address.
    """

    size: int
    source: SockAddr | None


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the header at the beginning of a connection.

    Args:
        data: the bytes that have arrived so far; payload may follow the header.

    Returns:
        The header, or None when it is not complete; then all of `data` is part of it.

    Raises:
        MalformedHeader: the bytes are not a header, or the header is longer than LONGEST_PROXY_HEADER.
    """
    if data.startswith(LINE_START):
        return _parse_line(data)
    if data.startswith(SIGNATURE):
        return _parse_binary(data)
    if LINE_START.startswith(data) or SIGNATURE.startswith(data):
        return None
    raise MalformedHeader("neither version of the header begins like this")


def make_proxy_header(version: ProxyVersion, source: SockAddr, destination: SockAddr) -> bytes:
    """Return a header.

    Args:
        version: the version of the header.
        source, destination: the two ends, both IPv4 or both IPv6. Otherwise the header says that the connection
            is the sender's own.
    """
    if isinstance(source, tuple) and isinstance(destination, tuple):
        ends = [ipaddress.ip_address(end[0].partition("%")[0]) for end in (source, destination)]
        if ends[0].version == ends[1].version:
            ports, is_ipv4 = (source[1], destination[1]), ends[0].version == 4
            if version == "v1":
                words = ("PROXY", "TCP4" if is_ipv4 else "TCP6", *map(str, ends), *map(str, ports))
                return " ".join(words).encode("ascii") + b"\r\n"
            family = TCP4 if is_ipv4 else TCP6
            addresses = b"".join(end.packed for end in ends) + struct.pack("!HH", *ports)
            return FIXED.pack(SIGNATURE, PROXY, family, len(addresses)) + addresses
    return b"PROXY UNKNOWN\r\n" if version == "v1" else FIXED.pack(SIGNATURE, LOCAL, 0, 0)


def _parse_line(data: bytes) -> ProxyHeader | None:
    size = data.find(b"\n", 0, LONGEST_LINE) + 1
    if not size:
        if len(data) >= LONGEST_LINE:
            raise MalformedHeader("the line is too long")
        return None
    if data[size - 2 : size] != b"\r\n":
        raise MalformedHeader("the line ends without CR")
    family, *words = data[len(LINE_START) : size - 2].split(b" ")
    if family == b"UNKNOWN":
        return ProxyHeader(size, None)
    if family not in (b"TCP4", b"TCP6") or len(words) != 4 or b"%" in data[:size]:
        raise MalformedHeader("the line is not a family, two addresses and two ports")
    kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        source, _ = (kind(word.decode("ascii")) for word in words[:2])
    except ValueError:
        raise MalformedHeader("an address is not of the family") from None
    ports = [int(word) for word in words[2:] if PORT.fullmatch(word)]
    if len(ports) != 2 or max(ports) > 65535:
        raise MalformedHeader("a port is not a number from 0 to 65535")
    return ProxyHeader(size, _sockaddr(source, ports[0]))


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < FIXED.size:
        return None
    _, command, family, length = FIXED.unpack_from(data)
    if command not in (LOCAL, PROXY):
        raise MalformedHeader("the version is not 2, or the command is not known")
    size = FIXED.size + length
    if size > LONGEST_PROXY_HEADER:
        raise MalformedHeader("the header is too long")
    if command == PROXY and length < ADDRESSES.get(family, size):
        raise MalformedHeader("the family is not known, or the addresses are not complete")
    if len(data) < size:
        return None
    if command == LOCAL or family not in (TCP4, TCP6):
        return ProxyHeader(size, None)
    # The source and the destination address, then the source port.
    address_size, port = (4, "!4xH") if family == TCP4 else (16, "!16xH")
    source = ipaddress.ip_address(data[FIXED.size : FIXED.size + address_size])
    return ProxyHeader(size, _sockaddr(source, struct.unpack_from(port, data, FIXED.size + address_size)[0]))


def _sockaddr(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> SockAddr:
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip), port
    if ip.ipv4_mapped is not None:  # limits and lists use the IPv4 address
        return str(ip.ipv4_mapped), port
    return str(ip), port, 0, 0
