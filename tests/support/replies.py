"""Replies put together from chunks."""

from __future__ import annotations

from geventecho.address import Address
from geventecho.client.reply import ReplyReader
from geventecho.framing import Framing

PEER = Address.parse("tcp://127.0.0.1:8090")


def read(framing: Framing, chunks: list[bytes]) -> tuple[bytes, bytes, int]:
    """The reply, the bytes after it, and the number of chunks that the reply took."""
    reader = ReplyReader(framing, PEER)
    for taken, chunk in enumerate(chunks, 1):
        if reader.feed(chunk):
            return reader.data, reader.rest + b"".join(chunks[taken:]), taken
    raise AssertionError(f"not complete after {reader.received} bytes")
