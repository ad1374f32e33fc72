"""Handlers: functions that take a socket and the peer's address."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from gevent import socket

from geventecho.address import SockAddr
from geventecho.errors import ConfigError

__all__ = ["Handler", "check_handler"]

Handler = Callable[[socket.socket, SockAddr], object]


def check_handler(handler: object) -> None:
    """Check that an object can be called like a handler.

    Raises:
        ConfigError: it cannot.
    """
    if not callable(handler):
        raise ConfigError(f"handler is {handler!r}; it must be a function of a socket and an address")
    try:
        # A decorator's function may take other arguments than the function that it wraps.
        signature = inspect.signature(handler, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some built-in functions have none
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ConfigError(f"handler {handler!r} cannot be called with a socket and an address: {error}") from None
