"""Options about replies, shared by the command line and the load tests: their ends, and the expected ones."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from geventecho.errors import ConfigError
from geventecho.framing import Exactly, Framing, LengthPrefixed, NoReply, Until, UntilClosed, UntilQuiet
from geventecho.options.encodings import as_bytes, decode

__all__ = ["LENGTH_PREFIX_FORM", "from_options", "length_prefixed", "naming", "pattern"]

LENGTH_PREFIX_FORM: Final = "FORMAT[,OFFSET[,self]]"
"""A struct format such as >I; how many bytes stand before it; whether it counts its own bytes."""
LENGTH_PREFIX: Final = re.compile(r"\s*([^,]*?)\s*(?:,\s*(\d{1,18})\s*(?:,\s*(self)\s*)?)?", re.ASCII)


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Name the option in the message of a wrong value: in a web form nothing else does.

    Raises:
        ConfigError: the block raised one, or argparse.ArgumentTypeError.
    """
    try:
        yield
    except (ConfigError, argparse.ArgumentTypeError) as error:
        raise ConfigError(f"{option}: {error}") from None


def from_options(
    *,
    until: str | None = None,
    exactly: int | None = None,
    length_prefix: str | None = None,
    quiet: float | None = None,
    close: bool = False,
    none: bool = False,
    max_size: int | None = None,
) -> Framing | None:
    """The framing that one of the options asks for, or None when none does.

    Args:
        until: a delimiter, with C escapes.
        exactly: bytes.
        length_prefix: as `LENGTH_PREFIX_FORM`.
        quiet: seconds of silence.
        close: the peer's FIN.
        none: no reply is expected.
        max_size: bytes the reply may have, where its size is not known beforehand; None for the framing's own default.

    Raises:
        ConfigError: more than one was given, or one is wrong; the message names them, as --reply-until and so on.
    """
    given: dict[str, Callable[[], Framing]] = {}
    if until is not None:
        given["--reply-until"] = lambda: Until(decode(until))
    if exactly is not None:
        given["--reply-exactly"] = lambda: Exactly(exactly)
    if length_prefix is not None:
        given["--reply-length-prefix"] = lambda: length_prefixed(length_prefix)
    if quiet is not None:
        given["--reply-quiet"] = lambda: UntilQuiet(quiet)
    if close:
        given["--reply-close"] = UntilClosed
    if none:
        given["--reply-none"] = NoReply
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: a reply ends in one way, give one of these")
    for option, make in given.items():
        with naming(option):
            framing = make()
            if max_size is not None and framing.size is None:
                framing.max_size = max_size
            return framing
    return None


def length_prefixed(text: str) -> LengthPrefixed:
    """Read `LENGTH_PREFIX_FORM`.

    Raises:
        ConfigError: it is not that.
    """
    found = LENGTH_PREFIX.fullmatch(text)
    if not found:
        raise ConfigError(f"{text!r} is not {LENGTH_PREFIX_FORM}; write it like >I or >I,1,self")
    struct_format, offset, itself = found.groups()
    return LengthPrefixed(struct_format, int(offset or 0), includes_itself=bool(itself))


def pattern(text: str) -> re.Pattern[bytes]:
    """Compile a regular expression that a user wrote, for bytes.

    Raises:
        ConfigError: it is not a regular expression, or the re module cannot take it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pattern that a later Python may read otherwise, such as [[x]
            return re.compile(as_bytes(text))
    except (re.error, OverflowError) as error:
        raise ConfigError(f"it is not a regular expression: {error}") from None
    except RecursionError:
        raise ConfigError("it is not a regular expression: too many groups in each other") from None
