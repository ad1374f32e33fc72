"""The PROXY header: complete, incomplete and malformed ones, and headers that this package makes."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from geventecho.address import SockAddr
from geventecho.net import (
    LONGEST_PROXY_HEADER,
    PROXY_VERSIONS,
    MalformedHeader,
    ProxyHeader,
    ProxyVersion,
    make_proxy_header,
    parse_proxy_header,
)
from tests.support.properties import given, settings, st

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4: SockAddr = ("192.0.2.1", 56324)
V6: SockAddr = ("2001:db8::1", 56324, 0, 0)
PORTS = st.integers(0, 65535)
ENDS = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), PORTS),
    st.tuples(
        st.ip_addresses(v=6).filter(lambda ip: ipaddress.IPv6Address(ip).ipv4_mapped is None).map(str),
        PORTS,
        st.just(0),
        st.just(0),
    ),
)


def binary(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if length is None else length) + rest


IPV4 = bytes((192, 0, 2, 1, 192, 0, 2, 2)) + struct.pack("!HH", 56324, 443)
IPV6 = ipaddress.ip_address("2001:db8::1").packed + bytes(16) + struct.pack("!HH", 56324, 443)


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", V4),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
        (b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", V6),
        (
            b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 0 65535\r\n",
            (":".join(8 * ["ffff"]), 0, 0, 0),
        ),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 56324 443\r\n", V4),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
        (binary(0x21, 0x11, IPV4), V4),
        (binary(0x21, 0x11, IPV4 + b"\x03\x00\x04abcd"), V4),
        (binary(0x21, 0x21, IPV6), V6),
        (binary(0x21, 0x21, bytes(10) + b"\xff\xff" + IPV4[:4] + bytes(16) + IPV4[8:]), V4),
        (binary(0x20, 0x00, b""), None),
        (binary(0x20, 0x11, IPV4), None),
        (binary(0x20, 0x77, b"any"), None),
        (binary(0x21, 0x00, b""), None),
        (binary(0x21, 0x31, bytes(216)), None),
        (binary(0x21, 0x00, bytes(LONGEST_PROXY_HEADER - 16)), None),
    ],
)
def test_a_header_is_read_to_its_last_byte(header: bytes, source: SockAddr | None) -> None:
    expected = ProxyHeader(len(header), source)
    assert parse_proxy_header(header) == expected
    assert parse_proxy_header(header + b"\r\nPROXY ") == expected
    assert all(parse_proxy_header(header[:size]) is None for size in range(len(header)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 example.com 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 \xff::1 ::1 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"PROXY " + b"x" * 101,
        SIGNATURE[:-1] + b"\r",
        binary(0x11, 0x11, IPV4),
        binary(0x22, 0x11, IPV4),
        binary(0x21, 0x12 + 1, IPV4),
        binary(0x21, 0x41, IPV4),
        binary(0x21, 0x11, IPV4[:-1]),
        binary(0x21, 0x21, IPV6[:-1]),
        binary(0x21, 0x31, bytes(215)),
        binary(0x20, 0x00, b"", LONGEST_PROXY_HEADER - 15),
    ],
)
def test_bytes_that_begin_no_header_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedHeader):
        parse_proxy_header(data)


@settings(max_examples=300)
@given(st.one_of(st.binary(), st.binary().map(b"PROXY ".__add__), st.binary().map(SIGNATURE.__add__)))
def test_any_bytes_are_a_header_or_its_beginning_or_malformed(data: bytes) -> None:
    try:
        header = parse_proxy_header(data)
    except MalformedHeader:
        return
    if header is None:
        assert len(data) < LONGEST_PROXY_HEADER
    else:
        assert 15 <= header.size <= len(data)
        assert parse_proxy_header(data[: header.size]) == header


@given(st.sampled_from(PROXY_VERSIONS), ENDS, ENDS, st.binary())
def test_a_made_header_is_read_back(
    version: ProxyVersion, source: SockAddr, destination: SockAddr, rest: bytes
) -> None:
    header = make_proxy_header(version, source, destination)
    named = source if len(source) == len(destination) else None
    assert parse_proxy_header(header + rest) == ProxyHeader(len(header), named)


@pytest.mark.parametrize("version", PROXY_VERSIONS)
def test_the_header_of_a_unix_connection_names_no_client(version: ProxyVersion) -> None:
    header = make_proxy_header(version, "", "/run/echo.sock")
    assert parse_proxy_header(header) == ProxyHeader(len(header), None)
