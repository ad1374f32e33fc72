"""One connected socket that does not block: read, write, or both at once, each within a time limit.

Rules for this file: it knows one socket and its waits. It knows neither the meaning of a message nor its leftover
bytes. A reply is a stream of chunks; a reader (`reply.py`) takes them until the reply is complete. Every failure is a
`NetworkError` with the address and the phase.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gevent import get_hub, monkey, socket
from greenlet import getcurrent, greenlet

from geventecho.address import Address
from geventecho.client.reply import EchoReader, ReplyReader
from geventecho.client.tls import TlsLike
from geventecho.client.traffic import Traffic
from geventecho.errors import ConcurrentUse, NetworkError, ReadTimeout, TornStream, WriteTimeout
from geventecho.net import EXPIRED, QUIET, READY, StampClock, check_free, make_timer, translate_io, woken_by

if TYPE_CHECKING:
    from geventecho.client.tls_stream import TlsStream

__all__ = ["RECEIVE_SIZE", "Wire"]

# The unpatched one, also in a monkey-patched process: poll(0) never blocks.
_poll: Final[Any] = monkey.get_original("select", "poll")
# Data, or the FIN of the peer. Errors and hang-ups are always reported.
INCOMING: Final = select.POLLIN | select.POLLRDHUP
RECEIVE_SIZE: Final = 65536
"""Bytes that one recv(2) asks the kernel for."""
SEND_SIZE: Final = 256 * 1024
"""Bytes that one send(2) offers: while the kernel copies them, no other greenlet runs."""

Reader = ReplyReader | EchoReader


class Wire:
    """A connected socket, with the watchers and the timer of its waits.

    Args:
        sock: a connected gevent socket; the wire closes it.
        target: its peer, for the errors.
        timeout: the default time limit of a call, in seconds; None is no limit.
        clock: times the traffic; None does not time it.

    Attributes:
        poll: poll(0) is true when a read would return or fail at once: data, FIN or an error. It takes a third of the
            time of a read that finds none of them.
        traffic: the bytes and, with a clock, the times.
        tls: the encryption of the stream, or None.
    """

    __slots__ = (
        "_read_event", "_recv", "_send", "_switch", "_target", "_timer", "_write_event", "poll",
        "sock", "timeout", "tls", "traffic",
    )  # fmt: skip

    def __init__(
        self, sock: socket.socket, target: Address, timeout: float | None, clock: StampClock | None = None
    ) -> None:
        self.sock = sock
        self._target = target
        self.timeout = timeout
        self.traffic = Traffic()
        self.tls: TlsStream | None = None
        # The socket's own watchers: gevent's close() finds and wakes the greenlets that wait on these.
        self._read_event = sock._read_event
        self._write_event = sock._write_event
        self._recv = sock._sock.recv if clock is None else self.traffic.timed(sock, clock)
        self._send = sock._sock.send
        # Not the hub's own switch(): it first looks for a `switch_out` method, which no greenlet here has.
        self._switch = partial(greenlet.switch, get_hub())
        self._timer = make_timer(timeout)
        idle = _poll()
        idle.register(sock.fileno(), INCOMING)
        self.poll = idle.poll

    def start_tls(self, tls: TlsLike, seconds: float | None) -> bytes:
        """Shake hands, and encrypt from now on. Returns the data that came with the last bytes of the handshake.

        Raises:
            TlsError, PeerReset, ClosedLocally: the handshake failed.
            ConcurrentUse: another greenlet reads or sends.
        """
        from geventecho.client.tls_stream import TlsStream  # noqa: PLC0415  (it imports OpenSSL)

        check_free(self._read_event)
        check_free(self._write_event)
        stream = TlsStream(self.sock, self._target, tls)
        send = self._send
        self._send = _refuse_in_handshake
        try:
            rest = stream.handshake(seconds)
        finally:
            if self._send is _refuse_in_handshake:  # else this side has closed meanwhile
                self._send = send
        self.tls = stream
        self._send = stream.send
        self._recv = self.traffic.timed_by_reads(stream.recv) if self.traffic.is_timed else stream.recv
        self.traffic.bytes_received += len(rest)
        return rest

    def read(self, size: int, seconds: float | None) -> bytes:
        """Wait for data and return at most `size` bytes; b"" once the peer has closed. TLS may return more."""
        self.check_no_reader()
        data = self.read_now(size)
        if data is not None:
            return data
        timer = self._timer if seconds == self.timeout else make_timer(seconds)
        with self._armed(self._read_event, timer, "read"):
            while data is None:
                if woken_by(self._switch()) is EXPIRED:
                    raise ReadTimeout(f"no byte within {seconds:g} s", address=self._target, phase="read")
                data = self.read_now(size)
        return data

    def write(self, data: bytes | memoryview, seconds: float | None) -> None:
        """Write all of `data` within `seconds`."""
        if self.traffic.is_timed:
            self.traffic.begin_message()
        sent = self.write_now(data)
        if sent == len(data):
            return
        unsent = memoryview(data)[sent:]
        timer = make_timer(seconds)  # not the shared one: another greenlet may be reading
        with self._armed(self._write_event, timer, "write"), self._writing(sent, len(data)):
            while unsent:
                if woken_by(self._switch()) is EXPIRED:
                    raise self._write_timeout(len(unsent), seconds)
                unsent = unsent[self.write_now(unsent) :]

    @contextmanager
    def _writing(self, sent: int, size: int) -> Iterator[None]:
        """Let only the calling greenlet write the rest of a message, and refuse all writes after a message cut midway.

        Bytes of other greenlets would come inside the message. `echo` also calls `_send`, so it is refused too.
        """
        owner, before = getcurrent(), self.traffic.bytes_sent - sent
        send: Callable[[bytes | memoryview], int] = self._send

        def send_own(data: bytes | memoryview) -> int:
            if getcurrent() is not owner:
                raise ConcurrentUse("another greenlet is sending on this connection")
            return send(data)

        self._send = send_own
        try:
            yield
        finally:
            if self._send is send_own:  # else this side has closed meanwhile
                taken = self.traffic.bytes_sent - before
                is_torn = taken not in (0, size) or (self.tls is not None and self.tls.is_midway)
                self._send = partial(_refuse_torn, self._target, taken, size) if is_torn else send

    def check_no_reader(self) -> None:
        """Refuse to read while another greenlet reads.

        Raises:
            ConcurrentUse: another greenlet reads.
        """
        if self._read_event.callback is not None:
            check_free(self._read_event)

    @contextmanager
    def _armed(self, event: Any, timer: Any, phase: str) -> Iterator[None]:
        """Make `event` and `timer` wake the calling greenlet while the block runs.

        `exchange` and `echo` run for every request, and do this themselves: a context manager costs 1.5 us.
        """
        check_free(event)
        switch = getcurrent().switch
        try:
            timer.again(switch, EXPIRED, update=True)
            event.start(switch, READY)
            yield
        except NetworkError:
            raise
        except OSError as error:  # raised here by close() in another greenlet
            raise translate_io(error, self._target, phase) from error
        finally:
            event.stop()
            timer.stop()

    def exchange(
        self, payload: bytes | memoryview, reader: Reader, seconds: float | None, quiet: float | None = None
    ) -> None:
        """Write `payload` and feed `reader` at the same time, until the payload is sent and the reply is complete.

        Args:
            payload: bytes to write, perhaps none.
            reader: takes the chunks that come.
            seconds: for the whole exchange; None is no limit.
            quiet: seconds of silence that end a reply which has begun, or None.
        """
        event = self._read_event
        if event.callback is not None:
            check_free(event)
        timer = self._timer if seconds == self.timeout else make_timer(seconds)
        switch = getcurrent().switch
        try:
            sent = 0
            if payload:
                if self.traffic.is_timed:
                    self.traffic.begin()
                sent = self.write_now(payload)
            elif self._feed(reader):
                return
            timer.again(switch, EXPIRED, update=True)
            event.start(switch, READY)
            if sent < len(payload):
                self._write_and_feed(payload, sent, reader, seconds)
            if quiet is not None:
                self._feed_until_quiet(reader, seconds, quiet)
            self._feed_until_complete(reader, seconds)
        except NetworkError:
            raise
        except OSError as error:  # raised here by close() in another greenlet
            raise translate_io(error, self._target, "read") from error
        finally:
            event.stop()
            timer.stop()

    def echo(self, payload: bytes | memoryview, seconds: float | None) -> bytes:
        """Write `payload` and compare its echo; returns the bytes after the echo.

        Nearly always the kernel takes a small payload at once, and its echo comes in one piece. Such an echo needs one
        send, one wait and one receive. `_echo_rest` and an `EchoReader` do all other cases.
        """
        event = self._read_event
        if event.callback is not None:
            check_free(event)
        timer = self._timer if seconds == self.timeout else make_timer(seconds)
        switch = getcurrent().switch
        size, traffic = len(payload), self.traffic
        sent, reply, phase = 0, b"", "write"
        try:
            timer.again(switch, EXPIRED, update=True)
            event.start(switch, READY)
            if traffic.is_timed:
                traffic.begin()
            try:
                if size <= RECEIVE_SIZE:
                    sent = self._send(payload)
                    traffic.bytes_sent += sent
                    phase = "read"
                    if sent == size:
                        woken = self._switch()
                        if woken is not READY and woken_by(woken) is EXPIRED:
                            raise self._read_timeout(0, seconds)
                        reply = self._recv(size)
                        traffic.bytes_received += len(reply)
                        if reply == payload:
                            return b""
                else:
                    sent = self.write_now(payload)
            except BlockingIOError:
                pass
            return self._echo_rest(payload, sent, reply, seconds)
        except NetworkError:
            raise
        except OSError as error:  # also raised here by close() in another greenlet
            raise translate_io(error, self._target, phase) from error
        finally:
            event.stop()
            timer.stop()

    def _echo_rest(self, payload: bytes | memoryview, sent: int, reply: bytes, seconds: float | None) -> bytes:
        """Finish an echo of which `sent` bytes are sent and `reply` is read; returns the bytes after the echo."""
        reader = EchoReader(payload, self._target)
        if reply:
            reader.feed(reply)
        if sent < len(payload):
            self._write_and_feed(payload, sent, reader, seconds)
        self._feed_until_complete(reader, seconds)
        return reader.rest

    def read_now(self, size: int) -> bytes | None:
        """Return at most `size` bytes, with TLS perhaps more; None without data, b"" once the peer has closed."""
        try:
            data: bytes = self._recv(size)
        except BlockingIOError:
            return None
        except NetworkError:
            raise
        except OSError as error:
            raise translate_io(error, self._target, "read") from error
        self.traffic.bytes_received += len(data)
        return data

    def write_now(self, data: bytes | memoryview) -> int:
        """Offer `data` to the kernel; returns how many bytes it took."""
        if len(data) > SEND_SIZE:
            data = memoryview(data)[:SEND_SIZE]
        try:
            count: int = self._send(data)
        except BlockingIOError:
            return 0
        except NetworkError:
            raise
        except OSError as error:
            raise translate_io(error, self._target, "write") from error
        self.traffic.bytes_sent += count
        return count

    def _write_timeout(self, unsent: int, seconds: float | None) -> WriteTimeout:
        reason = f"the peer did not take the last {unsent} bytes within {seconds:g} s"
        return WriteTimeout(reason, address=self._target, phase="write")

    def stop_writing(self, refuse: Callable[..., NoReturn]) -> None:
        """Send FIN, and have `refuse` called for every write from now on."""
        self._send = refuse
        if self.tls is not None:
            self.tls.close_notify()
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection broke, and the next read raises the error

    def close_tls(self) -> None:
        """Send the close_notify of a TLS connection."""
        tls, self.tls = self.tls, None
        if tls is not None:
            tls.close()

    def stop(self, refuse: Callable[..., NoReturn]) -> None:
        """Have `refuse(phase)` called for every use from now on. The caller then closes the socket."""
        self._recv = self.poll = partial(refuse, "read")
        self._send = partial(refuse, "write")

    def _feed_until_complete(self, reader: Reader, seconds: float | None) -> None:
        while not reader.complete:
            woken = self._switch()
            if woken is not READY and woken_by(woken) is EXPIRED:
                raise self._read_timeout(reader.received, seconds)
            self._feed(reader)

    def _write_and_feed(self, payload: bytes | memoryview, sent: int, reader: Reader, seconds: float | None) -> None:
        event = self._write_event
        unsent = memoryview(payload)[sent:]
        try:
            event.start(getcurrent().switch, READY)
            with self._writing(sent, len(payload)):
                while unsent:
                    if woken_by(self._switch()) is EXPIRED:
                        raise self._write_timeout(len(unsent), seconds)
                    if not reader.complete and self._feed(reader):
                        # Level-triggered: unread bytes after the reply would wake us again and again.
                        self._read_event.stop()
                    unsent = unsent[self.write_now(unsent) :]
        finally:
            event.stop()

    def _feed_until_quiet(self, reader: Reader, seconds: float | None, quiet: float) -> None:
        pause = make_timer(quiet)
        switch = getcurrent().switch
        try:
            while not reader.complete:
                if reader.received:
                    pause.again(switch, QUIET, update=True)
                event = woken_by(self._switch())
                if event is EXPIRED:
                    raise self._read_timeout(reader.received, seconds)
                # Data that came at the same time counts first.
                self._feed(reader, is_over=event is QUIET)
        finally:
            pause.stop()

    def _feed(self, reader: Reader, *, is_over: bool = False) -> bool:
        chunk = self.read_now(RECEIVE_SIZE)
        if chunk:
            return reader.feed(chunk)
        if chunk is not None or is_over:
            reader.end()
        return reader.complete

    def _read_timeout(self, received: int, seconds: float | None) -> ReadTimeout:
        reason = f"the reply was not complete within {seconds:g} s; {received} bytes of it came"
        return ReadTimeout(reason, address=self._target, phase="read")


def _refuse_in_handshake(_data: object) -> NoReturn:
    raise ConcurrentUse("a TLS handshake is under way in another greenlet")


def _refuse_torn(target: Address, taken: int, size: int, _data: object) -> NoReturn:
    reason = f"an earlier message was cut after {taken} of its {size} bytes; connect again"
    raise TornStream(reason, address=target, phase="write")
