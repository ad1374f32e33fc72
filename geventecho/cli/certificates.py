"""Checks the files of `geventecho serve --tls-cert`, and makes an SSL context of them."""

from __future__ import annotations

import argparse
import os
import shlex
import ssl as stdlib_ssl
from typing import Final

from gevent import ssl

from geventecho.errors import ConfigError
from geventecho.pem import load_authorities, load_pair

__all__ = ["read_context"]

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Ciphers for TLS 1.2 with forward secrecy and authenticated encryption. All ciphers of TLS 1.3 have both."""
OPTIONS: Final = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
OTHER_USERS: Final = 0o077
"""The bits of a file's mode for all users but its owner."""


def read_context(options: argparse.Namespace) -> stdlib_ssl.SSLContext:
    """Read the files that the options name.

    Raises:
        ConfigError: a file cannot be read, holds something else, or is not safe; the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if options.tls13_only else ssl.TLSVersion.TLSv1_2
    context.options |= OPTIONS
    context.set_ciphers(CIPHERS)
    key = options.tls_key
    load_pair(context, options.tls_cert, key, options=("--tls-cert", "--tls-key"))
    mode = os.stat(key).st_mode & 0o777
    if mode & OTHER_USERS:
        raise ConfigError(f"--tls-key: other users may use {key} (mode {mode:o}); run: chmod 600 {shlex.quote(key)}")
    if options.tls_client_ca is not None:
        load_authorities(context, options.tls_client_ca, option="--tls-client-ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context  # type: ignore[no-any-return]
