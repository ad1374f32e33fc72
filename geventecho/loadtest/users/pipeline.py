"""Pipelines: requests that do not wait for the replies to earlier requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import gevent
from gevent.lock import Semaphore
from gevent.queue import Queue

from geventecho.client import Client, Payload, Traffic
from geventecho.errors import ClosedLocally, ConfigError, NetworkError, ReplyError, UnsolicitedData
from geventecho.framing import Framing, Verdict, as_framing
from geventecho.loadtest.measure import Failed, Reporter, Sample
from geventecho.loadtest.users.expect import Expectation, check

__all__ = ["Pipeline", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a pipeline.

    Attributes:
        payload: the bytes to send.
        reply: the framing that finds the end of the reply, see geventecho.framing.
        name: the name of the row.
        expect: the expected reply, as in `TcpSession.request`.
    """

    payload: Payload
    reply: Framing | Callable[[bytes], Verdict]
    name: str = "request"
    expect: Expectation | None = None


@dataclass(slots=True)
class Sent:
    """A request under way.

    Attributes:
        request: the request itself.
        begun: the beginning or the planned instant, as time.perf_counter_ns() counts.
        received: bytes that were read from the connection before the request began. They do not include the reply.
        sent_at: the time just before the first send(2).
        ended_at: the time of the end, if the request has no reply.
    """

    request: Request
    begun: int
    received: int
    sent_at: int = 0
    ended_at: int = 0

    def sample(self, traffic: Traffic, reply: bytes) -> Sample:
        """The instants and bytes of the request, just after the reply was taken.

        The last piece that was read has the end of the reply.
        """
        first, arrived, read = traffic.first_at, traffic.arrived_at, traffic.read_at
        if self.ended_at:
            first, arrived, read = self.ended_at, self.ended_at, 0
        elif arrived <= self.sent_at:
            arrived = 0
        return self.begun, self.sent_at, first, arrived, read, memoryview(self.request.payload).nbytes, len(reply)


class Pipeline:
    """Sends requests without waiting for the replies to earlier requests.

    A second greenlet sends, because a server that writes replies may not read at the same time. The first failure ends
    the pipeline, and the requests under way fail too. An unsent request does not count as an operation.

    Replies have no numbers. A surplus reply would count as the reply to the next request, and all later replies would
    be wrong too. So a reply is refused if a byte of it was read before its request was sent, or if bytes follow it
    while no other request is under way.

    Args:
        reporter: reports each request when its reply has come.
        client: the connection.
        depth: the most requests under way at once.
        timeout: seconds for each reply, counted from the previous reply; None is no limit.
        context: added to the context of the events.

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
        self._unanswerable: Sent | None = None
        self._unsendable: Sent | None = None
        self._under_way = 0
        self._taken = client.bytes_received  # the bytes up to the end of the last reply
        self._send_error: BaseException | None = None
        self._over = False

    def run(self, requests: Iterable[Request]) -> list[bytes]:
        """Send all requests, and return the replies.

        Raises:
            Failed: a request failed. The connection is then broken or out of step, and the caller must close it.
            TypeError: an item is no `Request`, or its payload is not bytes-like.
        """
        replies: list[bytes] = []
        sender = gevent.spawn(self._send, requests)
        try:
            # A request stays in the queue until just before it is reported.
            while (sent := self._sent.peek()) is not None:
                # Raised by check_idle, or for the payload: this request was not sent.
                if isinstance(self._send_error, ReplyError) or (self._send_error and sent is self._unsendable):
                    raise self._send_error
                replies.append(self._receive(sent))
            if self._send_error is not None:
                raise self._send_error
        except BaseException as error:
            # This block must not wait: a second exception, such as the end of the test, would lose these requests.
            self._over = True
            sender.kill(block=False)
            # If the connection broke, the sender's error says more. But it must not replace the end of the user.
            if isinstance(error, NetworkError) and not is_of_one_reply(error):
                error = self._send_error or error
            self._end_all(error)
            if isinstance(error, NetworkError):
                raise Failed(error) from error
            raise error from None
        return replies

    def _receive(self, sent: Sent) -> bytes:
        request = sent.request
        if sent.received > self._taken:
            self._client.check_idle()  # refuses left-over bytes
        reply = self._client.receive(request.reply, timeout=self._timeout)
        sample = sent.sample(self._client.traffic, reply)
        self._taken += len(reply)
        if self._under_way == 1:
            try:
                self._client.check_idle()
            except UnsolicitedData:
                raise
            except NetworkError:
                pass  # the reply came before the connection ended; only the next request fails
        if request.expect is not None:
            check(reply, request.expect, self._client.target)
        # This is before the report: even if a listener raises, the request counts as reported.
        self._sent.get()
        self._under_way -= 1
        self._free.release()
        self._reporter.exclude_bytes(*sample[5:])
        self._reporter.ok(request.name, self._context, sample, reply)
        return reply

    def _send(self, requests: Iterable[Request]) -> None:
        try:
            for request in requests:
                if not isinstance(request, Request):
                    raise TypeError(f"a pipeline sends instances of Request, not of {type(request).__name__}")
                has_reply = as_framing(request.reply).size != 0
                self._free.acquire()
                if self._over:
                    return
                self._under_way += 1
                sent = Sent(request, self._reporter.begin(), self._client.bytes_received)
                if has_reply:
                    self._sent.put(sent)
                else:
                    self._unanswerable = sent
                if self._under_way == 1:
                    self._client.check_idle()
                sent.sent_at = perf_counter_ns()
                try:
                    self._client.send(request.payload, timeout=self._timeout)
                except TypeError:  # the payload is not bytes-like: no reply will come
                    self._unsendable = sent
                    raise
                if not has_reply:  # such a request ends with its send
                    sent.ended_at = perf_counter_ns()
                    self._unanswerable = None
                    self._sent.put(sent)
        except Exception as error:  # from the connection or from the caller's iterable; `run` raises it
            self._send_error = error
        self._sent.put(None)

    def _end_all(self, error: BaseException) -> None:
        by_listener: BaseException | None = None
        if self._unanswerable is not None:
            self._sent.put(self._unanswerable)
        while not self._sent.empty():
            sent = self._sent.get()
            if sent is None:
                continue
            try:
                sample = self._reporter.sample_until_now(sent.begun, sent.sent_at)
                self._reporter.ended(sent.request.name, self._context, sample, error)
            except BaseException as raised:  # the other requests must be reported too
                by_listener = raised
            if is_of_one_reply(error):
                reason = "closed, because the reply to an earlier request of the pipeline was wrong"
                error = ClosedLocally(reason, address=self._client.target, phase="read")
        if by_listener is not None:
            raise by_listener


def is_of_one_reply(error: BaseException) -> bool:
    """Whether the error is about one reply; otherwise the connection broke for all requests."""
    return isinstance(error, ReplyError) and not isinstance(error, EOFError)
