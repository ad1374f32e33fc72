"""A series of echoes and its summary: ping(8) for TCP."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import gevent

from geventecho.address import DEFAULT_TARGET, Address, AddressLike
from geventecho.client.client import SLOWEST_ECHO, Client, Seconds
from geventecho.client.connecting import connect
from geventecho.client.dial import check_target
from geventecho.client.tls import DEFAULT_TLS, TlsLike, check_tls
from geventecho.errors import ConfigError, ConnectTimeout, NetworkError, ReadTimeout, UnsolicitedData
from geventecho.histogram import Histogram
from geventecho.net import Deadline, ProxyVersion

__all__ = ["DEFAULT_SIZE", "MAX_SIZE", "SAMPLES_NEEDED", "Ping", "Summary", "pings"]

DEFAULT_SIZE: Final = 64
"""Bytes per echo."""
MAX_SIZE: Final = 1 << 28
"""Bytes per echo: the limit of Random.randbytes."""
SAMPLES_NEEDED: Final = {99.0: 368, 99.9: 3688}
"""Samples that a percentile needs. With fewer samples, order statistics give no 95 % confidence interval: the highest
sample lies below the percentile with a probability of more than 2.5 %."""
NANOSECONDS: Final = 1_000_000_000
SHORTEST_LIMIT: Final = 1e-6
"""Seconds: a time limit is above 0."""
SURELY_LOST: Final = 1.0
"""An echo that has waited this many seconds is lost at the deadline or the interrupt."""


@dataclass(frozen=True, slots=True)
class Ping:
    """One echo of a series.

    Attributes:
        sequence: its number, from 1.
        size: its payload, in bytes.
        seconds: from the send of its first byte to the arrival of its last byte (`Traffic.seconds`); None if lost.
        error: the reason if it is lost, or None.
    """

    sequence: int
    size: int
    seconds: float | None = None
    error: NetworkError | None = None


class Summary:
    """The figures of a series.

    Attributes:
        sent: echoes, answered or lost.
        latency: the times of the answered echoes.
        losses: the number of lost echoes, by the `kind` of the error.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.latency = Histogram()
        self.losses: Counter[str] = Counter()
        # Integer nanoseconds: the difference of two large sums of floats would have few correct digits.
        self._sum = 0
        self._sum_of_squares = 0

    def add(self, ping: Ping) -> None:
        """Count an echo."""
        self.sent += 1
        if ping.seconds is not None:
            self.latency.record(ping.seconds)
            nanoseconds = round(ping.seconds * NANOSECONDS)
            self._sum += nanoseconds
            self._sum_of_squares += nanoseconds * nanoseconds
        if ping.error is not None:
            self.losses[ping.error.kind] += 1

    @property
    def lost(self) -> int:
        """The number of lost echoes."""
        return self.losses.total()

    @property
    def lost_percent(self) -> float:
        """The share of lost echoes, in percent."""
        return 100 * self.lost / self.sent if self.sent else 0.0

    @property
    def mdev(self) -> float | None:
        """The population standard deviation of the times, in seconds, as in ping(8); None without an answer."""
        count = self.latency.count
        if not count:
            return None
        return math.sqrt(count * self._sum_of_squares - self._sum**2) / count / NANOSECONDS

    def percentile(self, percent: float) -> float | None:
        """Return a percentile of the times, in seconds; None with fewer samples than `SAMPLES_NEEDED`."""
        if self.latency.count < SAMPLES_NEEDED.get(percent, 1):
            return None
        return self.latency.percentile(percent)


def pings(
    target: AddressLike = DEFAULT_TARGET,
    *,
    count: int | None = None,
    interval: float = 1.0,
    size: int = DEFAULT_SIZE,
    timeout: float | None = 5.0,
    deadline: float | None = None,
    proxy_protocol: ProxyVersion | None = None,
    tls: TlsLike | None = None,
) -> Iterator[Ping]:
    """Send an echo every `interval` seconds on one connection. After a lost echo the next one makes a new connection.

    Echoes are due at fixed times after the first one. An echo that is due while another one is under way is left out:
    after an outage there is no burst.

    Args:
        target: where to connect.
        count: number of echoes; None is no limit.
        interval: seconds from one echo to the next; 0 sends without pauses.
        size: bytes of each payload, 1 or more; consecutive payloads differ.
        timeout: seconds to connect, TLS handshake included, and seconds for each echo; None is no limit.
        deadline: seconds after which the series ends; None is no limit. An echo that is under way then is lost if it
            has waited a second, or if no echo was answered before it. Otherwise it is left out.
        proxy_protocol: begin each connection with a PROXY header of this version.
        tls: see `connect`. Through TLS the arrival of an echo is the time of its read.

    Yields:
        Each echo, once it is answered or lost. At a KeyboardInterrupt the echo under way is lost or left out, as at the
        deadline; the KeyboardInterrupt is raised after it.

    Raises:
        AddressError, ConfigError: an argument is wrong. This is raised before the first echo.
    """
    address = Address.of(target)
    check_target(address)
    if tls is not None or address.scheme == "tls":
        check_tls(tls or DEFAULT_TLS, address)
    if size < 1:
        raise ConfigError(f"size is {size!r}; an echo has a payload of 1 byte or more")
    dial = partial(connect, address, timeout=timeout, timed=True, tls=tls, proxy_protocol=proxy_protocol)
    return _send_echoes(address, dial, count, interval, size, timeout, deadline)


