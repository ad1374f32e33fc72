"""PEM files of certificates and keys. They are checked here because OpenSSL does not name the wrong file."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from geventecho.errors import ConfigError

if TYPE_CHECKING:
    import ssl

__all__ = ["file_content", "load_authorities", "load_pair"]

MAX_FILE_SIZE: Final = 2**20
"""Bytes of the largest file that is read."""
CERTIFICATE: Final = "CERTIFICATE-----"
KEY: Final = "PRIVATE KEY-----"


def file_content(path: str) -> bytes:
    """Return the content of a file of options, certificates or keys.

    Raises:
        OSError: the file cannot be read, is not a regular file, or is longer than `MAX_FILE_SIZE`.
    """
    # O_NONBLOCK: the open of a FIFO would wait for its writer.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")  # a device may never end
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise OSError(errno.EFBIG, f"it is longer than {MAX_FILE_SIZE // 2**20} MiB")
    return content


def load_pair(context: ssl.SSLContext, certificate: str, key: str, *, options: tuple[str, str]) -> None:
    """Load a certificate with its chain, and the key of the certificate.

    Args:
        context: the context that uses them.
        certificate: the path of a file.
        key: the path of a file, perhaps of the same file.
        options: the names of both options, for the messages.

    Raises:
        ConfigError: a file cannot be read or has no such block, or the key is not the certificate's.
    """
    of_certificate, of_key = options
    _check_pem(of_certificate, certificate, CERTIFICATE)
    _check_pem(of_key, key, KEY)

    def refuse_password() -> str:  # OpenSSL would ask for it on the terminal
        raise ConfigError(f"{of_key}: {key} is encrypted; decrypt it with: openssl pkey -in KEY -out NEW")

    try:
        context.load_cert_chain(certificate, key, password=refuse_password)
    except OSError as error:  # SSLError is one
        reason = getattr(error, "reason", None) or error.strerror
        if reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{of_key}: {key} is not the key of the certificate in {certificate}") from None
        raise ConfigError(f"{of_certificate} {certificate} and {of_key} {key} cannot be used: {reason}") from None


def load_authorities(context: ssl.SSLContext, path: str, *, option: str) -> None:
    """Trust the authorities of a file.

    Raises:
        ConfigError: the file cannot be read or has no certificate.
    """
    _check_pem(option, path, CERTIFICATE)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise ConfigError(f"{option}: {path} cannot be used: {reason}") from None


def _check_pem(option: str, path: str, mark: str) -> None:
    """Check that a file can be read and has a block of this kind.

    Args:
        option: the name of the option, for the message.
        path: the path of the file.
        mark: the end of the first line of the block, such as `CERTIFICATE`.

    Raises:
        ConfigError: the file cannot be read or has no such block.
    """
    try:
        content = file_content(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{option}: the file {path} cannot be read: {reason}") from None
    if mark.encode() not in content:
        raise ConfigError(f"{option}: there is no {mark.rstrip('-').lower()} in {path}; it must be a PEM file")
