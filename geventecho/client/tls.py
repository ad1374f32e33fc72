"""The settings that a client's TLS connections share: authorities, its own certificate, sessions to resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from gevent.monkey import get_original

from geventecho.address import Address
from geventecho.errors import ConfigError
from geventecho.pem import load_authorities, load_pair

if TYPE_CHECKING:
    import ssl as stdlib_ssl

__all__ = [
    "DEFAULT_TLS",
    "Sessions",
    "Tls",
    "TlsInfo",
    "TlsLike",
    "check_tls",
    "context_of",
    "is_insecure",
    "server_name_of",
    "sessions_of",
]

LONGEST_PROTOCOL: Final = 255
"""Bytes of the longest protocol name in ALPN (RFC 7301, 3.1)."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS settings of a client, as one value. TLS 1.2 and 1.3 are accepted.

    Attributes:
        ca: a PEM file of the authorities to trust; None trusts the authorities of the system.
        cert: a PEM file with the client's own certificate and its chain; None is no certificate.
        key: a PEM file with the certificate's key; None if the key is in the file `cert`.
        server_name: the host name to send (SNI) and to check in the certificate; None is the target's host.
        insecure: do not check the server's certificate. Anybody on the path can then read and change the data.
        alpn: protocols to offer, the preferred one first (ALPN, RFC 7301).
        resume: resume an earlier session with the same server if it allows that: the handshake is shorter.

    Raises:
        ConfigError: two fields exclude each other, or a field has a wrong type.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    insecure: bool = False
    alpn: tuple[str, ...] = ()
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key", "server_name"):
            value: object = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigError(f"Tls.{name} is {value!r}; it must be text, or None")
        if self.key is not None and self.cert is None:
            raise ConfigError("Tls.key is the key of a certificate: give Tls.cert, too")
        if self.insecure and self.ca is not None:
            raise ConfigError("Tls.insecure checks no certificate: Tls.ca would have no effect")
        if not isinstance(self.alpn, tuple) or not all(isinstance(name, str) for name in self.alpn):
            raise ConfigError(f"Tls.alpn is {self.alpn!r}; it must be a tuple of names")
        for name in self.alpn:
            if not name.isascii() or not 0 < len(name) <= LONGEST_PROTOCOL:
                raise ConfigError(f"Tls.alpn: {name!r} is not a name of 1 to {LONGEST_PROTOCOL} ASCII characters")


TlsLike: TypeAlias = "Tls | stdlib_ssl.SSLContext"
"""Settings, or a context of the caller."""


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """The outcome of a handshake.

    Attributes:
        version: "TLSv1.2" or "TLSv1.3".
        cipher: OpenSSL's name of the cipher suite.
        alpn: the offered protocol that the server chose; None if it chose none.
        resumed: whether an earlier session was resumed.
    """

    version: str
    cipher: str
    alpn: str | None
    resumed: bool


DEFAULT_TLS: Final = Tls()
"""The settings of a tls:// target without settings."""


def check_tls(tls: TlsLike, target: Address) -> None:
    """Check that `tls` can be used for a target.

    Raises:
        ConfigError: a file cannot be used, or there is no host name to check in the certificate.
    """
    server_name_of(tls, target)


def context_of(tls: TlsLike) -> stdlib_ssl.SSLContext:
    """Return the context of all connections that use `tls`. Each process makes it once.

    Raises:
        ConfigError: a file cannot be read or used, or `tls` is an SSLContext for servers.
    """
    if not isinstance(tls, Tls):
        if not isinstance(tls, get_original("ssl", "SSLContext")):  # the class of a context from before monkey-patching
            raise ConfigError(f"tls is {tls!r}; it must be a geventecho.Tls or an ssl.SSLContext")
        if tls.protocol.name == "PROTOCOL_TLS_SERVER":
            raise ConfigError("tls is an SSLContext for servers; make it with ssl.PROTOCOL_TLS_CLIENT")
        return tls  # type: ignore[no-any-return]
    context = _contexts.get(tls)
    if context is None:
        context = _contexts[tls] = _make_context(tls)
    return context


_contexts: Final[dict[Tls, stdlib_ssl.SSLContext]] = {}


def _make_context(tls: Tls) -> stdlib_ssl.SSLContext:
    from gevent import ssl  # noqa: PLC0415  (processes without TLS need no OpenSSL)

    # gevent's class: in a process that is patched later, a property of the standard class recurses without end.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca is None:
        context.load_default_certs()
    else:
        load_authorities(context, tls.ca, option="Tls.ca")
    if tls.cert is not None:
        key, of_key = (tls.cert, "Tls.cert") if tls.key is None else (tls.key, "Tls.key")
        load_pair(context, tls.cert, key, options=("Tls.cert", of_key))
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context  # type: ignore[no-any-return]


def is_insecure(tls: TlsLike) -> bool:
    """Whether the server's certificate is not checked."""
    return tls.insecure if isinstance(tls, Tls) else not getattr(tls, "verify_mode", True)


def server_name_of(tls: TlsLike, target: Address) -> str | None:
    """Return the host name or IP address to check in the certificate; None for a Unix socket without a name.

    Raises:
        ConfigError: there is no host, and the certificate is to be checked.
    """
    given = tls.server_name if isinstance(tls, Tls) else None
    # A zone has a meaning on this machine only. A name in a certificate has no full stop at its end (RFC 6066, 3).
    name = given or target.host.partition("%")[0].removesuffix(".")
    if context_of(tls).check_hostname and not name:
        raise ConfigError(f"{target} has no host name to check in the certificate; give server_name, or insecure")
    return name or None


def sessions_of(tls: TlsLike) -> Sessions | None:
    """Return the newest session of each server, shared by all connections that use `tls`; None without `resume`."""
    if not isinstance(tls, Tls) or not tls.resume:
        return None
    return _sessions.setdefault(context_of(tls), {})


Sessions: TypeAlias = dict[tuple[Address, str | None], Any]
"""Sessions by the target and the server name."""
_sessions: Final[WeakKeyDictionary[stdlib_ssl.SSLContext, Sessions]] = WeakKeyDictionary()
