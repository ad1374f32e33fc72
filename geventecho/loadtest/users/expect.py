"""What a reply must be."""

from __future__ import annotations

import re
from collections.abc import Callable

from geventecho.address import Address
from geventecho.errors import UnexpectedReply

__all__ = ["Expectation", "check"]

Expectation = bytes | re.Pattern[bytes] | Callable[[bytes], object]
"""These bytes, something in which this pattern is found, or something that this calls true."""

SHOWN = 100
"""Bytes of a reply that the error shows."""


def check(reply: bytes, expect: Expectation, target: Address) -> bytes:
    """Return the reply.

    Raises:
        UnexpectedReply: it is not what was expected.
    """
    if isinstance(expect, bytes):
        matches = reply == expect
    elif isinstance(expect, re.Pattern):
        matches = expect.search(reply) is not None
    else:
        matches = bool(expect(reply))
    if not matches:
        more = f" and {len(reply) - SHOWN} bytes more" if len(reply) > SHOWN else ""
        reason = f"the reply is not what was expected: {reply[:SHOWN]!r}{more}"
        raise UnexpectedReply(reason, address=target, phase="read")
    return reply
