"""Translates errors of OpenSSL into errors of `geventecho.errors`, with a remedy."""

from __future__ import annotations

import ssl
from typing import Final, TypeAlias

from geventecho import errors
from geventecho.address import Address

__all__ = ["FIRST_BYTES", "closed_in_handshake", "is_tls", "not_tls", "translate_tls"]

Meaning: TypeAlias = tuple[type[errors.TlsError], str]

# x509_vfy.h: X509_V_ERR_*.
EXPIRED: Final = 10
NOT_YET_VALID: Final = 9
SELF_SIGNED: Final = 18
UNTRUSTED: Final = frozenset({2, 7, SELF_SIGNED, 19, 20, 21, 24, 27})
OTHER_HOST: Final = frozenset({62, 63, 64})

# RFC 8446, 4 and 6: the first record of a server is a handshake record with a ServerHello, or an alert.
ALERT, HANDSHAKE, SERVER_HELLO = bytes([21]), bytes([22]), bytes([2])
FIRST_BYTES: Final = 6
"""Bytes that show whether a server speaks TLS: the header of a record, and the type of its message."""
MAX_SHOWN: Final = 40
NO_APPLICATION_PROTOCOL: Final = bytes([2, 120])
"""The fatal alert of RFC 7301. OpenSSL 3.0 has a name for it, but Python has none."""

NO_COMMON: Final = "the server accepts none of our versions (TLS 1.2, 1.3) or ciphers"
NO_CERTIFICATE: Final = "the server wants a client certificate; see cert and key (--tls-cert, --tls-key)"
REFUSED: Final = "the server refused the client certificate"
REASONS: Final[dict[str, Meaning]] = {
    "TLSV1_ALERT_PROTOCOL_VERSION": (errors.NoCommonProtocol, NO_COMMON),
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": (errors.NoCommonProtocol, NO_COMMON),
    "UNSUPPORTED_PROTOCOL": (errors.NoCommonProtocol, NO_COMMON),
    "WRONG_SSL_VERSION": (errors.NoCommonProtocol, NO_COMMON),
    "NO_PROTOCOLS_AVAILABLE": (errors.NoCommonProtocol, NO_COMMON),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        errors.NoCommonProtocol,
        f"{NO_COMMON}, or it wants a client certificate (--tls-cert, --tls-key)",
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (errors.CertificateRequired, NO_CERTIFICATE),
    "SSLV3_ALERT_BAD_CERTIFICATE": (errors.ClientCertificateRefused, REFUSED),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": (errors.ClientCertificateRefused, REFUSED),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": (errors.ClientCertificateRefused, f"{REFUSED}: it is revoked"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (errors.ClientCertificateRefused, f"{REFUSED}: it has expired"),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (errors.ClientCertificateRefused, REFUSED),
    "TLSV1_ALERT_UNKNOWN_CA": (errors.ClientCertificateRefused, f"{REFUSED}: it does not know the authority"),
    "TLSV1_ALERT_ACCESS_DENIED": (errors.ClientCertificateRefused, REFUSED),
    "TLSV1_UNRECOGNIZED_NAME": (errors.WrongHostName, "the server does not know the host name that we sent (SNI)"),
}
ALPN: Final = "the server accepts none of the offered protocols; see alpn (--tls-alpn)"


def is_tls(first: bytes) -> bool:
    """Whether the first bytes from a server can be TLS: `FIRST_BYTES` of them, or as many as have come."""
    kind, version, message = first[:1], first[1:2], first[5:6]
    if version not in (b"", b"\3"):
        return False
    return kind == ALERT or (kind == HANDSHAKE and message in (b"", SERVER_HELLO))


def not_tls(first: bytes, address: Address) -> errors.NotTls:
    """Return the error for a server whose first bytes are not TLS."""
    if first[:1] == HANDSHAKE:
        reason = "the server returned our own first bytes: it is a plain echo server; use tcp://"
    else:
        reason = f"the server sent {ascii(first[:MAX_SHOWN])[1:]}, not TLS; use tcp://, and start_tls for STARTTLS"
    return errors.NotTls(reason, address=address, phase="tls")


def closed_in_handshake(address: Address) -> errors.HandshakeClosed:
    """Return the error for a server that closed in the middle of the handshake."""
    reason = "the server closed in the middle of the handshake; it may be full, or speak no TLS at this port"
    return errors.HandshakeClosed(reason, address=address, phase="tls")


def translate_tls(error: ssl.SSLError, address: Address, phase: str, name: str | None, last: bytes) -> errors.TlsError:
    """Return the error for an error of OpenSSL.

    Args:
        error: the error.
        address: the peer.
        phase: "tls" in the handshake, "read" or "write" after it.
        name: the host name to check in the certificate.
        last: the bytes that the peer sent last.
    """
    kind, reason = _meaning(error, name, last)
    return kind(reason, address=address, phase=phase)


def _meaning(error: ssl.SSLError, name: str | None, last: bytes) -> Meaning:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _refused(error, name)
    known = REASONS.get(error.reason or "")
    if known is not None:
        return known
    # An alert record of 2 bytes in plain text: the server has not answered with anything else before.
    if last[:1] == ALERT and last[3:] == b"\0\2" + NO_APPLICATION_PROTOCOL:
        return errors.NoCommonAlpn, ALPN
    words = (error.reason or error.strerror or str(error)).replace("_", " ").lower()
    return errors.TlsError, f"the handshake or the stream is broken: {words}"


def _refused(error: ssl.SSLCertVerificationError, name: str | None) -> Meaning:
    code, message = error.verify_code, error.verify_message
    if code == EXPIRED:
        return errors.CertificateExpired, "the server's certificate has expired (or the clock here is wrong)"
    if code == NOT_YET_VALID:
        return errors.CertificateNotYetValid, "the server's certificate is not valid yet (or the clock here is wrong)"
    if code in OTHER_HOST:
        hint = "see server_name (--tls-server-name)"
        return errors.WrongHostName, f"the server's certificate is not for {name!r}; {hint}"
    if code in UNTRUSTED:
        cause = "it is self-signed" if code == SELF_SIGNED else message
        return errors.UnknownAuthority, f"no trusted authority has signed its certificate ({cause}); see ca (--tls-ca)"
    return errors.CertificateRefused, f"the server's certificate is refused: {message}"
