"""The times of operations, counted in bulk, in blocks by row and second.

To count one time in a histogram takes longer than an operation may spend on all its times. So the hot path only appends
the instants of an operation to a list. Later the times of many operations are computed and counted at once, in C.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import compress
from operator import sub
from time import perf_counter_ns
from typing import Final, TypeAlias

from locust.env import Environment

from geventecho.histogram import Histogram
from geventecho.loadtest.measure.seconds import NANOSECONDS, SECONDS, second_of
from geventecho.loadtest.measure.tally import Successes
from geventecho.net import CLOCK
from geventecho.results import Block, Record, RowKey

__all__ = ["Latencies", "Sample", "latencies_of"]


Sample: TypeAlias = tuple[int, int, int, int, int, int, int]
"""One operation: five instants of time.perf_counter_ns(), then the bytes sent and the bytes received.

The instants, in this order:

- the beginning of the operation, or its planned instant;
- the first send; 0 if the operation sends nothing;
- the arrival of the first piece of the reply;
- the arrival of the last piece; 0 if the clock of the arrivals was stepped;
- the reading of the last piece; 0 if the kernel did not stamp the arrivals. The arrivals are then instants of reading.
"""
FIELDS: Final = 8
"""The numbers of an operation: its sample and a mark. The mark is the length of the reply if Locust's statistics will
count the operation later; otherwise it is `GOOD` or `FAILED`."""
GOOD: Final = -1
FAILED: Final = -2
ARRIVED: Final = 3
Columns: TypeAlias = list[list[int]]
"""The numbers of many operations, by field."""
COUNTED_AT_ONCE: Final = 128
"""Operations that are counted at once. This blocks the hub for a quarter of a millisecond."""
MAX_WAITING: Final = 64
"""The most blocks of a row that wait for `take`. Beyond that the earliest block goes to a record, which is bounded."""


class Row:
    """The operations of one row of Locust's table.

    Args:
        key: type and name of the row.
        latencies: the `Latencies` of the process.

    Attributes:
        blocks: the blocks by second.
        key: type and name of the row.
    """

    __slots__ = ("_latencies", "_stored", "_successes", "blocks", "key")

    def __init__(self, key: RowKey, latencies: Latencies) -> None:
        self.key = key
        self._latencies = latencies
        self._stored: list[int] = []
        self._successes = Successes()
        self.blocks: dict[int, Block] = {}

    def add(self, sample: Sample, mark: int = GOOD) -> None:
        """Count an operation whose arrival is known.

        Args:
            sample: the instants and bytes of the operation.
            mark: `GOOD` or `FAILED`, or the bytes of the reply if Locust's statistics will count the operation later.
        """
        stored = self._stored
        stored.extend(sample)
        stored.append(mark)
        if len(stored) >= FIELDS * COUNTED_AT_ONCE:
            self.count()

    def add_failed(self, sample: Sample) -> None:
        """Count an operation that failed."""
        begun, sent, _, arrived, read, bytes_sent, bytes_received = sample
        if not arrived:
            sample = (begun, sent, read, read, 0, bytes_sent, bytes_received)
        self.add(sample, FAILED)

    def add_without_arrival(self, sample: Sample) -> None:
        """Count a good operation without an arrival, because the clock was stepped."""
        begun, sent, _, _, read, bytes_sent, bytes_received = sample
        block = self.block(second_of(read))
        block.ok += 1
        block.clock_steps += 1
        block.bytes_sent += bytes_sent
        block.bytes_received += bytes_received
        if sent:
            block.times["generator_delay"].count_all((sent - begun,))

    def add_aborted(self, sample: Sample) -> None:
        """Count the bytes of an aborted operation, so that the bytes of all rows are equal to the server's bytes."""
        block = self.block(second_of(sample[3]))
        block.bytes_sent += sample[5]
        block.bytes_received += sample[6]

    def block(self, second: int) -> Block:
        """The block of a second."""
        block = self.blocks.get(second)
        if block is None:
            if len(self.blocks) >= MAX_WAITING:
                self._latencies.overflow.add(self.key, self.blocks.pop(min(self.blocks)))
            block = self.blocks[second] = Block(second)
        return block

    def count(self) -> None:
        """Count all operations in blocks, and keep for `log` the operations that Locust's statistics will count."""
        if not self._stored:
            return  # must be fast: Locust's tables read all rows for each of their fields
        stored, self._stored = self._stored, []
        columns = [stored[field::FIELDS] for field in range(FIELDS)]
        marks = columns[-1]
        if min(marks) >= 0:
            self._count_marked(columns)
        else:
            self._count_marked(where(columns, lambda mark: mark >= 0))
            for block, part in self._by_second(where(columns, lambda mark: mark == GOOD)):
                block.ok += len(count_times(block, block.times, part))
            for block, part in self._by_second(where(columns, lambda mark: mark == FAILED)):
                block.failed += len(count_times(block, block.failed_times, part))

    def _count_marked(self, columns: Columns) -> None:
        for block, part in self._by_second(columns):
            responses = count_times(block, block.times, part)
            block.ok += len(responses)
            if second_of(self._successes.ended_at) != block.start:
                self.log()
            self._successes.add(responses, sum(part[-1]), part[ARRIVED][-1])

    def log(self) -> None:
        """Count the marked operations in Locust's statistics."""
        if self._successes:
            self._latencies.log(self.key, self._successes)
            self._successes = Successes()

    def _by_second(self, columns: Columns) -> Iterator[tuple[Block, Columns]]:
        """Split operations by the second in which they ended. They are almost in this order."""
        arrived = columns[ARRIVED]
        start = 0
        while start < len(arrived):
            second = second_of(arrived[start])
            end = bisect_left(arrived, (second + 1) * NANOSECONDS - SECONDS.offset, start)
            is_all = end - start == len(arrived)
            yield self.block(second), columns if is_all else [column[start:end] for column in columns]
            start = end


