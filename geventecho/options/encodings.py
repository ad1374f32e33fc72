"""Payloads as people write them on a command line.

Rules for this file: it is pure.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Final

from geventecho.errors import ConfigError

__all__ = ["ENCODINGS", "as_bytes", "decode"]

ENCODINGS: Final = ("escapes", "text", "hex", "base64")
"""The encodings of a payload: text with C escapes, text without escapes, hexadecimal, base64."""

ESCAPE: Final = re.compile(
    rb"\\(?:([abfnrtve\\'\"?])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{1,3})|(.?))", re.DOTALL
)
NAMED: Final = dict(zip(b"abfnrtve\\'\"?", b"\a\b\f\n\r\t\v\x1b\\'\"?", strict=True))


def decode(text: str, encoding: str = "escapes") -> bytes:
    r"""Return the bytes that `text` describes.

    Args:
        text: as the command line gave it; all characters but the escapes become UTF-8.
        encoding: one of `ENCODINGS`. The escapes are C's: ``\n \r \t \0 \\ \x1b \033`` and so on, and ``\u20ac``.

    Raises:
        ConfigError: the text is not in that encoding; the message names the fault.
    """
    if encoding == "escapes":
        return ESCAPE.sub(_unescape, as_bytes(text))
    if encoding == "text":
        return as_bytes(text)
    if encoding == "hex":
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise ConfigError(f"this is not hexadecimal: {error}; write it like '50 49 4e 47 0d0a'") from None
    if encoding == "base64":
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except ValueError as error:
            raise ConfigError(f"this is not base64: {error}") from None
    raise ConfigError(f"the encoding {encoding!r} is not known; it is one of {', '.join(ENCODINGS)}")


def as_bytes(text: str) -> bytes:
    """Return the bytes of `text` on the command line, UTF-8 or not.

    Raises:
        ConfigError: the text has characters that the locale's encoding lacks.
    """
    try:
        return os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ConfigError(f"it cannot be written in {error.encoding}, this program's locale: {error.reason}") from None


def _unescape(match: re.Match[bytes]) -> bytes:
    named, hexadecimal, short, long, octal, _ = match.groups()
    if named:
        return bytes((NAMED[named[0]],))
    if hexadecimal:
        return bytes((int(hexadecimal, 16),))
    if (short or long) and (code := int(short or long, 16)) <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
        return chr(code).encode()
    if octal and int(octal, 8) <= 0xFF:
        return bytes((int(octal, 8),))
    shown = match.group().decode("utf-8", "backslashreplace")
    raise ConfigError(f"'{shown}' is not an escape; write \\\\ for a backslash")
