"""A conversation: a message is sent and the reply is read at the same time, until the peer closes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import gevent

from geventecho.client import Client
from geventecho.errors import ClosedByPeer, GeventechoError, NetworkError, ReadTimeout, WriteTimeout

__all__ = ["Conversation"]

CHECKS_PER_TIMEOUT: Final = 10
"""In each timeout the client checks this many times whether the peer has taken bytes."""


class Conversation:
    """Iterates over the reply while a greenlet sends the message. The source of the message may take any time.

    Args:
        client: is half-closed after the message; the caller closes it.
        message: the chunks to send; may switch greenlets to wait for more.
        timeout: seconds without a byte in either direction after which an error is raised. The time in `message` does
            not count, nor does the caller's time between two chunks.

    Raises:
        ReadTimeout, WriteTimeout: no byte moved for `timeout`.
        PeerReset: the connection broke.
        ClosedByPeer: the peer closed before all of the message was sent.
        GeventechoError: the message could not be read.
    """

    def __init__(self, client: Client, message: Iterator[bytes], timeout: float) -> None:
        self._client = client
        self._message = message
        self._timeout = timeout
        self._error: GeventechoError | None = None
        self._waits_for_message = True
        self._sent_all = False
        self._note_movement()

    def __iter__(self) -> Iterator[bytes]:
        sender = gevent.spawn(self._send)
        try:
            while chunk := self._receive():
                yield chunk
            if self._error is not None:
                raise self._error
            if not self._sent_all:
                reason = "the peer closed before all of the message was sent"
                raise ClosedByPeer(reason, address=self._client.target, phase="read")
        finally:
            sender.kill()

    def _send(self) -> None:
        try:
            for chunk in self._message:
                self._waits_for_message = False
                self._note_movement()
                self._client.send(chunk, timeout=None)
                self._waits_for_message = True
            self._sent_all = True
            self._client.end()
        except GeventechoError as error:
            self._error = error
            if not isinstance(error, NetworkError):
                self._client.close()  # the peer cannot know that the message is incomplete
        self._waits_for_message = False
        self._note_movement()

    def _receive(self) -> bytes:
        self._note_movement()
        while True:
            left = self._moved + self._timeout - time.monotonic()
            try:
                return self._client.recv(timeout=max(0.0, min(left, self._timeout / CHECKS_PER_TIMEOUT)))
            except ReadTimeout:
                if self._waits_for_message or self._client.bytes_sent > self._taken:
                    self._note_movement()
                elif time.monotonic() >= self._moved + self._timeout:
                    raise self._timeout_error() from None
            except NetworkError as error:
                raise self._error or error from None

    def _note_movement(self) -> None:
        self._moved = time.monotonic()
        self._taken = self._client.bytes_sent

    def _timeout_error(self) -> NetworkError:
        target, limit = self._client.target, f"{self._timeout:g} s"
        if self._sent_all:
            return ReadTimeout(f"no byte within {limit}", address=target, phase="read")
        return WriteTimeout(f"the peer took nothing for {limit}", address=target, phase="write")
