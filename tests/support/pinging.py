"""A witness program: `pinging.py HOST PORT` echoes 16 numbered bytes every 10 ms until its standard input ends.

Then it prints a line of JSON: pings, errors, p50, p95, p99 and max of the round trips, and the longest time without an
answer, all in milliseconds. It uses nothing but the standard library, so that it measures the server.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

PAUSE = 0.01
TIMEOUT = 10.0


def main() -> None:
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("ready", flush=True)
    trips: list[float] = []
    errors: list[str] = []
    gap = 0.0
    due = last = time.monotonic()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        began = time.monotonic()
        ping = b"%016d" % len(trips)
        try:
            sock.sendall(ping)
            pong = b""
            while len(pong) < 16:
                chunk = sock.recv(16 - len(pong))
                if not chunk:
                    raise ConnectionError("FIN")
                pong += chunk
        except OSError as error:
            errors.append(repr(error))
            break
        now = time.monotonic()
        if pong != ping:
            errors.append(f"{pong!r} for {ping!r}")
        trips.append(now - began)
        gap, last = max(gap, now - last), now
        due = max(due + PAUSE, now)
    trips.sort()

    def share(part: float) -> float:
        return round(1000 * trips[min(len(trips) - 1, int(part * len(trips)))], 2) if trips else 0.0

    found = {"pings": len(trips), "errors": errors, "p50": share(0.5), "p95": share(0.95), "p99": share(0.99)}
    print(json.dumps(found | {"max": share(1), "gap": round(1000 * gap, 2)}), flush=True)


if __name__ == "__main__":
    main()
