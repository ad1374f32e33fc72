"""Address: parse and print targets.

This is the only parser, for the server, the client, the command line and Locust's host field. A target is written

    host:port   tcp://host:port   tls://host:port   unix:/path   unix:@name   fd:N

Schemes may be written in capitals (RFC 3986, 3.1). An IPv6 address is written in brackets: ``tcp://[::1]:8090``.
``unix:@name`` is Linux's abstract namespace (unix(7)); ``fd:N`` is a listening socket that the process inherited.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from typing import Final

from geventecho.errors import AddressError

__all__ = ["DEFAULT_TARGET", "WRITE_TLS", "Address", "AddressLike", "SockAddr", "canonical_ip", "unsupported"]

SockAddr = tuple[str, int] | tuple[str, int, int, int] | str | bytes
"""An address of the socket module: a pair or quadruple for IP, a path (bytes when abstract) for Unix."""

DEFAULT_TARGET: Final = "tcp://127.0.0.1:8090"
"""The default address to listen on and to connect to: the port of Node's tutorial, on this machine only."""
FORMS: Final = "host:port, tcp://host:port, tls://host:port, unix:/path or unix:@name"
"""The forms that messages recommend: a server and a client accept each of them."""
WRITE_TLS: Final = "TLS is written tls://host:port"
"""The reason that a message gives for another scheme of TLS."""
# Schemes that users write for TLS: tls://, ssl://, tcp+tls://, https://.
TLS_SCHEME: Final = re.compile(r"tls|ssl|https|wss")
# sun_path has 108 bytes (unix(7)). One is for the final NUL of a path, or for the leading NUL of an abstract name.
MAX_UNIX_PATH: Final = 107
UNDECODABLE: Final = re.compile("[\udc80-\udcff]")
# A name of RFC 1123, also with underscores, which real zones contain. The resolver checks international names.
HOST_NAME: Final = re.compile(r"[\w](?:[\w.-]*[\w.])?\Z")
# int() also accepts other digits, and fails on thousands of digits.
NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")
IPV6_CHARACTERS: Final = re.compile(r"[0-9A-Fa-f:.]+(%\w+)?\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on or to connect to.

    Attributes:
        scheme: "tcp", "tls", "unix" or "fd".
        host: name or IP address without brackets ("tcp" and "tls"), else "".
        port: 0 to 65535 ("tcp" and "tls"), else 0.
        path: file system path, or "@name" in the abstract namespace ("unix"), else "".
        fd: inherited descriptor ("fd"), else -1.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read a target.

        Raises:
            AddressError: the text is not a target; the message gives the reason and the valid forms.
        """
        before, colon, rest = text.partition(":")
        scheme = before.lower()
        # A path may have bytes that cannot be decoded. Python decodes them as lone surrogates (PEP 383).
        visible = UNDECODABLE.sub("", text) if scheme == "unix" else text
        if " " in visible or not visible.isprintable():
            raise _error(text, "it contains a space or a character that cannot be printed")
        if scheme == "unix":
            return cls("unix", path=_unix_path(text, rest))
        if scheme == "fd":
            if not NUMBER.match(rest):
                raise _error(text, "the descriptor is not a number from 0 to 999999999")
            return cls("fd", fd=int(rest))
        if rest.startswith("//"):
            return cls._with_slashes(text, scheme, rest[2:].removesuffix("/"))
        if not colon:
            raise _error(text, "the port is missing")
        if not NUMBER.match(rest):  # the name of a scheme may also be a host: tls:443
            if TLS_SCHEME.fullmatch(scheme):
                raise _error(text, WRITE_TLS)
            if scheme == "tcp":
                raise _error(text, "two slashes must follow the scheme")
        host, port = _host_port(text, text)
        return cls("tcp", host=host, port=port)

    @classmethod
    def _with_slashes(cls, text: str, scheme: str, rest: str) -> Address:
        try:
            if scheme not in ("tcp", "tls"):
                raise _error(text, f"the scheme {scheme + '://'!r} is not known")
            host, port = _host_port(text, rest)
        except AddressError:
            if scheme != "tls" and TLS_SCHEME.search(scheme):
                raise _error(text, WRITE_TLS) from None
            raise
        return cls(scheme, host=host, port=port)

    @classmethod
    def of(cls, value: AddressLike) -> Address:
        """Take an `Address`, a target as text, or a (host, port) pair.

        Raises:
            AddressError: the value is not a target.
        """
        if isinstance(value, Address):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        match value:
            case (str(host), int(port), *_):
                shown = f"[{host}]" if ":" in host else host
                return cls.parse(f"tcp://{shown}:{port}")  # the name of a scheme may also be a host
        raise AddressError(f"{value!r} is not a target: give {FORMS}, or a (host, port) pair")

    @classmethod
    def from_sockaddr(cls, sockaddr: SockAddr) -> Address:
        """Convert a result of getsockname(2), getpeername(2) or accept(2)."""
        if isinstance(sockaddr, bytes):
            sockaddr = sockaddr.decode("utf-8", "backslashreplace")
        if isinstance(sockaddr, str):
            return cls("unix", path="@" + sockaddr[1:] if sockaddr.startswith("\0") else sockaddr)
        return cls("tcp", host=canonical_ip(sockaddr[0]), port=sockaddr[1])

    @property
    def sockaddr(self) -> SockAddr:
        """The argument for bind(2) and connect(2) in the socket module. A host name is not resolved."""
        if self.scheme == "unix":
            return "\0" + self.path[1:] if self.path.startswith("@") else self.path
        return (self.host, self.port)

    @property
    def family(self) -> int | None:
        """AF_UNIX, AF_INET or AF_INET6; None for a host name (the resolver decides) and for `fd`."""
        if self.scheme == "unix":
            return socket.AF_UNIX
        try:
            version = ipaddress.ip_address(self.host).version
        except ValueError:
            return None
        return socket.AF_INET if version == 4 else socket.AF_INET6

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it: a loopback IP, "localhost", or a Unix socket."""
        if self.scheme == "unix" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{UNDECODABLE.sub(lambda found: ascii(found[0])[1:-1], self.path)}"
        if self.scheme == "fd":
            return f"fd:{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


AddressLike = Address | str | tuple[str, int]


def unsupported(address: Address) -> str:
    """Return the reason why a client cannot use a target, or "" if it can."""
    if address.scheme == "fd":
        return "only a server can use fd:N; a client connects to tcp://host:port, tls://host:port or unix:/path"
    return ""


def canonical_ip(host: str) -> str:
    """Return the IPv4 address of an IPv4 client of a dual-stack listener (``::ffff:192.0.2.1``)."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def _error(text: str, reason: str) -> AddressError:
    shown = text if len(text) <= 100 else text[:100] + "…"
    return AddressError(f"{shown!r} is not a target: {reason}; write {FORMS}")


def _unix_path(text: str, path: str) -> str:
    if not path.startswith(("/", "@")) or path == "@":
        raise _error(text, "a Unix socket needs an absolute path or @name")
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise _error(text, f"{error.encoding}, the encoding of this locale, cannot write the path") from None
    if len(encoded) > MAX_UNIX_PATH:
        raise _error(text, f"the path is longer than {MAX_UNIX_PATH} bytes")
    return path


def _host_port(text: str, rest: str) -> tuple[str, int]:
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        raise _error(text, "the port is missing")
    if not NUMBER.match(port) or int(port) > 65535:
        raise _error(text, "the port is not a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise _error(text, "the address in brackets is not IPv6") from None
        return host, int(port)
    if ":" in host:
        if IPV6_CHARACTERS.match(host):
            raise _error(text, "an IPv6 address is written in brackets, as in [::1]:8090")
        raise _error(text, "there is one colon too many")
    if not host:
        raise _error(text, "the host is missing (127.0.0.1 is this machine only, 0.0.0.0 is every IPv4 interface)")
    if not HOST_NAME.match(host) or not _is_encodable(host):
        raise _error(text, f"{host!r} is not a host name")
    return host, int(port)


def _is_encodable(host: str) -> bool:
    """Whether the resolver can look it up: a label has 1 to 63 bytes (RFC 1035, 2.3.4)."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
