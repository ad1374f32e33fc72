"""Payloads: any buffer of bytes."""

from __future__ import annotations

__all__ = ["Payload", "as_bytes"]

Payload = bytes | bytearray | memoryview


def as_bytes(data: Payload) -> bytes | memoryview:
    """Return the bytes of any buffer. They can be sliced without a copy.

    Raises:
        TypeError: `data` is not a buffer, such as a str.
    """
    if type(data) is bytes:
        return data
    try:
        view = memoryview(data)
    except TypeError:
        raise _not_bytes(data) from None
    return view.cast("B")


def _not_bytes(data: object) -> TypeError:
    hint = "; write b'...' or encode it" if isinstance(data, str) else ""
    return TypeError(f"the payload is of type {type(data).__name__}; it must be bytes-like{hint}")
