"""Notifies systemd, or another supervisor, of the state of the service: sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from functools import cache

__all__ = ["notify"]

logger = logging.getLogger("geventecho.service")


def notify(*states: str) -> None:
    """Send states to the socket that NOTIFY_SOCKET names, in one datagram. Without the variable, do nothing.

    It never blocks and never raises: a service goes on when its supervisor does not listen. A lost state is logged. The
    first call removes the variable from the environment, so that no program that is started inherits it. Processes that
    are forked later still know the socket.

    Args:
        states: such as "READY=1" and "STATUS=draining". MONOTONIC_USEC is added to "RELOADING=1", which needs it.
    """
    if (address := _address()) is None:
        return
    lines = [state.replace("\n", " ") for state in states]  # each line is a state
    if "RELOADING=1" in lines:
        lines.append(f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(errors="backslashreplace"), address)
    except OSError as error:
        logger.warning("NOTIFY_SOCKET did not take %s: %s", " ".join(lines), error.strerror or error)


@cache
def _address() -> str | None:
    """Return the path of the socket, or a zero byte and its abstract name."""
    address = os.environ.pop("NOTIFY_SOCKET", None)
    if not address:
        return None
    if address[0] not in "/@":
        logger.warning("NOTIFY_SOCKET is %r: only a Unix socket, /path or @name, is supported", address)
        return None
    return address.replace("@", "\0", 1) if address[0] == "@" else address
