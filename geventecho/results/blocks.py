"""The record of a load test: a block of counts for each row and second.

Adding and merging are exact. The result depends neither on their order nor on the number of workers. So the start and
the width of blocks, and the choice of rows, depend on the counts alone and not on their order.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final, NamedTuple, Self, TypeAlias

from geventecho.histogram import Histogram

__all__ = ["OTHER", "TIMES", "Block", "Blocks", "Cell", "Record", "RowKey"]

# The times of an operation: planned instant (or call) to arrival; send to arrival; planned instant (or call) to send;
# arrival to read; send to the arrival of the first byte.
TIMES: Final = ("response", "service", "generator_delay", "read_delay", "first_byte")

RowKey: TypeAlias = tuple[str, str]  # type and name, as in Locust's table
OTHER: Final = "other"
MAX_ROWS: Final = 200
MAX_BLOCKS: Final = 1024
# Seconds by which a boundary may become known late: a stage of a load shape is known only after 10 s.
UNMERGED_SECONDS: Final = 32
# No block is wider than this, 18 hours, even if there are more boundaries than `MAX_BLOCKS`.
MAX_BLOCK_SECONDS: Final = 1 << 16

# The header of a packed block: its integers, and the length of each histogram.
HEADER: Final = struct.Struct(f"<8Q{2 * len(TIMES)}I")


def _histograms() -> dict[str, Histogram]:
    return {name: Histogram() for name in TIMES}


@dataclass(slots=True)
class Block:
    """The counts of one row in a span of time.

    Attributes:
        start: the first second of the span, in whole seconds since the epoch by a steady clock.
        seconds: the length of the span.
        ok: the number of good operations.
        failed: the number of failed operations.
        dropped: planned instants that no user took; 0 in rows of other types than TASK.
        bytes_sent: bytes of all operations.
        bytes_received: bytes of all operations.
        clock_steps: operations without a time of arrival, because the wall clock was stepped.
        times: the times of good operations, by the names in `TIMES`.
        failed_times: the times of failed operations, by the same names.
    """

    start: int
    seconds: int = 1
    ok: int = 0
    failed: int = 0
    dropped: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    clock_steps: int = 0
    times: dict[str, Histogram] = field(default_factory=_histograms)
    failed_times: dict[str, Histogram] = field(default_factory=_histograms)

    def merge(self, other: Block) -> None:
        """Add the counts of `other`, whose span is the same or adjacent; the new span covers both."""
        end = max(self.start + self.seconds, other.start + other.seconds)
        self.start = min(self.start, other.start)
        self.seconds = end - self.start
        self.ok += other.ok
        self.failed += other.failed
        self.dropped += other.dropped
        self.bytes_sent += other.bytes_sent
        self.bytes_received += other.bytes_received
        self.clock_steps += other.clock_steps
        for name in TIMES:
            self.times[name].merge(other.times[name])
            self.failed_times[name].merge(other.failed_times[name])

    def compact(self) -> None:
        """Keep the histograms as bytes until they change."""
        for name in TIMES:
            self.times[name].compact()
            self.failed_times[name].compact()

    def pack(self) -> bytes:
        """The block as bytes: about one byte for each bucket of its histograms."""
        parts = [times[name].to_bytes() for times in (self.times, self.failed_times) for name in TIMES]
        header = HEADER.pack(
            self.start, self.seconds, self.ok, self.failed, self.dropped,
            self.bytes_sent, self.bytes_received, self.clock_steps, *map(len, parts),
        )  # fmt: skip
        return header + zlib.compress(b"".join(parts), level=1)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Restore a block from the bytes of `pack`."""
        start, seconds, ok, failed, dropped, sent, received, steps, *lengths = HEADER.unpack_from(packed)
        data = zlib.decompress(packed[HEADER.size :])
        places = pairwise(accumulate(lengths, initial=0))
        histograms = [Histogram.from_bytes(data[begin:end]) for begin, end in places]
        times = dict(zip(TIMES, histograms[: len(TIMES)], strict=True))
        failed_times = dict(zip(TIMES, histograms[len(TIMES) :], strict=True))
        return cls(start, seconds, ok, failed, dropped, sent, received, steps, times, failed_times)


class Cell(NamedTuple):
    """A block that is still packed.

    Attributes:
        start, seconds: the span of the block.
        parts: the packed parts of the block; empty if nothing was counted.
    """

    start: int
    seconds: int
    parts: tuple[bytes, ...]

    def block(self) -> Block:
        """Unpack the block."""
        block = _merged(self.parts) if self.parts else Block(self.start)
        block.start, block.seconds = self.start, self.seconds
        return block


