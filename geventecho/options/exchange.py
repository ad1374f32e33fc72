"""A load test without code: options that describe one request, its reply, and a greeting before the first request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from geventecho.errors import ConfigError
from geventecho.framing import LARGEST, Framing
from geventecho.options.encodings import ENCODINGS, decode
from geventecho.options.framing import ENDS, from_options, naming, pattern
from geventecho.options.types import one_of, whole_number
from geventecho.payloads import Template

__all__ = ["EXCHANGE", "GREETINGS", "TYPED", "Exchange"]

TYPED: Final = "GEVENTECHO_LOADTEST_TYPED"
"""The environment variable in which `geventecho load` passes on the typed command, for the result."""
GREETINGS: Final = ("until", "exactly", "length_prefix", "quiet")
"""The keys of `ENDS` that a greeting can have."""
EXCHANGE: Final[Mapping[str, tuple[str, str]]] = {
    "send": ("TEXT", "text of each request; {user} is the user's number, {message} is the request's number"),
    "encoding": ("KIND", f"encoding of the text: {', '.join(ENCODINGS)} (default: escapes, as in C)"),
    **{f"reply_{name}": (end.metavar, f"the reply ends {end.help}") for name, end in ENDS.items()},
    "reply_max": ("BYTES", "size of the largest reply (default: 65536; with a length prefix 16777216)"),
    "expect": ("REGEX", "regular expression that must match somewhere in the reply"),
    **{
        f"greeting_{name}": (ENDS[name].metavar, f"the server speaks first; its greeting ends {ENDS[name].help}")
        for name in GREETINGS
    },
    "request_name": ("NAME", "name of the row that shows the requests (default: request)"),
}
"""For each option the name of its value, "" for a switch, and its help."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its reply.

    Attributes:
        message: makes the requests.
        reply: the framing of each reply.
        expect: must match somewhere in the reply.
        greeting: the framing of the server's greeting after each connect; None if the server does not speak first.
        name: the name of the row of the requests.
    """

    message: Template
    reply: Framing
    expect: re.Pattern[bytes] | None
    greeting: Framing | None
    name: str

    @classmethod
    def of(cls, options: Mapping[str, Any], option: str = "--") -> Self:
        """Read the options of `EXCHANGE`.

        Args:
            options: by name with the prefix, such as "tcp_send" for --tcp-; text, or true for a switch. Empty text is
                an option that was not given.
            option: the prefix of the options' names.

        Raises:
            ConfigError: an option is wrong or missing; the message names it.
        """
        prefix = option.lstrip("-").replace("-", "_")
        given = {name: options.get(prefix + name) or None for name in EXCHANGE}
        if given["send"] is None:
            raise ConfigError(rf"{option}send: give the bytes to send, such as 'PING\r\n'")
        with naming(f"{option}encoding"):
            encoding = one_of(*ENCODINGS)(given["encoding"] or "escapes")
        with naming(f"{option}reply-max"):
            reply_max = whole_number(1, LARGEST)(given["reply_max"]) if given["reply_max"] else None
        ends = {name: given[f"reply_{name}"] for name in ENDS}
        reply = from_options(option=f"{option}reply-", max_size=reply_max, **ends)
        if reply is None:
            example = rf"{option}reply-until '\r\n'"
            raise ConfigError(f"say where the reply ends: give one of the reply options, such as {example}")
        greetings = {name: given[f"greeting_{name}"] for name in GREETINGS}
        greeting = from_options(option=f"{option}greeting-", **greetings)
        with naming(f"{option}expect"):
            expect = pattern(given["expect"]) if given["expect"] else None
        with naming(f"{option}send"):
            message = Template(decode(given["send"], encoding))
        return cls(message, reply, expect, greeting, given["request_name"] or "request")