def _send_echoes(
    target: Address,
    dial: Callable[..., Client],
    count: int | None,
    interval: float,
    size: int,
    timeout: float | None,
    deadline: float | None,
) -> Iterator[Ping]:
    series = _Series(target, dial, size, timeout, deadline)
    due = time.monotonic()
    sequence = 0
    try:
        while (count is None or sequence < count) and not series.end.expired:
            sequence += 1
            try:
                ping = series.echo(sequence)
            except KeyboardInterrupt:
                if series.counts_when_cut_off:
                    yield series.interrupted(sequence)
                raise
            if ping is None:
                return
            yield ping
            if sequence != count:
                due = _next(due, interval)
                gevent.sleep(min(max(0.0, due - time.monotonic()), _remaining(series.end)))
    finally:
        series.close()


class _Series:
    """The connection of a series, and its time limits.

    Args:
        target: where to connect.
        dial: connects.
        size: bytes of each payload.
        timeout: seconds to connect, and seconds for each echo; None is no limit.
        deadline: seconds from now to the end; None is no limit.

    Attributes:
        end: the end of the series.
    """

    def __init__(
        self, target: Address, dial: Callable[..., Client], size: int, timeout: float | None, deadline: float | None
    ) -> None:
        self._target = target
        self._dial = dial
        self._size = size
        self._deadline = deadline
        self._connect_limit = math.inf if timeout is None else timeout
        self._echo_limit = self._connect_limit + size / SLOWEST_ECHO
        self._client: Client | None = None
        self._any_answered = False
        self._began = 0.0
        self.end = Deadline(deadline)

    def echo(self, sequence: int) -> Ping | None:
        """Return the echo, answered or lost; None if the end cut it off and it is left out."""
        payload = _payload(sequence, self._size)
        self._began = time.perf_counter()
        try:
            if self._client is None:
                self._client = self._dial(connect_timeout=_limit(self._connect_limit, self.end))
            limit = _limit(self._echo_limit, self.end)
            self._began = time.perf_counter()
            self._client.echo(payload, timeout=limit)
            seconds = self._client.traffic.seconds
            _check_nothing_follows(self._client)
        except NetworkError as error:
            self.close()
            return self._lost(sequence, error)
        self._any_answered = True
        return Ping(sequence, self._size, seconds=seconds)

    def _lost(self, sequence: int, error: NetworkError) -> Ping | None:
        if isinstance(error, TimeoutError) and self.end.remaining() == 0:
            if not self.counts_when_cut_off:
                return None
            reason = f"not answered before the deadline of {self._deadline:g} s"
            error = type(error)(reason, address=self._target, phase=error.phase)
        return Ping(sequence, self._size, error=error)

    @property
    def counts_when_cut_off(self) -> bool:
        """Whether the echo under way is lost, and not left out, if it is cut off now."""
        return not self._any_answered or time.perf_counter() - self._began >= SURELY_LOST

    def interrupted(self, sequence: int) -> Ping:
        """Return the echo under way as lost by the interrupt."""
        kind, phase = (ConnectTimeout, "connect") if self._client is None else (ReadTimeout, "read")
        error = kind("not answered before the interrupt", address=self._target, phase=phase)
        return Ping(sequence, self._size, error=error)

    def close(self) -> None:
        """Close the connection; the next echo makes a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _remaining(end: Deadline) -> float:
    """Return the seconds until the end, and after it the shortest time limit."""
    return max(end.remaining(), SHORTEST_LIMIT)


def _limit(default: float, end: Deadline) -> Seconds:
    """Return the time until the end, or ``...`` if the client's own limit comes first: that takes less time."""
    remaining = _remaining(end)
    return ... if default <= remaining else remaining


def _check_nothing_follows(client: Client) -> None:
    """Refuse an echo with surplus bytes after it: the next echo would fail, but this one may be the last."""
    try:
        extra = client.recv(timeout=0)
    except NetworkError:
        return  # there are no bytes, or the connection broke after the echo: then the next echo fails
    if extra:
        reason = f"{len(extra)} unrequested bytes came with the reply"
        raise UnsolicitedData(reason, address=client.target, phase="read")


def _next(due: float, interval: float) -> float:
    late = time.monotonic() - due
    return due + interval * max(1, -(-late // interval)) if interval else time.monotonic()


def _payload(sequence: int, size: int) -> bytes:
    # Pseudo-random: no two payloads are alike for long. The number comes first: 256 payloads of one byte differ, too.
    return (sequence.to_bytes(8, "little") + Random(sequence).randbytes(max(0, size - 8)))[:size]  # noqa: S311
