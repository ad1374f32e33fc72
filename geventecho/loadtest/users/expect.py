"""Checks that a reply is the expected one."""

from __future__ import annotations

import re
from collections.abc import Callable

from geventecho.address import Address
from geventecho.client import SAMPLE_SIZE, with_sample
from geventecho.errors import UnexpectedReply

__all__ = ["Expectation", "check"]

Expectation = bytes | re.Pattern[bytes] | Callable[[bytes], object]
"""The reply must equal the bytes, contain the pattern, or make the function return a true value."""


def check(reply: bytes, expect: Expectation, target: Address) -> bytes:
    """Check a reply, and return it.

    Raises:
        UnexpectedReply: the reply is not the expected one.
        TypeError: `expect` is a str, a pattern of str, or another object that cannot be compared with bytes.
    """
    if isinstance(expect, bytes):
        matches = reply == expect
    elif isinstance(expect, re.Pattern) and isinstance(expect.pattern, bytes):
        matches = expect.search(reply) is not None
    elif callable(expect):
        matches = bool(expect(reply))
    else:
        raise _not_comparable(expect)
    if not matches:
        more = f" and {len(reply) - SAMPLE_SIZE} more bytes" if len(reply) > SAMPLE_SIZE else ""
        reason = f"the reply is not the expected one: {reply[:SAMPLE_SIZE]!r}{more}"
        raise with_sample(UnexpectedReply(reason, address=target, phase="read"), reply)
    return reply


def _not_comparable(expect: object) -> TypeError:
    if isinstance(expect, re.Pattern):
        return TypeError(f"expect is a pattern of str; write re.compile(b'...'), not re.compile({expect.pattern!r})")
    hint = "; write b'...'" if isinstance(expect, str) else ""
    kind = type(expect).__name__
    return TypeError(f"expect is of type {kind}; it must be bytes, a pattern of bytes or a function{hint}")
