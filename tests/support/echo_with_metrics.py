"""An echo server whose counters are metrics: in this process or, as `EchoWithMetrics`, in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Self

from gevent import fileobject
from gevent.pywsgi import WSGIServer

from geventecho.server import EchoServer
from tests.support.locust_process import ServerProcess

LISTEN: Final = "127.0.0.4:0"
"""The address of servers whose connections are counted. Other tests do not connect to it: a program that still connects
to a port of 127.0.0.1 that an earlier server had would be counted, too."""
NAMES: Final = {
    "accepted": "geventecho_connections_accepted_total",
    "bytes_received": "geventecho_bytes_received_total",
    "bytes_sent": "geventecho_bytes_sent_total",
    "bytes_discarded": "geventecho_bytes_discarded_total",
    "bytes_lost": "geventecho_bytes_lost_total",
}


class Metrics:
    """Serves the counters of a server at /metrics while the block runs.

    Args:
        server: a running server; a test may replace it.
        age: seconds for which the page is kept.

    Attributes:
        server: see above.
        asked: for each request, the number of connections that the server had accepted.
        url: of the page.
    """

    def __init__(self, server: EchoServer, age: float = 0.0) -> None:
        self.server = server
        self.asked: list[int] = []
        self._age = age
        self._made_at = -age
        self._page = b""
        self._site = WSGIServer(("127.0.0.1", 0), self._answer, log=None)

    def __enter__(self) -> Self:
        self._site.start()
        self.url = f"http://127.0.0.1:{self._site.server_port}/metrics"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving the page."""
        self._site.stop()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [])
            return [b"there is nothing here\n"]
        self.asked.append(self.server.counters["accepted"])
        if time.monotonic() >= self._made_at + self._age:
            self._made_at, self._page = time.monotonic(), page(self.server.counters)
        start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])
        return [self._page]


def page(counters: dict[str, int]) -> bytes:
    """Counters as a page of metrics, with the connections in two samples."""
    lines = ["# HELP geventecho_loop_lag_seconds Lag of the event loop", "geventecho_loop_lag_seconds NaN"]
    lines += [f"{metric} {float(counters[name])}" for name, metric in NAMES.items()]
    lines += ['geventecho_connections_open{state="} 9"} 0', f"geventecho_connections_open{{}} {counters['open']}"]
    return "".join(f"{line}\n" for line in lines).encode()


class EchoWithMetrics(ServerProcess):
    """The server and its metrics in a process; `found` has the counters and `asked`.

    Args:
        age: seconds for which the page is kept.

    Attributes:
        url: of the metrics.
    """

    def __init__(self, age: float = 0.0) -> None:
        super().__init__("tests.support.echo_with_metrics", str(age))

    def __enter__(self) -> Self:
        super().__enter__()
        self.target, self.url = self.target.split()
        return self


def main() -> None:
    server = EchoServer(LISTEN)
    server.start()
    with Metrics(server, float(sys.argv[1])) as metrics:
        print(server.address, metrics.url, flush=True)
        fileobject.FileObject(sys.stdin, "rb").read()
    server.stop(0.5)
    print(json.dumps(server.counters | {"asked": metrics.asked}), flush=True)


if __name__ == "__main__":
    main()
