"""Serves at the address in its argument until the end of its standard input.

Then it prints its counters and the largest number of connections at once, as JSON.
"""

from __future__ import annotations

import json
import sys

import gevent
from gevent import fileobject

from geventecho.net import raise_descriptor_limit
from geventecho.server import EchoServer


def main() -> None:
    raise_descriptor_limit()
    server = EchoServer((sys.argv[1], 0))
    server.start()
    print(server.address, flush=True)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, server.connection_count)
            gevent.sleep(0.01)

    gevent.spawn(watch)
    fileobject.FileObject(sys.stdin, "rb").read()
    server.stop(0.5)
    print(json.dumps({"peak": peak, **server.counters}), flush=True)


if __name__ == "__main__":
    main()
