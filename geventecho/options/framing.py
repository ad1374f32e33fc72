"""Options of the command line and of load tests for the end of a reply and the expected reply."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from geventecho.errors import ConfigError
from geventecho.framing import LARGEST, Exactly, Framing, LengthPrefixed, NoReply, Until, UntilClosed, UntilQuiet
from geventecho.options.encodings import as_bytes, decode
from geventecho.options.types import seconds_above_zero, whole_number

__all__ = ["ENDS", "LENGTH_PREFIX_FORM", "End", "from_options", "length_prefixed", "naming", "pattern"]

LENGTH_PREFIX_FORM: Final = "FORMAT[,OFFSET[,self]]"
"""A struct format such as >I; the number of bytes before the length; whether the length counts its own bytes."""
LENGTH_PREFIX: Final = re.compile(r"\s*([^,]*?)\s*(?:,\s*(\d{1,18})\s*(?:,\s*(self)\s*)?)?", re.ASCII)


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Name the option in the message about a wrong value: a web form shows only the message.

    Raises:
        ConfigError: the block raised one, or argparse.ArgumentTypeError.
    """
    try:
        yield
    except (ConfigError, argparse.ArgumentTypeError) as error:
        raise ConfigError(f"{option}: {error}") from None


def from_options(
    *, option: str = "--reply-", max_size: int | None = None, **ends: str | float | bool | None
) -> Framing | None:
    """Return the framing that one of the options asks for, or None when no option is given.

    Args:
        option: the prefix of the options' names, for the messages.
        max_size: bytes the reply may have, unless its size is fixed; None for the framing's own default.
        ends: values by the names of `ENDS`, parsed or as text. None and False mean that the option was not given.

    Raises:
        ConfigError: more than one option was given, or one is wrong; the message names them, such as --reply-until.
    """
    given = {name for name, value in ends.items() if value is not None and value is not False}  # 0 is a given value
    names = {name: f"{option}{name}".replace("_", "-") for name in ENDS if name in given}
    if len(names) > 1:
        raise ConfigError(f"{' and '.join(names.values())}: a reply ends in one way; give one of these options")
    for name, label in names.items():
        with naming(label):
            end, value = ENDS[name], ends[name]
            framing = end.framing(end.parse(value) if isinstance(value, str) else value)
            if max_size is not None and framing.size is None:
                framing.max_size = max_size
            return framing
    return None


def length_prefixed(text: str) -> LengthPrefixed:
    """Read `LENGTH_PREFIX_FORM`.

    Raises:
        ConfigError: the text has another form.
    """
    found = LENGTH_PREFIX.fullmatch(text)
    if not found:
        raise ConfigError(f"{text!r} is not {LENGTH_PREFIX_FORM}; write it like >I or >I,1,self")
    struct_format, offset, itself = found.groups()
    return LengthPrefixed(struct_format, int(offset or 0), includes_itself=bool(itself))


def pattern(text: str) -> re.Pattern[bytes]:
    """Compile a regular expression that a user wrote, for bytes.

    Raises:
        ConfigError: the text is not a regular expression, or the re module cannot compile it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of patterns whose meaning may change, such as [[x]
            return re.compile(as_bytes(text))
    except (re.error, OverflowError) as error:
        raise ConfigError(f"it is not a regular expression: {error}") from None
    except RecursionError:
        raise ConfigError("it is not a regular expression: too many nested groups") from None


@dataclass(frozen=True, slots=True)
class End:
    """A way in which a reply can end, as an option asks for it.

    Attributes:
        metavar: of the option's value; "" for a switch.
        help: completes the sentence "the reply ends".
        parse: converts the text to the value; raises argparse.ArgumentTypeError.
        framing: makes the framing from the value; raises ConfigError.
    """

    metavar: str
    help: str
    parse: Callable[[str], Any]
    framing: Callable[[Any], Framing]


ENDS: Final[Mapping[str, End]] = {
    "until": End("DELIMITER", "after this delimiter, written with C escapes", str, lambda text: Until(decode(text))),
    "exactly": End("BYTES", "after this many bytes", whole_number(0, LARGEST), Exactly),
    "length_prefix": End(
        LENGTH_PREFIX_FORM,
        "at the length that its header gives: a struct format such as >I, the number of bytes before the length, "
        "and self if the length counts its own bytes",
        str,
        length_prefixed,
    ),
    "quiet": End("SECONDS", "when no more bytes come for this long", seconds_above_zero, UntilQuiet),
    "close": End("", "when the server closes; the next request makes a new connection", str, lambda _: UntilClosed()),
    "none": End("", "at once: no reply is expected", str, lambda _: NoReply()),
}
"""The options for the end of a reply: --reply-until and so on."""
