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
"""How many samples a percentile needs: with fewer there is no 95 % confidence interval from order statistics, since
the highest sample lies below the percentile with a probability of more than 2.5 %."""
NANOSECONDS: Final = 1_000_000_000
MOMENT: Final = 1e-6
SURELY_LOST: Final = 1.0
"""Seconds that an echo has waited when the deadline makes it a lost one."""


@dataclass(frozen=True, slots=True)
class Ping:
    """One echo of a series.

    Attributes:
        sequence: its number, from 1.
        size: its payload, in bytes.
        seconds: from sending its first byte to the arrival of its last one (`Traffic.seconds`); None when it was lost.
        error: why it was lost, or None.
    """

    sequence: int
    size: int
    seconds: float | None = None
    error: NetworkError | None = None


class Summary:
    """The figures of a series.

    Attributes:
        sent: echoes tried.
        latency: the times of those that were answered.
        losses: how many were lost, by the `kind` of the error.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.latency = Histogram()
        self.losses: Counter[str] = Counter()
        # Integers, in nanoseconds: a difference of two large sums of floats would have few digits.
        self._sum = 0
        self._sum_of_squares = 0

    def add(self, ping: Ping) -> None:
        """Count one."""
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
        """How many were lost."""
        return self.losses.total()

    @property
    def lost_percent(self) -> float:
        """The share that was lost, in percent."""
        return 100 * self.lost / self.sent if self.sent else 0.0

    @property
    def mdev(self) -> float | None:
        """The population standard deviation of the times, in seconds, as in ping(8); None when none was answered."""
        count = self.latency.count
        if not count:
            return None
        return math.sqrt(count * self._sum_of_squares - self._sum**2) / count / NANOSECONDS

    def percentile(self, percent: float) -> float | None:
        """Return a percentile of the times, in seconds; None when there are fewer than `SAMPLES_NEEDED`."""
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
    """Echo once every `interval` on one connection; a lost echo costs the connection, and the next one makes another.

    Echoes are due at fixed times from the first one on. One that was due while the one before it was still under way is
    left out: after an outage there is no burst.

    Args:
        target: where to connect.
        count: how many; None goes on for ever.
        interval: seconds from one to the next; 0 does not wait at all.
        size: bytes of each payload, 1 or more; each payload differs from the one before.
        timeout: seconds to connect, TLS handshake included, and seconds for each echo; None is no limit.
        deadline: seconds after which the series ends; None is no limit. The echo under way at that moment is lost when
            it has waited a second, or when none was answered before it. Otherwise it is left out.
        proxy_protocol: begin each connection with a PROXY header of this version.
        tls: see `connect`. Through TLS an echo arrives when it is read.

    Yields:
        Each echo, answered or lost, when it is over. A KeyboardInterrupt comes after the echo that it cut off, which is
        lost or left out as at the deadline.

    Raises:
        AddressError, ConfigError: before the first echo, when an argument is wrong.
    """
    address = Address.of(target)
    check_target(address)
    if tls is not None or address.scheme == "tls":
        check_tls(tls or DEFAULT_TLS, address)
    if size < 1:
        raise ConfigError(f"size is {size!r}; an echo has a payload of 1 byte or more")
    dial = partial(connect, address, timeout=timeout, timed=True, tls=tls, proxy_protocol=proxy_protocol)
    return _series(address, dial, count, interval, size, timeout, deadline)


def _series(
    target: Address,
    dial: Callable[..., Client],
    count: int | None,
    interval: float,
    size: int,
    timeout: float | None,
    deadline: float | None,
) -> Iterator[Ping]:
    client: Client | None = None
    connect_limit = math.inf if timeout is None else timeout
    echo_limit = connect_limit + size / SLOWEST_ECHO
    due = time.monotonic()
    end = Deadline(deadline)
    any_answered = False
    sequence = 0
    try:
        while (count is None or sequence < count) and not end.expired:
            sequence += 1
            payload = _payload(sequence, size)
            began = time.perf_counter()
            try:
                if client is None:
                    client = dial(connect_timeout=_limit(connect_limit, end))
                limit = _limit(echo_limit, end)
                began = time.perf_counter()
                client.echo(payload, timeout=limit)
                seconds = client.traffic.seconds
                _check_nothing_follows(client)
                ping = Ping(sequence, size, seconds=seconds)
                any_answered = True
            except NetworkError as error:
                if client is not None:
                    client.close()
                    client = None
                is_cut_off = isinstance(error, TimeoutError) and end.remaining() == 0
                if is_cut_off and any_answered and time.perf_counter() - began < SURELY_LOST:
                    return
                if is_cut_off and deadline is not None:
                    reason = f"not answered before the deadline of {deadline:g} s"
                    error = type(error)(reason, address=target, phase=error.phase)
                ping = Ping(sequence, size, error=error)
            except KeyboardInterrupt:
                if not any_answered or time.perf_counter() - began >= SURELY_LOST:
                    yield Ping(sequence, size, error=_interrupted(target, is_connected=client is not None))
                raise
            yield ping
            if sequence != count:
                due = _next(due, interval)
                gevent.sleep(min(max(0.0, due - time.monotonic()), _left(end)))
    finally:
        if client is not None:
            client.close()


def _interrupted(target: Address, *, is_connected: bool) -> NetworkError:
    kind, phase = (ReadTimeout, "read") if is_connected else (ConnectTimeout, "connect")
    return kind("not answered before the interrupt", address=target, phase=phase)


def _left(end: Deadline) -> float:
    """Seconds until the end, and a moment when that has just passed: a timeout is above 0."""
    return max(end.remaining(), MOMENT)


def _limit(own: float, end: Deadline) -> Seconds:
    """Return what is left until the end, or ``...`` when the client's own limit comes first: that costs less time."""
    left = _left(end)
    return ... if own <= left else left


def _check_nothing_follows(client: Client) -> None:
    """Refuse an echo that came with more than was sent: the next echo would fail, but this one may be the last."""
    try:
        extra = client.recv(timeout=0)
    except NetworkError:
        return  # nothing is there; or the connection broke after the echo, and the next echo fails
    if extra:
        reason = f"{len(extra)} unrequested bytes came with the reply"
        raise UnsolicitedData(reason, address=client.target, phase="read")


def _next(due: float, interval: float) -> float:
    late = time.monotonic() - due
    return due + interval * max(1, -(-late // interval)) if interval else time.monotonic()


def _payload(sequence: int, size: int) -> bytes:
    # Pseudo-random, so that no two are alike for long. With the number first, 256 in a row differ even with one byte.
    return (sequence.to_bytes(8, "little") + Random(sequence).randbytes(max(0, size - 8)))[:size]  # noqa: S311
