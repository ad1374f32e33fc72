"""The times of each operation: kept as they come, counted in bulk, and handed over in blocks by row and second.

To count one time in a histogram takes longer than an operation may take for all of its times together. So the hot path
only appends an operation's instants to a list. Every few hundred operations the times are made of the instants, and
counted, in C.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import sub
from time import perf_counter_ns
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from locust.env import Environment

from geventecho.loadtest.measure.seconds import NANOSECONDS, SECONDS, second_of
from geventecho.results import Block, Record, RowKey

__all__ = ["Latencies", "Sample", "latencies_of"]

Sample: TypeAlias = tuple[int, int, int, int, int, int, int]
"""One operation: four instants, of time.perf_counter_ns(), and two numbers of bytes.

When it began (or should have, by a plan), was sent, had the first piece of its reply arrive, had all of it arrive, and
had read it; then bytes sent and received. It was sent at 0 if it sends nothing, and read at 0 if the kernel did not say
when it arrived: the arrivals are then those of the reading. It arrived at 0 if the clock of the arrivals was stepped.
"""
FIELDS: Final = 7
BINNED_AT_ONCE: Final = 128
"""Operations: the hub waits for some 150 us while so many are counted."""
MOST_WAITING: Final = 64
"""Blocks of a row that wait to be taken. Where nobody takes them, the earliest go to a record, which is bounded."""


class Row:
    """The operations of one row of Locust's table.

    Args:
        key: its type and name.
        overflow: gets the earliest blocks while nobody takes them.

    Attributes:
        blocks: by their second.
    """

    __slots__ = ("_failed", "_good", "_key", "_overflow", "blocks")

    def __init__(self, key: RowKey, overflow: Record) -> None:
        self._key = key
        self._overflow = overflow
        self._good: list[int] = []
        self._failed: list[int] = []
        self.blocks: dict[int, Block] = {}

    def add(self, sample: Sample) -> None:
        """Count an operation that was good, and of which the arrival is known."""
        good = self._good
        good.extend(sample)
        if len(good) >= FIELDS * BINNED_AT_ONCE:
            self.count()

    def add_failed(self, sample: Sample) -> None:
        """Count an operation that failed when its reply arrived, or later."""
        begun, sent, _, arrived, read, bytes_sent, bytes_received = sample
        if not arrived:
            sample = (begun, sent, read, read, 0, bytes_sent, bytes_received)
        self._failed.extend(sample)
        if len(self._failed) >= FIELDS * BINNED_AT_ONCE:
            self.count()

    def add_without_arrival(self, sample: Sample) -> None:
        """Count a good operation without an arrival: the clock was stepped."""
        begun, sent, _, _, read, bytes_sent, bytes_received = sample
        block = self.block(second_of(read))
        block.ok += 1
        block.clock_steps += 1
        block.bytes_sent += bytes_sent
        block.bytes_received += bytes_received
        if sent:
            block.times["generator_delay"].count_all((sent - begun,))

    def add_aborted(self, sample: Sample) -> None:
        """Count the bytes of an operation that was aborted, so that the bytes of all rows are those of the server."""
        block = self.block(second_of(sample[3]))
        block.bytes_sent += sample[5]
        block.bytes_received += sample[6]

    def block(self, second: int) -> Block:
        """The block of a second."""
        block = self.blocks.get(second)
        if block is None:
            if len(self.blocks) >= MOST_WAITING:
                self._overflow.add(self._key, self.blocks.pop(min(self.blocks)))
            block = self.blocks[second] = Block(second)
        return block

    def count(self) -> None:
        """Count all operations into blocks."""
        good, self._good = self._good, []
        for block, samples in self._by_second(good):
            block.ok += len(samples) // FIELDS
            count_times(block, samples)
        failed, self._failed = self._failed, []
        for block, samples in self._by_second(failed):
            block.failed += len(samples) // FIELDS
            count_times(block, samples, failed=True)

    def _by_second(self, samples: list[int]) -> Iterator[tuple[Block, list[int]]]:
        """Split operations by the second they ended in. They come nearly in that order."""
        arrived = samples[3::FIELDS]
        start = 0
        while start < len(arrived):
            second = second_of(arrived[start])
            end = bisect_left(arrived, (second + 1) * NANOSECONDS - SECONDS.offset, start)
            yield self.block(second), samples[start * FIELDS : end * FIELDS]
            start = end


def count_times(block: Block, samples: list[int], *, failed: bool = False) -> None:
    """Count the times and the bytes of operations that ended in the second of a block."""
    begun, sent, first, arrived, read = (samples[field::FIELDS] for field in range(5))
    block.bytes_sent += sum(samples[5::FIELDS])
    block.bytes_received += sum(samples[6::FIELDS])
    times = block.failed_times if failed else block.times
    times["response"].count_all([*map(sub, arrived, begun)])
    times["service"].count_all(differences(arrived, sent, sent))
    times["generator_delay"].count_all(differences(sent, begun, sent))
    times["read_delay"].count_all(differences(read, arrived, read))
    if first != arrived:  # some came in pieces
        in_pieces = (at - of for at, of, end in zip(first, sent, arrived, strict=True) if at != end and of)
        times["first_byte"].count_all([time for time in in_pieces if time > 0])


def differences(later: list[int], earlier: list[int], known: list[int]) -> list[int]:
    """The times between two instants, where an instant is not 0."""
    if 0 not in known:
        return [*map(sub, later, earlier)]
    return [end - begin for end, begin, is_known in zip(later, earlier, known, strict=True) if is_known]


class Rows(dict[RowKey, Row]):
    """All rows by their keys; a row is made when it is first asked for.

    Attributes:
        overflow: the blocks that nobody took for long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.overflow = Record()

    def __missing__(self, key: RowKey) -> Row:
        row = self[key] = Row(key, self.overflow)
        return row


class Latencies:
    """The operations of this process's users in the test so far.

    Attributes:
        rows: by type and name.
    """

    def __init__(self) -> None:
        self.rows = Rows()

    def clear(self) -> None:
        """Begin anew."""
        self.rows.clear()
        self.rows.overflow = Record()

    def record(self, key: RowKey, response: int, *, ok: bool) -> None:
        """Count something that took so many nanoseconds until now and is no operation of a client, such as a task."""
        now = perf_counter_ns()
        row = self.rows[key]
        (row.add if ok else row.add_failed)((now - response, 0, now, now, 0, 0, 0))

    def take(self) -> Iterator[tuple[RowKey, Block]]:
        """Hand over what was measured up to now, and forget it at once.

        Returns:
            Keys and blocks, of which some are counted only when they are asked for: many rows take long, so the caller
            should let other greenlets run between two of them. One second may have two blocks of a row.
        """
        rows, overflow = [*self.rows.items()], self.rows.overflow
        self.clear()
        return _blocks(rows, overflow)


def _blocks(rows: list[tuple[RowKey, Row]], overflow: Record) -> Iterator[tuple[RowKey, Block]]:
    for key, row in rows:
        row.count()
        for second in sorted(row.blocks):
            yield key, row.blocks[second]
    for key, blocks in overflow.rows.items():
        for block in blocks:
            yield key, block


_latencies: WeakKeyDictionary[Environment, Latencies] = WeakKeyDictionary()


def latencies_of(environment: Environment) -> Latencies:
    """The times of this process's users in an environment; each test begins them anew."""
    latencies = _latencies.get(environment)
    if latencies is None:
        latencies = _latencies[environment] = Latencies()
        environment.events.test_start.add_listener(lambda **_: _latencies[environment].clear())
    return latencies
