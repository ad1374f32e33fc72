"""HTTP for scrapers: few connections, one short request each, and limits of time and size."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from gevent import get_hub, socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from geventecho.net import drop_at_close
from geventecho.service.exposition import Exposition
from geventecho.service.shared_counters import SharedCounters, WorkerState

__all__ = ["MetricsServer"]

logger = logging.getLogger("geventecho.metrics")

CONNECTIONS: Final = 16
"""Connections that are served at once; the others wait in the accept queue."""
REQUEST_SECONDS: Final = 5.0
"""Time limit of a connection."""
CROWDED_SECONDS: Final = 0.5
"""Time limit while all CONNECTIONS are open: the next scraper must not wait for 16 silent ones."""
CHECK_SECONDS: Final = 0.25
"""Time between two checks of a connection's age."""
HEAD_BYTES: Final = 8192
"""Largest request line and headers. A body is not read."""
TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
TEXT: Final = "text/plain; charset=utf-8"

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Handler(WSGIHandler):  # type: ignore[misc]
    """One connection with one request."""

    def handle(self) -> None:
        began = time.monotonic()
        sock: socket.socket = self.socket

        def check() -> None:
            age = time.monotonic() - began
            if age >= REQUEST_SECONDS or (age >= CROWDED_SECONDS and self.server.pool.full()):
                give_up(sock)

        timer = get_hub().loop.timer(CHECK_SECONDS, CHECK_SECONDS)
        timer.start(check)
        try:
            self.rfile = io.BytesIO(read_head(sock))
            super().handle()
        except OSError:
            pass  # the scraper has gone
        finally:
            timer.close()

    def read_request(self, raw_requestline: str) -> bool:
        """Parse the head. gevent prints a traceback of every error but ValueError, and a peer can cause others."""
        try:
            super().read_request(raw_requestline)
        except Exception as error:
            raise ValueError(str(error)) from error
        self.content_length = None
        del self.headers["transfer-encoding"]
        return True

    def log_error(self, msg: str, *args: object) -> None:
        """Log at debug level: the scraper is at fault, and gets an answer."""
        logger.debug(msg, *args)

    def log_request(self) -> None:
        """Log nothing."""


def read_head(sock: socket.socket) -> bytes:
    """Return a request up to its empty line; b"" if the peer closes first or the request is too long.

    Raises:
        OSError: the connection broke.
    """
    head = b""
    while len(head) < HEAD_BYTES:
        chunk: bytes = sock.recv(HEAD_BYTES - len(head))
        if not chunk:
            return b""
        head += chunk
        if b"\r\n\r\n" in head or b"\n\n" in head:
            return head
    sock.sendall(TOO_LONG)
    return b""


class MetricsServer(WSGIServer):  # type: ignore[misc]
    """Answers scrapers on a listening socket.

    Args:
        listener: a listening socket. Other processes may share it.
        shared: the counters of all workers.
        refresh: updates the slot of this process.
    """

    handler_class = Handler

    def __init__(self, listener: socket.socket, shared: SharedCounters, refresh: Callable[[], object]) -> None:
        # Without SERVER_NAME gevent resolves the host's name. With "multiprocess" it accepts one scraper in each turn
        # of the event loop: an answer takes half a millisecond, and between two answers clients are served.
        environ = {"SERVER_NAME": "geventecho", "wsgi.multiprocess": True}
        super().__init__(listener, self.answer, spawn=Pool(CONNECTIONS), log=None, error_log=logger, environ=environ)
        self._shared = shared
        self._refresh = refresh
        self._exposition = Exposition(shared)
        self._routes = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}

    def answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        headers = [("Connection", "close"), ("Cache-Control", "no-store")]
        route = self._routes.get(environ["PATH_INFO"])
        if route is None:
            status, kind, body = "404 Not Found", TEXT, b"there are /metrics, /healthz and /readyz\n"
        elif environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            status, kind, body = route(environ.get("HTTP_ACCEPT", ""))
        else:
            status, kind, body = "405 Method Not Allowed", TEXT, b"use GET or HEAD\n"
            headers.append(("Allow", "GET, HEAD"))
        start_response(status, [*headers, ("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _metrics(self, accept: str) -> tuple[str, str, bytes]:
        self._refresh()
        return "200 OK", *self._exposition.render(accept)

    def _healthz(self, _accept: str) -> tuple[str, str, bytes]:
        return "200 OK", TEXT, b"ok\n"  # a stuck hub gives no answer

    def _readyz(self, _accept: str) -> tuple[str, str, bytes]:
        self._refresh()
        listening = any(slot["state"] == WorkerState.LISTENING for slot in self._shared.live())
        if listening and not self._shared["stopping"]:
            return "200 OK", TEXT, b"ready\n"
        return "503 Service Unavailable", TEXT, b"it does not accept connections\n"


def give_up(sock: socket.socket) -> None:
    """End the connection: its greenlet reads an end, and close(2) drops the bytes that the scraper has not read."""
    drop_at_close(sock)
    try:
        sock._sock.shutdown(socket.SHUT_RDWR)  # gevent's shutdown() would raise an error in the greenlet
    except OSError:
        pass  # the scraper has gone
