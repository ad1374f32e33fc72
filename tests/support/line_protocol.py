"""A protocol of lines for users to speak, as redis and SMTP have one."""

from __future__ import annotations

import socket


def lines(connection: socket.socket) -> None:
    """Answer LOGIN with +LOGIN, PING after a LOGIN with +PONG, and any other line with -ERR."""
    logged_in = False
    with connection.makefile("rb") as reader:
        for line in reader:
            logged_in = logged_in or line == b"LOGIN\r\n"
            good = logged_in and line in (b"PING\r\n", b"LOGIN\r\n")
            connection.sendall(b"+" + line.strip().replace(b"PING", b"PONG") + b"\r\n" if good else b"-ERR\r\n")
