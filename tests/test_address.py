"""Address: one parser for every target."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from geventecho.address import Address, canonical_ip
from geventecho.errors import AddressError, GeventechoError
from tests.support.properties import given, st

PORTS = st.integers(0, 65535)
NAMES = st.from_regex(
    r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?(\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,3}", fullmatch=True
)
HOSTS = NAMES | st.ip_addresses().map(str)
# What a path may hold: anything that prints, without a space.
PATHS = st.text(
    st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=25
)  # fmt: skip
UNIX_ADDRESSES = st.builds(Address, st.just("unix"), path=PATHS.map("/".__add__) | PATHS.map("@".__add__))
ADDRESSES = (
    st.builds(Address, st.sampled_from(["tcp", "tls"]), host=HOSTS, port=PORTS)
    | UNIX_ADDRESSES
    | st.builds(Address, st.just("fd"), fd=st.integers(0, 999_999_999))
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8090", Address("tcp", host="127.0.0.1", port=8090)),
        ("localhost:0", Address("tcp", host="localhost", port=0)),
        ("tcp://example.org:65535", Address("tcp", host="example.org", port=65535)),
        ("tcp://example.org:80/", Address("tcp", host="example.org", port=80)),
        ("tls://example.org:443", Address("tls", host="example.org", port=443)),
        ("[::1]:8090", Address("tcp", host="::1", port=8090)),
        ("tcp://[fe80::1%eth0]:1", Address("tcp", host="fe80::1%eth0", port=1)),
        ("my_service:80", Address("tcp", host="my_service", port=80)),
        ("münchen.example:80", Address("tcp", host="münchen.example", port=80)),
        ("unix:/run/echo.sock", Address("unix", path="/run/echo.sock")),
        ("unix:@echo", Address("unix", path="@echo")),
        ("fd:3", Address("fd", fd=3)),
        ("TCP://127.0.0.1:1", Address("tcp", host="127.0.0.1", port=1)),
        ("Tls://Example.org:443", Address("tls", host="Example.org", port=443)),
        ("UNIX:/Run/Echo", Address("unix", path="/Run/Echo")),
        ("FD:3", Address("fd", fd=3)),
        ("tls:443", Address("tcp", host="tls", port=443)),
        ("tcp:80", Address("tcp", host="tcp", port=80)),
        ("my-tls:80", Address("tcp", host="my-tls", port=80)),
    ],
)
def test_forms(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "port is missing"),
        ("localhost", "port is missing"),
        ("[::1]", "port is missing"),
        ("tcp://localhost", "port is missing"),
        (":8090", "host is missing"),
        ("tcp://:8090", "host is missing"),
        ("host:", "not a number from 0 to 65535"),
        ("host:65536", "not a number from 0 to 65535"),
        ("host:-1", "not a number from 0 to 65535"),
        ("host:0x50", "not a number from 0 to 65535"),
        ("host:٣", "not a number from 0 to 65535"),
        ("host:" + "9" * 5000, "not a number from 0 to 65535"),
        ("::1:8090", "brackets"),
        ("::1", "brackets"),
        ("fe80::1%eth0:80", "brackets"),
        ("http:127.0.0.1:80", "one colon too many"),
        ("my-tls:x", "not a number from 0 to 65535"),
        ("tcp:127.0.0.1:80", "two slashes"),
        ("TCP:/127.0.0.1:80", "two slashes"),
        ("tls://", "the port is missing"),
        ("tls://127.0.0.1", "the port is missing"),
        ("TLS://:80", "the host is missing"),
        ("tls:127.0.0.1:80", "TLS is written tls://host:port"),
        ("ssl:127.0.0.1:80", "TLS is written tls://host:port"),
        ("ssl://127.0.0.1:80", "TLS is written tls://host:port"),
        ("tcp+tls://127.0.0.1:80", "TLS is written tls://host:port"),
        ("HTTPS://127.0.0.1", "TLS is written tls://host:port"),
        ("[127.0.0.1]:80", "not IPv6"),
        ("[:80", "not a host name"),
        ("a..b:80", "not a host name"),
        ("-host:80", "not a host name"),
        ("user@host:80", "not a host name"),
        ("x" * 64 + ":80", "not a host name"),
        ("http://localhost:80", "'http://' is not known"),
        ("udp://localhost:80", "'udp://' is not known"),
        ("tcp://localhost:80/path", "not a number"),
        ("a b:80", "a space"),
        ("host:80\n", "cannot be printed"),
        ("host\x00:80", "cannot be printed"),
        ("h\u202eost:80", "cannot be printed"),
        ("unix:relative", "absolute path"),
        ("unix:", "absolute path"),
        ("unix:@", "absolute path"),
        ("unix:/" + "x" * 107, "longer than 107 bytes"),
        ("unix:/" + "é" * 54, "longer than 107 bytes"),
        ("unix:/tmp/\ud800", "cannot be printed"),
        ("\udcff:80", "cannot be printed"),
        ("fd:", "not a number"),
        ("fd:-1", "not a number"),
        ("fd:x", "not a number"),
        ("fd:99999999999999", "not a number"),
        ("fd:" + "9" * 5000, "not a number"),
    ],
)
def test_what_is_no_target(text: str, why: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    message = str(caught.value)
    assert why in message
    assert "write host:port, tcp://host:port" in message
    assert len(message) < 1000
    assert message.isprintable()
    assert isinstance(caught.value, ValueError)


@given(ADDRESSES)
def test_what_it_prints_it_parses(address: Address) -> None:
    assert Address.parse(str(address)) == address


@given(st.text())
def test_any_text_is_a_target_or_an_address_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address


@given(st.from_regex(r"(tcp://|tls://|unix:|fd:)?[\[\]:%/@.\w-]{0,40}(:\d{0,7})?", fullmatch=True))
def test_nearly_a_target_is_one_or_an_address_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address
    assert 0 <= address.port <= 65535


def test_of_takes_an_address_a_text_or_a_pair() -> None:
    address = Address("tcp", host="::1", port=80)
    assert Address.of(address) is address
    assert Address.of("tcp://[::1]:80") == address
    assert Address.of(("::1", 80)) == address
    assert Address.of(("::1", 80, 0, 0)) == address  # type: ignore[arg-type]
    assert Address.of(("127.0.0.1", 80)) == Address("tcp", host="127.0.0.1", port=80)
    assert Address.of(("fd", 80)) == Address("tcp", host="fd", port=80)


@pytest.mark.parametrize("value", [None, 8090, b"127.0.0.1:80", (), ("127.0.0.1",), ("127.0.0.1", "80"), (80, "a")])
def test_of_refuses_what_is_no_target(value: object) -> None:
    with pytest.raises(AddressError, match="is not a target"):
        Address.of(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [("", 80), ("127.0.0.1", 65536), ("127.0.0.1", -1), ("a b", 80)])
def test_of_checks_a_pair(pair: tuple[str, int]) -> None:
    with pytest.raises(AddressError):
        Address.of(pair)


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (("192.0.2.1", 80), "tcp://192.0.2.1:80"),
        (("::1", 80, 0, 0), "tcp://[::1]:80"),
        (("::ffff:192.0.2.1", 80, 0, 0), "tcp://192.0.2.1:80"),
        ("/run/echo.sock", "unix:/run/echo.sock"),
        (b"\0echo", "unix:@echo"),
        (b"\0\xff", "unix:@\\xff"),
        ("", "unix:"),
        (b"", "unix:"),
    ],
)
def test_from_sockaddr(sockaddr: object, text: str) -> None:
    assert str(Address.from_sockaddr(sockaddr)) == text  # type: ignore[arg-type]


@given(UNIX_ADDRESSES)
def test_a_unix_sockaddr_names_the_same_place(address: Address) -> None:
    sockaddr = address.sockaddr
    assert isinstance(sockaddr, str)
    abstract = sockaddr.startswith("\0")
    assert Address.from_sockaddr(sockaddr.encode() if abstract else sockaddr) == address


def test_sockaddr_is_what_the_socket_module_takes() -> None:
    assert Address.parse("tcp://[::1]:80").sockaddr == ("::1", 80)
    assert Address.parse("unix:@echo").sockaddr == "\0echo"
    assert Address.parse("unix:/run/echo").sockaddr == "/run/echo"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("127.0.0.1:1", socket.AF_INET),
        ("[::1]:1", socket.AF_INET6),
        ("unix:@x", socket.AF_UNIX),
        ("localhost:1", None),
        ("fd:3", None),
    ],
)
def test_family(text: str, family: int | None) -> None:
    assert Address.parse(text).family == family


@given(st.ip_addresses())
def test_loopback_is_what_the_address_module_says(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert Address("tcp", host=str(ip), port=1).is_loopback == ip.is_loopback


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/x", "unix:@x"])
def test_only_this_machine(text: str) -> None:
    assert Address.parse(text).is_loopback


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.org:1"])
def test_other_machines_too(text: str) -> None:
    assert not Address.parse(text).is_loopback


def test_a_dual_stack_client_counts_as_ipv4() -> None:
    assert canonical_ip("::ffff:192.0.2.1") == "192.0.2.1"
    assert canonical_ip("2001:db8::1") == "2001:db8::1"
    assert canonical_ip("::ffff:1") == "::ffff:1"


def test_the_error_is_one_of_ours_with_a_label() -> None:
    with pytest.raises(GeventechoError) as caught:
        Address.parse("nonsense")
    assert caught.value.kind == "bad address"


def test_addresses_are_values() -> None:
    assert {Address.parse("127.0.0.1:1"), Address.parse("tcp://127.0.0.1:1")} == {Address("tcp", "127.0.0.1", 1)}
    with pytest.raises(AttributeError):
        Address.parse("127.0.0.1:1").port = 2  # type: ignore[misc]
