"""Framings as options write them, shared by the command line and the load tests."""

from __future__ import annotations

from typing import Final

from geventecho.errors import ConfigError
from geventecho.framing import DEFAULT_MAX_SIZE, Exactly, Framing, LengthPrefixed, NoReply, Until, UntilQuiet
from geventecho.payloads import decode

__all__ = ["LENGTH_PREFIX_FORM", "from_options", "length_prefixed"]

LENGTH_PREFIX_FORM: Final = "FORMAT[,OFFSET[,self]]"
"""A struct format such as >I; how many bytes stand before it; whether it counts its own bytes."""


def from_options(
    *,
    until: str | None = None,
    exactly: int | None = None,
    length_prefix: str | None = None,
    quiet: float | None = None,
    none: bool = False,
    max_size: int = DEFAULT_MAX_SIZE,
) -> Framing | None:
    """The framing that one of the options asks for, or None when none does.

    Args:
        until: a delimiter, with C escapes.
        exactly: bytes.
        length_prefix: as `LENGTH_PREFIX_FORM`.
        quiet: seconds of silence.
        none: no reply is expected.
        max_size: bytes a reply may have.

    Raises:
        ConfigError: more than one was given, or one is wrong.
    """
    found: list[Framing] = []
    if until is not None:
        found.append(Until(decode(until), max_size=max_size))
    if exactly is not None:
        found.append(Exactly(exactly))
    if length_prefix is not None:
        found.append(length_prefixed(length_prefix, max_size=max_size))
    if quiet is not None:
        found.append(UntilQuiet(quiet, max_size=max_size))
    if none:
        found.append(NoReply())
    if len(found) > 1:
        raise ConfigError("a reply ends in one way: give one of the reply options")
    return found[0] if found else None


def length_prefixed(text: str, *, max_size: int = DEFAULT_MAX_SIZE) -> LengthPrefixed:
    """Read `LENGTH_PREFIX_FORM`.

    Raises:
        ConfigError: it is not that.
    """
    struct_format, *rest = (part.strip() for part in text.split(","))
    offset, *rest = rest or ["0"]
    if not (offset.isascii() and offset.isdigit()) or rest not in ([], ["self"]):
        raise ConfigError(f"{text!r} is not {LENGTH_PREFIX_FORM}; write it like >I or >I,1,self")
    return LengthPrefixed(struct_format, int(offset), includes_itself=bool(rest), max_size=max_size)
