"""A series of echoes and its summary: ping(8) for TCP."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

import gevent

from geventecho.address import DEFAULT_TARGET, Address, AddressLike
from geventecho.client.client import Client, connect
from geventecho.client.dial import check_target
from geventecho.errors import ConfigError, NetworkError, UnsolicitedData
from geventecho.histogram import Histogram

__all__ = ["DEFAULT_SIZE", "MOST_SIZE", "Ping", "Summary", "pings"]

DEFAULT_SIZE: Final = 64
MOST_SIZE: Final = 1 << 28
"""Bytes of a payload: what Random.randbytes can make at once."""
"""Bytes per echo."""


@dataclass(frozen=True, slots=True)
class Ping:
    """One echo of a series.

    Attributes:
        sequence: its number, from 1.
        size: its payload, in bytes.
        seconds: from sending its first byte to having its last one back; None when it was lost.
        error: why it was lost, or None.
    """

    sequence: int
    size: int
    seconds: float | None = None
    error: NetworkError | None = None


class Summary:
    """What became of a series.

    Attributes:
        sent: echoes tried.
        latency: the times of those that were answered.
        losses: how many were lost for which `kind` of error.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.latency = Histogram()
        self.losses: Counter[str] = Counter()

    def add(self, ping: Ping) -> None:
        """Count one."""
        self.sent += 1
        if ping.seconds is not None:
            self.latency.record(ping.seconds)
        if ping.error is not None:
            self.losses[ping.error.kind] += 1

    @property
    def lost(self) -> int:
        """How many were lost."""
        return self.losses.total()

    @property
    def lost_percent(self) -> float:
        """How many of a hundred were lost."""
        return 100 * self.lost / self.sent if self.sent else 0.0


def pings(
    target: AddressLike = DEFAULT_TARGET,
    *,
    count: int | None = None,
    interval: float = 1.0,
    size: int = DEFAULT_SIZE,
    timeout: float | None = 5.0,
) -> Iterator[Ping]:
    """Echo once every `interval` on one connection; a lost echo costs the connection, and the next one makes another.

    Echoes are due at fixed times from the first one on. One that was due while its forerunner was still under way is
    left out: after an outage there is no burst.

    Args:
        target: where to connect.
        count: how many; None goes on for ever.
        interval: seconds from one to the next; 0 does not wait at all.
        size: bytes of each payload, 1 or more; each payload differs from the one before.
        timeout: seconds to connect, and seconds for each echo; None is no limit.

    Yields:
        Each echo, answered or lost, when it is over.

    Raises:
        AddressError, ConfigError: before the first echo, when an argument is wrong.
    """
    address = Address.of(target)
    check_target(address)
    if size < 1:
        raise ConfigError(f"size is {size!r}; an echo has a payload of 1 byte or more")
    return _series(address, count, interval, size, timeout)


def _series(target: Address, count: int | None, interval: float, size: int, timeout: float | None) -> Iterator[Ping]:
    client: Client | None = None
    due = time.monotonic()
    sequence = 0
    try:
        while count is None or sequence < count:
            sequence += 1
            payload = _payload(sequence, size)
            try:
                client = client or connect(target, timeout=timeout)
                began = time.perf_counter()
                client.echo(payload)
                elapsed = time.perf_counter() - began
                _check_nothing_follows(client)
                ping = Ping(sequence, size, seconds=elapsed)
            except NetworkError as error:
                if client is not None:
                    client.close()
                    client = None
                ping = Ping(sequence, size, error=error)
            yield ping
            if sequence != count:
                due = _next(due, interval)
                gevent.sleep(max(0.0, due - time.monotonic()))
    finally:
        if client is not None:
            client.close()


def _check_nothing_follows(client: Client) -> None:
    """Refuse an echo that came with more than was sent: the next one would find it, but this may be the last."""
    try:
        extra = client.recv(timeout=0)
    except NetworkError:
        return  # nothing is there; or the connection broke after the echo, which the next one finds
    if extra:
        reason = f"{len(extra)} bytes that nobody asked for came with the reply"
        raise UnsolicitedData(reason, address=client.target, phase="read")


def _next(due: float, interval: float) -> float:
    late = time.monotonic() - due
    return due + interval * max(1, -(-late // interval)) if interval else time.monotonic()


def _payload(sequence: int, size: int) -> bytes:
    # Pseudo-random, so that no two are alike for long; begun with the number, so that no two of 256 are for a byte.
    return (sequence.to_bytes(8, "little") + Random(sequence).randbytes(max(0, size - 8)))[:size]  # noqa: S311
