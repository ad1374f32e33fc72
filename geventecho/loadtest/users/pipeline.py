"""Requests that do not wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import gevent
from gevent.lock import Semaphore
from gevent.queue import Queue

from geventecho.client import Client, Payload
from geventecho.errors import ConfigError, NetworkError, UnexpectedReply
from geventecho.framing import Framing, Verdict
from geventecho.loadtest.measure import Failed, Reporter
from geventecho.loadtest.users.expect import Expectation, check

__all__ = ["Pipeline", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a pipeline.

    Attributes:
        payload: what to send.
        reply: where its reply ends, see geventecho.framing.
        name: the row it is reported in.
        expect: what its reply must be, as in `TcpSession.request`.
    """

    payload: Payload
    reply: Framing | Callable[[bytes], Verdict]
    name: str = "request"
    expect: Expectation | None = None


class Sent(NamedTuple):
    """A request under way."""

    request: Request
    begun: float


class Pipeline:
    """Sends requests without waiting for the replies to earlier ones.

    A greenlet of its own sends, because a server that writes replies may not read meanwhile. When the connection fails,
    the requests under way fail with it. A request that was not sent yet is no operation.

    Args:
        reporter: reports each request when its reply is there.
        client: the connection.
        depth: requests under way at once.
        timeout: seconds for each reply, from the one before it; None is no limit.
        context: added to the events' context.

    Raises:
        ConfigError: `depth` is not a whole number of 1 or more.
    """

    def __init__(
        self, reporter: Reporter, client: Client, depth: int, timeout: float | None, context: dict[str, Any] | None
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise ConfigError(f"depth is {depth!r}; it must be a whole number of 1 or more")
        self._reporter = reporter
        self._client = client
        self._timeout = timeout
        self._context = context
        self._free = Semaphore(depth)
        self._sent: Queue[Sent | None] = Queue()
        self._send_error: BaseException | None = None
        self._over = False

    def run(self, requests: Iterable[Request]) -> list[bytes]:
        """Send all, and return the replies.

        Raises:
            Failed: the connection failed; or it did not, and a reply was not what was expected.
        """
        replies: list[bytes] = []
        unexpected: UnexpectedReply | None = None
        sender = gevent.spawn(self._send, requests)
        try:
            # An entry stays in the queue until it is about to be reported.
            while (sent := self._sent.peek()) is not None:
                try:
                    replies.append(self._receive(sent))
                except UnexpectedReply as error:
                    self._leave_queue()
                    self._reporter.ended(sent.request.name, self._context, sent.begun, error)
                    unexpected = unexpected or error
            if self._send_error is not None:
                raise self._send_error
        except BaseException as error:
            # Nothing may wait here: a second exception, such as the end of the test, would lose the requests under way.
            self._over = True
            sender.kill(block=False)
            error = self._send_error or error
            self._end_all(error)
            if isinstance(error, NetworkError):
                raise Failed(error) from error
            raise error from None
        if unexpected is not None:
            raise Failed(unexpected)
        return replies

    def _receive(self, sent: Sent) -> bytes:
        request = sent.request
        reply = self._client.receive(request.reply, timeout=self._timeout)
        over = perf_counter()
        if request.expect is not None:
            check(reply, request.expect, self._client.target)
        self._leave_queue()
        self._reporter.ok(request.name, self._context, sent.begun, reply, over=over)
        return reply

    def _leave_queue(self) -> None:
        # Before the report: when a listener raises, the request was reported all the same.
        self._sent.get()
        self._free.release()

    def _send(self, requests: Iterable[Request]) -> None:
        try:
            for request in requests:
                self._free.acquire()
                if self._over:
                    return
                self._reporter.account.started += 1
                self._sent.put(Sent(request, perf_counter()))
                self._client.send(request.payload, timeout=self._timeout)
        except Exception as error:  # of the connection, or of the caller's iterable: `run` raises it
            self._send_error = error
        self._sent.put(None)

    def _end_all(self, error: BaseException) -> None:
        by_listener: BaseException | None = None
        while not self._sent.empty():
            sent = self._sent.get()
            if sent is None:
                continue
            try:
                self._reporter.ended(sent.request.name, self._context, sent.begun, error)
            except BaseException as raised:  # the others are reported all the same
                by_listener = raised
        if by_listener is not None:
            raise by_listener