class Blocks:
    """The blocks of one row, the earliest first: at most `MAX_BLOCKS`, packed until they are read.

    A block begins at a boundary, or a multiple of its width after a boundary. It ends at the next boundary or earlier.
    When there are too many blocks, adjacent blocks merge, so that all blocks of the row are twice as wide. Seconds
    without counts have no block.
    """

    def __init__(self, boundaries: set[int]) -> None:
        self.width = 1
        self._boundaries = boundaries
        self._recent: dict[int, list[bytes]] = {}  # by second
        self._settled: dict[int, list[bytes]] = {}  # by start of the block
        self._unmerged: set[int] = set()  # starts of blocks that are in several parts
        self._newest = 0

    def add(self, packed: bytes) -> None:
        """Add the counts of a second, or a block of another record, as packed by `Block.pack`."""
        start, seconds, *_ = HEADER.unpack_from(packed)
        width = 1 << (seconds - 1).bit_length()
        if width > 1:
            self._widen(max(width, self.width))
            self._settle(start, [packed])
        else:
            self._recent.setdefault(start, []).append(packed)
        self._newest = max(self._newest, start)
        settled = self._newest - UNMERGED_SECONDS
        for second in [second for second in self._recent if second <= settled]:
            self._settle(second, self._recent.pop(second))
        while len(self._settled) > MAX_BLOCKS and self.width < MAX_BLOCK_SECONDS:
            self._widen(2 * self.width)
        # Merge one block at a time: to merge all when the blocks widen would stop the master for seconds.
        complete = next((start for start in self._unmerged if start + self.width <= settled), None)
        if complete is not None:
            self._unmerged.remove(complete)
            self._settled[complete] = [_merged(self._settled[complete]).pack()]

    def __iter__(self) -> Iterator[Block]:
        cells = self._cells()
        for start in sorted(cells):
            yield self._cell(start, cells[start]).block()

    def __len__(self) -> int:
        return len(self._cells())

    def between(self, begin: int, end: int) -> Iterator[Cell]:
        """The blocks that start in [begin, end), with empty blocks for spans without counts."""
        cells = self._cells()
        starts = {start for start in cells if begin <= start < end}
        start = self._start(begin)
        while start < end:
            starts.add(max(start, begin))
            start = self._end(start)
        for start in sorted(starts):
            yield self._cell(start, cells.get(start, []))

    def _cell(self, start: int, parts: list[bytes]) -> Cell:
        return Cell(start, self._end(start) - start, tuple(parts))

    def _cells(self) -> dict[int, list[bytes]]:
        """The parts of all blocks by their starts, merged until there are at most `MAX_BLOCKS`."""
        while True:
            cells = {start: parts[:] for start, parts in self._settled.items()}
            for second, parts in self._recent.items():
                cells.setdefault(self._start(second), []).extend(parts)
            if len(cells) <= MAX_BLOCKS or self.width >= MAX_BLOCK_SECONDS:
                return cells
            self._widen(2 * self.width)

    def _widen(self, width: int) -> None:
        if width == self.width:
            return
        self.width = width
        narrow, self._settled, self._unmerged = self._settled, {}, set()
        for start, parts in narrow.items():
            self._settle(start, parts)

    def _settle(self, second: int, parts: list[bytes]) -> None:
        start = self._start(second)
        cell = self._settled.setdefault(start, [])
        cell += parts
        if len(cell) > 1:
            self._unmerged.add(start)

    def _start(self, second: int) -> int:
        """The start of the block that contains a second."""
        origin = max((boundary for boundary in self._boundaries if boundary <= second), default=0)
        return second - (second - origin) % self.width

    def _end(self, start: int) -> int:
        """The first second after the block that starts at `start`."""
        return min([start + self.width, *(boundary for boundary in self._boundaries if boundary > start)])


def _merged(parts: Sequence[bytes]) -> Block:
    block = Block.unpack(parts[0])
    for part in parts[1:]:
        block.merge(Block.unpack(part))
    return block


class Record:
    """All rows of a load test.

    Attributes:
        rows: the blocks by type and name of the row: the first `MAX_ROWS` rows in alphabetical order. The other rows
            are added up in one row for each type, whose name is `other`.
        boundaries: the seconds in which a stage or the measured part begins. A block may start at a boundary; it
            contains no other. Add a boundary before it is `UNMERGED_SECONDS` old.
    """

    def __init__(self) -> None:
        self.rows: dict[RowKey, Blocks] = {}
        self.boundaries: set[int] = set()

    def add(self, row: RowKey, block: Block | bytes) -> None:
        """Add a row's counts of a second, or a block of another record; packed or not."""
        if row not in self.rows:
            row = self._row_for(row)
        self.rows[row].add(block if isinstance(block, bytes) else block.pack())

    def merge(self, other: Record) -> None:
        """Add all blocks and boundaries of `other`."""
        self.boundaries |= other.boundaries
        for row, blocks in other.rows.items():
            for block in blocks:
                self.add(row, block)

    def _row_for(self, row: RowKey) -> RowKey:
        """Make a place for a new row: return the row itself, or the row `other` that counts it."""
        named = [known for known in self.rows if known[1] != OTHER]
        if row[1] == OTHER or len(named) < MAX_ROWS:
            self.rows.setdefault(row, Blocks(self.boundaries))
            return row
        last = max(named)
        if row > last:
            return self._row_for((row[0], OTHER))
        folded = self.rows.pop(last)
        self.rows[row] = Blocks(self.boundaries)
        for block in folded:
            self.add((last[0], OTHER), block)
        return row

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Record)
            and self.rows.keys() == other.rows.keys()
            and all(list(blocks) == list(other.rows[row]) for row, blocks in self.rows.items())
        )

    __hash__ = None  # type: ignore[assignment]
