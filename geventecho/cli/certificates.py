"""The files of `geventecho serve --tls-cert`: checked, and made into an SSL context."""

from __future__ import annotations

import argparse
import os
import shlex
import ssl as stdlib_ssl
from typing import Final

from gevent import ssl

from geventecho.cli.arguments import file_content
from geventecho.errors import ConfigError

__all__ = ["context_of"]

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption. Those of TLS 1.3 all have both."""
OPTIONS: Final = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
OTHERS: Final = 0o077
"""The bits of a file's mode that are not its owner's."""


def context_of(options: argparse.Namespace) -> stdlib_ssl.SSLContext:
    """Read the files that the options name.

    Raises:
        ConfigError: a file cannot be read, holds something else, or is not safe; the key is not the certificate's.
    """
    certificate, key = options.tls_cert, options.tls_key
    _check("--tls-cert", certificate, "CERTIFICATE-----")
    _check("--tls-key", key, "PRIVATE KEY-----")
    mode = os.stat(key).st_mode & 0o777
    if mode & OTHERS:
        raise ConfigError(f"--tls-key: others may use {key} (mode {mode:o}); run: chmod 600 {shlex.quote(key)}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    newest = ssl.TLSVersion.TLSv1_3 if options.tls13_only else ssl.TLSVersion.TLSv1_2
    context.minimum_version = newest
    context.options |= OPTIONS
    context.set_ciphers(CIPHERS)
    try:
        context.load_cert_chain(certificate, key, password=lambda: _refuse_password(key))
    except OSError as error:  # SSLError is one
        reason = getattr(error, "reason", None) or error.strerror
        if reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"--tls-key: {key} is not the key of the certificate in {certificate}") from None
        raise ConfigError(f"--tls-cert {certificate} and --tls-key {key} cannot be used: {reason}") from None
    if options.tls_client_ca is not None:
        _check("--tls-client-ca", options.tls_client_ca, "CERTIFICATE-----")
        try:
            context.load_verify_locations(options.tls_client_ca)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror
            raise ConfigError(f"--tls-client-ca: {options.tls_client_ca} cannot be used: {reason}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context  # type: ignore[no-any-return]


def _check(option: str, path: str, mark: str) -> None:
    """Look whether a file can be read and holds something of this kind: OpenSSL would not say which file is wrong."""
    try:
        content = file_content(path)
    except OSError as error:
        raise ConfigError(f"{option}: the file {path} cannot be read: {error.strerror}") from None
    if mark.encode() not in content:
        raise ConfigError(f"{option}: there is no {mark.rstrip('-').lower()} in {path}; it must be a PEM file")


def _refuse_password(key: str) -> str:
    """OpenSSL would ask for it on the terminal."""
    raise ConfigError(f"--tls-key: {key} is encrypted; decrypt it with: openssl pkey -in KEY -out NEW")
