"""Counters and gauges of all workers, in memory that the processes share.

The mapping is made before the first fork. Each worker writes a slot of its own, and every process reads all of them.
A write of one aligned 64-bit number is atomic on the processors that Linux runs on, so no lock is needed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final

from geventecho.server import COUNTERS

__all__ = ["SharedCounters", "Slot", "WorkerState", "open_of"]

MORE_COUNTERS: Final = ("log_dropped", "output_dropped")
"""Counters of a process beside those of its server: lost lines."""
GAUGES: Final = (
    "state", "open", "opening", "ending", "load", "max_connections", "loop_lag_us", "beat_ns",
)  # fmt: skip
"""Values of now, of the last heartbeat at the oldest. `load` is `open` as it is between heartbeats, for the balance of
the workers; `beat_ns` is the time of the heartbeat by CLOCK_MONOTONIC."""
WHOLE: Final = ("stopping", "restarts", "started_s")
"""Values of the whole service: whether it stops, how many workers were replaced, the time of its start (Unix)."""

_INDEX: Final = {name: index for index, name in enumerate((*COUNTERS, *MORE_COUNTERS, *GAUGES))}
_ROW: Final = len(_INDEX)
_SUMMED: Final = len(COUNTERS) + len(MORE_COUNTERS)
_BYTES: Final = 8


def open_of(counts: Mapping[str, int]) -> int:
    """How many connections are open by the counters of connections, which are exact at each moment."""
    gone = sum(count for name, count in counts.items() if name.startswith(("refused_", "ended_")))
    return counts["accepted"] - gone


class WorkerState(IntEnum):
    """Where a worker is in its life."""

    FREE = 0
    """The slot has no worker."""
    STARTING = 1
    LISTENING = 2
    DRAINING = 3
    ARBITER = 4
    """Not a worker: the process that starts them, and counts what none of them can."""


class Slot:
    """The numbers of one process.

    A counter only grows: a worker goes on from the numbers of the dead one that had its slot. So no reader ever sees a
    sum become smaller.

    Args:
        row: of the mapping, 64-bit integers.

    Attributes:
        block: the counters of the server, for `geventecho.server.Counters`.
    """

    __slots__ = ("_row", "block")

    def __init__(self, row: memoryview) -> None:
        self._row = row
        self.block: memoryview = row[: len(COUNTERS)]

    def __getitem__(self, name: str) -> int:
        return int(self._row[_INDEX[name]])

    def __setitem__(self, name: str, value: int) -> None:
        self._row[_INDEX[name]] = value

    def counters(self) -> list[int]:
        """All counters, in the mapping's order."""
        return self._row[:_SUMMED].tolist()

    def free(self) -> None:
        """Settle the numbers of a process that has ended, and give the slot back.

        A killed process counts no end of its connections, and none of the bytes that it owed.
        """
        counts = dict(zip(COUNTERS, self.block, strict=True))
        self["ended_killed"] += open_of(counts)
        told = counts["bytes_sent"] + counts["bytes_discarded"] + counts["bytes_lost"]
        self["bytes_lost"] += max(0, counts["bytes_received"] - told)
        for name in GAUGES:
            self[name] = 0


class SharedCounters:
    """The mapping.

    Args:
        slots: how many processes can count at once.

    Attributes:
        slots: one for each process.
    """

    def __init__(self, slots: int = 1) -> None:
        # Pages that nobody has written take no memory.
        memory = memoryview(mmap.mmap(-1, (len(WHOLE) + slots * _ROW) * _BYTES)).cast("q")
        self._whole = memory[: len(WHOLE)]
        rows = memory[len(WHOLE) :]
        self.slots = tuple(Slot(rows[index * _ROW : (index + 1) * _ROW]) for index in range(slots))

    def __getitem__(self, name: str) -> int:
        """A value of the whole service."""
        return int(self._whole[WHOLE.index(name)])

    def __setitem__(self, name: str, value: int) -> None:
        self._whole[WHOLE.index(name)] = value

    def take(self) -> Slot | None:
        """A free slot, now of a worker that starts; None when all are taken."""
        for slot in self.slots:
            if slot["state"] == WorkerState.FREE:
                slot["state"] = WorkerState.STARTING
                return slot
        return None

    def live(self) -> Iterator[Slot]:
        """The slots that have a worker."""
        return (slot for slot in self.slots if slot["state"] not in (WorkerState.FREE, WorkerState.ARBITER))

    def totals(self) -> dict[str, int]:
        """All counters of all workers, the dead ones included, by name."""
        sums = [sum(column) for column in zip(*(slot.counters() for slot in self.slots), strict=True)]
        return dict(zip((*COUNTERS, *MORE_COUNTERS), sums, strict=True))

    def gauge(self, name: str) -> int:
        """The sum of a gauge over the live workers."""
        return sum(slot[name] for slot in self.live())
