"""Requests that do not wait for each other."""

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
        reply: where its reply ends, see geventecho.framing.
        name: the row it is reported in.
        expect: its expected reply, as in `TcpSession.request`.
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
        begun: when it began, or should have, as time.perf_counter_ns() has it.
        received: bytes read from the connection before it began. They do not include its reply.
        sent_at: the time just before its first send(2).
        over_at: the time of its end, if it has no reply.
    """

    request: Request
    begun: int
    received: int
    sent_at: int = 0
    over_at: int = 0

    def sample(self, traffic: Traffic, reply: bytes) -> Sample:
        """Its times and bytes, just after its reply was taken.

        The last piece that was read completed the reply, or contained all of it.
        """
        first, arrived, read = traffic.first_at, traffic.arrived_at, traffic.read_at
        if self.over_at:
            first, arrived, read = self.over_at, self.over_at, 0
        elif arrived <= self.sent_at:
            arrived = 0
        return self.begun, self.sent_at, first, arrived, read, memoryview(self.request.payload).nbytes, len(reply)


class Pipeline:
    """Sends requests without waiting for the replies to earlier ones.

    A second greenlet sends, because a server that writes replies may not read at the same time. The first failure ends
    the pipeline, and the requests under way fail too. An unsent request is no operation.

    Replies have no numbers: a surplus one would count as the reply to the next request, and so would all later ones. A
    reply is refused if a byte of it was read before its request was sent, or if bytes follow it while no other request
    is under way.

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
        self._unanswerable: Sent | None = None
        self._under_way = 0
        self._taken = client.bytes_received  # the bytes up to the end of the last reply
        self._send_error: BaseException | None = None
        self._over = False

    def run(self, requests: Iterable[Request]) -> list[bytes]:
        """Send all, and return the replies.

        Raises:
            Failed: a request failed. The connection is then out of step or broken: the caller closes it.
        """
        replies: list[bytes] = []
        sender = gevent.spawn(self._send, requests)
        try:
            # An entry stays in the queue until just before its report.
            while (sent := self._sent.peek()) is not None:
                if isinstance(self._send_error, ReplyError):  # of check_idle: this request was not sent
                    raise self._send_error
                replies.append(self._receive(sent))
            if self._send_error is not None:
                raise self._send_error
        except BaseException as error:
            # Nothing may wait here: a second exception, such as the end of the test, would lose the requests under way.
            self._over = True
            sender.kill(block=False)
            # The sender's error says more about a broken connection. It must not replace the end of the user.
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
            self._client.check_idle()  # it refuses left-over bytes
        reply = self._client.receive(request.reply, timeout=self._timeout)
        sample = sent.sample(self._client.traffic, reply)
        self._taken += len(reply)
        if self._under_way == 1:
            try:
                self._client.check_idle()
            except UnsolicitedData:
                raise
            except NetworkError:
                pass  # the reply came before the connection ended; the next request will fail
        if request.expect is not None:
            check(reply, request.expect, self._client.target)
        # Before the report: if a listener raises, the request counts as reported.
        self._sent.get()
        self._under_way -= 1
        self._free.release()
        self._reporter.settle(*sample[5:])
        self._reporter.ok(request.name, self._context, sample, reply)
        return reply

    def _send(self, requests: Iterable[Request]) -> None:
        try:
            for request in requests:
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
                self._client.send(request.payload, timeout=self._timeout)
                if not has_reply:  # it is over once it is sent
                    sent.over_at = perf_counter_ns()
                    self._unanswerable = None
                    self._sent.put(sent)
        except Exception as error:  # of the connection, or of the caller's iterable: `run` raises it
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
                sample = self._reporter.cut(sent.begun, sent.sent_at)
                self._reporter.ended(sent.request.name, self._context, sample, error)
            except BaseException as raised:  # the others must be reported too
                by_listener = raised
            if is_of_one_reply(error):
                reason = "closed, because the reply to an earlier request of the pipeline was wrong"
                error = ClosedLocally(reason, address=self._client.target, phase="read")
        if by_listener is not None:
            raise by_listener


def is_of_one_reply(error: BaseException) -> bool:
    """Whether one reply was wrong; otherwise the connection broke for all."""
    return isinstance(error, ReplyError) and not isinstance(error, EOFError)