def where(columns: Columns, is_wanted: Callable[[int], bool]) -> Columns:
    """The operations with a wanted mark."""
    wanted = [is_wanted(mark) for mark in columns[-1]]
    return [[*compress(column, wanted)] for column in columns]


def count_times(block: Block, times: dict[str, Histogram], columns: Columns) -> list[int]:
    """Count the times and the bytes of operations that ended in the second of a block; return the response times."""
    begun, sent, first, arrived, read, bytes_sent, bytes_received, _ = columns
    block.bytes_sent += sum(bytes_sent)
    block.bytes_received += sum(bytes_received)
    responses = [*map(sub, arrived, begun)]
    times["response"].count_all(responses)
    times["service"].count_all(differences(arrived, sent, sent))
    times["generator_delay"].count_all(differences(sent, begun, sent))
    times["read_delay"].count_all(differences(read, arrived, read))
    if first != arrived:  # some replies came in pieces
        in_pieces = (at - start for at, start, end in zip(first, sent, arrived, strict=True) if at != end and start)
        times["first_byte"].count_all([time for time in in_pieces if time > 0])
    return responses


def differences(later: list[int], earlier: list[int], known: list[int]) -> list[int]:
    """The times between two instants of each operation; operations whose `known` instant is 0 are left out."""
    if 0 not in known:
        return [*map(sub, later, earlier)]
    return [end - begin for end, begin, is_known in zip(later, earlier, known, strict=True) if is_known]


class Rows(dict[RowKey, Row]):
    """All rows by their keys; the first access makes a row."""

    def __init__(self, latencies: Latencies) -> None:
        super().__init__()
        self._latencies = latencies

    def __missing__(self, key: RowKey) -> Row:
        kind, name = key
        if (encodable := name.encode(errors="backslashreplace").decode()) != name:
            return self[kind, encodable]  # UTF-8 must be able to encode names in reports, files and tables
        row = self[key] = Row(key, self._latencies)
        return row


class Latencies:
    """The operations of this process's users in the test so far.

    Args:
        environment: Locust's environment. Its statistics count the operations that are kept for them.

    Attributes:
        rows: the rows by type and name.
        overflow: old blocks that were not taken in time.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = weakref.ref(environment)
        self.rows = Rows(self)
        self.overflow = Record()
        self._taken: list[Row] = []  # Locust's statistics may not have counted all their operations

    def clear(self) -> None:
        """Forget all operations."""
        self.rows.clear()
        self._taken.clear()
        self.overflow = Record()

    def count(self) -> None:
        """Count all operations, in Locust's statistics too."""
        for row in (*self._taken, *self.rows.values()):
            row.count()
            row.log()
        self._taken.clear()

    def log(self, key: RowKey, successes: Successes) -> None:
        """Count successes of a row in Locust's statistics."""
        environment = self._environment()
        if environment is not None:
            successes.count(environment.stats, *key, (successes.ended_at + CLOCK.offset) / NANOSECONDS)

    def record(self, key: RowKey, response: int, *, ok: bool) -> None:
        """Count a task, or another span that is not a client's operation, which has taken `response` nanoseconds."""
        now = perf_counter_ns()
        self.rows[key].add((now - response, 0, now, now, 0, 0, 0), GOOD if ok else FAILED)

    def take(self) -> Iterator[tuple[RowKey, Block]]:
        """Return the operations up to now, and forget them at once.

        Returns:
            An iterator of keys and blocks. It counts some operations only while it runs. Many rows take long, so let
            other greenlets run between two blocks. A row may have two blocks of the same second.
        """
        rows, overflow = [*self.rows.items()], self.overflow
        self.rows.clear()
        self.overflow = Record()
        self._taken += [row for _, row in rows]
        return _blocks(rows, overflow)


def _blocks(rows: list[tuple[RowKey, Row]], overflow: Record) -> Iterator[tuple[RowKey, Block]]:
    for key, row in rows:
        row.count()
        row.log()
        for second in sorted(row.blocks):
            yield key, row.blocks[second]
    for key, blocks in overflow.rows.items():
        for block in blocks:
            yield key, block


_latencies: weakref.WeakKeyDictionary[Environment, Latencies] = weakref.WeakKeyDictionary()


def latencies_of(environment: Environment) -> Latencies:
    """The times of this process's users in an environment; each test resets them."""
    latencies = _latencies.get(environment)
    if latencies is None:
        latencies = _latencies[environment] = Latencies(environment)
        environment.events.test_start.add_listener(lambda **_: _latencies[environment].clear())
    return latencies
