"""A wire that carries both directions at once: what is asked, and the reply to it.

Rules for this file: a reply is a stream of chunks. A reader (`reply.py`) takes them until it is complete.
"""

from __future__ import annotations

from typing import Protocol

from greenlet import getcurrent

from geventecho.client.reply import EchoReader
from geventecho.client.wire import Wire
from geventecho.errors import NetworkError, ReadTimeout
from geventecho.net import EXPIRED, QUIET, READY, check_free, timer, translate_io, woken_by

__all__ = ["Duplex", "Reader"]


class Reader(Protocol):
    """What `exchange` feeds: geventecho.client.reply has them."""

    complete: bool
    received: int

    def feed(self, chunk: bytes) -> bool:
        """Take a chunk; returns whether the reply is complete."""

    def end(self) -> None:
        """Take the peer's FIN."""


class Duplex(Wire):
    """A wire that exchanges: writes and reads at the same time, whatever the sizes."""

    __slots__ = ()

    def exchange(
        self, payload: bytes | memoryview, reader: Reader, seconds: float | None, quiet: float | None = None
    ) -> None:
        """Write `payload` and feed `reader`, both at once, until all is sent and the reply complete.

        Args:
            payload: bytes to write, perhaps none.
            reader: is fed what comes.
            seconds: for all of it; None is no limit.
            quiet: seconds of silence that end a reply which has begun, or None.
        """
        event = self._read_event
        check_free(event)
        clock = self._clock if seconds == self.timeout else timer(seconds)
        switch = getcurrent().switch
        try:
            sent = 0
            if payload:
                sent = self.write_now(payload)
            elif self._feed(reader):
                return
            clock.again(switch, EXPIRED, update=True)
            event.start(switch, READY)
            if sent < len(payload):
                self._write_and_feed(memoryview(payload)[sent:], reader, seconds)
            if quiet is not None:
                self._feed_until_quiet(reader, seconds, quiet)
            self._feed_until_complete(reader, seconds)
        except NetworkError:
            raise
        except OSError as error:  # from close(), while we waited
            raise translate_io(error, self._target, "read") from error
        finally:
            event.stop()
            clock.stop()

    def echo(self, payload: bytes | memoryview, seconds: float | None) -> bytes:
        """Write `payload` and compare what comes back; returns what came after it.

        Nearly always the kernel takes a small payload at once and it comes back in one piece: then there is nothing to
        write meanwhile, and nothing to remember of what came. What differs from that is left to an `EchoReader`.
        """
        event = self._read_event
        if event.callback is not None:
            check_free(event)
        clock = self._clock if seconds == self.timeout else timer(seconds)
        switch = getcurrent().switch
        size = len(payload)
        sent, reply, phase = 0, b"", "write"
        try:
            clock.again(switch, EXPIRED, update=True)
            event.start(switch, READY)
            try:
                if size <= self.receive_size:
                    sent = self._send(payload)
                    self.sent += sent
                    phase = "read"
                    if sent == size:
                        woken = self._switch()
                        if woken is not READY and woken_by(woken) is EXPIRED:
                            raise self._too_late(0, seconds)
                        reply = self._recv(size)
                        self.received += len(reply)
                        if reply == payload:
                            return b""
            except BlockingIOError:
                pass
            reader = EchoReader(payload, self._target)
            if reply:
                reader.feed(reply)
            if sent < size:
                self._write_and_feed(memoryview(payload)[sent:], reader, seconds)
            self._feed_until_complete(reader, seconds)
            return reader.rest
        except NetworkError:
            raise
        except OSError as error:  # close() raises one too, while we wait
            raise translate_io(error, self._target, phase) from error
        finally:
            event.stop()
            clock.stop()

    def _feed_until_complete(self, reader: Reader, seconds: float | None) -> None:
        while not reader.complete:
            woken = self._switch()
            if woken is not READY and woken_by(woken) is EXPIRED:
                raise self._too_late(reader.received, seconds)
            self._feed(reader)

    def _write_and_feed(self, unsent: memoryview, reader: Reader, seconds: float | None) -> None:
        event = self._write_event
        check_free(event)
        try:
            event.start(getcurrent().switch, READY)
            while unsent:
                if woken_by(self._switch()) is EXPIRED:
                    raise self._not_taken(len(unsent), seconds)
                if not reader.complete and self._feed(reader):
                    # Level-triggered: left armed, what comes after the reply would wake us all the time.
                    self._read_event.stop()
                unsent = unsent[self.write_now(unsent) :]
        finally:
            event.stop()

    def _feed_until_quiet(self, reader: Reader, seconds: float | None, quiet: float) -> None:
        pause = timer(quiet)
        switch = getcurrent().switch
        try:
            while not reader.complete:
                if reader.received:
                    pause.again(switch, QUIET, update=True)
                event = woken_by(self._switch())
                if event is EXPIRED:
                    raise self._too_late(reader.received, seconds)
                # When both are due, what has come counts first.
                self._feed(reader, is_over=event is QUIET)
        finally:
            pause.stop()

    def _feed(self, reader: Reader, *, is_over: bool = False) -> bool:
        chunk = self.read_now(self.receive_size)
        if chunk:
            return reader.feed(chunk)
        if chunk is not None or is_over:
            reader.end()
        return reader.complete

    def _too_late(self, received: int, seconds: float | None) -> ReadTimeout:
        reason = f"the reply was not complete within {seconds:g} s, {received} bytes of it came"
        return ReadTimeout(reason, address=self._target, phase="read")
