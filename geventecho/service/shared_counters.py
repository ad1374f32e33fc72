"""Counters and gauges of all workers, in shared memory.

The mapping is made before the first fork. Each worker writes its own slot, and every process reads all slots. A write
of one aligned 64-bit number is atomic on the processors that Linux runs on, so no lock is needed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final

from geventecho.server import COUNTERS

__all__ = ["SharedCounters", "Slot", "WorkerState", "open_of"]

MORE_COUNTERS: Final = ("log_dropped", "output_dropped")
"""Counters of a process besides the server's: lost lines."""
GAUGES: Final = (
    "state", "open", "opening", "ending", "load", "max_connections", "loop_lag_us", "beat_ns",
)  # fmt: skip
"""Current values, updated at each heartbeat. `load` is `open`, also updated between heartbeats, for the balance of the
workers. `beat_ns` is the time of the heartbeat by CLOCK_MONOTONIC."""
SERVICE_VALUES: Final = ("stopping", "restarts", "started_s")
"""Values of the whole service: whether it stops, the number of replaced workers, the Unix time of its start."""

_INDEX: Final = {name: index for index, name in enumerate((*COUNTERS, *MORE_COUNTERS, *GAUGES))}
_ROW: Final = len(_INDEX)
_SUMMED: Final = len(COUNTERS) + len(MORE_COUNTERS)
_BYTES: Final = 8


def open_of(counts: Mapping[str, int]) -> int:
    """Return the number of open connections by the counters of connections, which are exact at each moment."""
    closed = sum(count for name, count in counts.items() if name.startswith(("refused_", "ended_")))
    return counts["accepted"] - closed


class WorkerState(IntEnum):
    """The state of a worker."""

    FREE = 0
    """The slot has no worker."""
    STARTING = 1
    LISTENING = 2
    DRAINING = 3
    ARBITER = 4
    """The process that starts the workers. It has counters that no worker can count."""


class Slot:
    """The numbers of one process.

    A counter only grows: a worker starts with the counters of the ended worker that had its slot. So no reader ever
    sees a sum become smaller.

    Args:
        row: its row of the mapping, 64-bit integers.

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
        """Return all counters, in the order of the mapping."""
        return self._row[:_SUMMED].tolist()

    def free(self) -> None:
        """Complete the counters of a process that has ended, and free the slot.

        A killed process has not counted the ends of its connections. The bytes that it owed are lost.
        """
        counts = dict(zip(COUNTERS, self.block, strict=True))
        self["ended_killed"] += open_of(counts)
        accounted = counts["bytes_sent"] + counts["bytes_discarded"] + counts["bytes_lost"]
        self["bytes_lost"] += max(0, counts["bytes_received"] - accounted)
        for name in GAUGES:
            self[name] = 0


class SharedCounters:
    """The counters, in a mapping that all processes share.

    Args:
        slots: the largest number of processes at once.

    Attributes:
        slots: one for each process.
    """

    def __init__(self, slots: int = 1) -> None:
        # Pages that are never written take no memory.
        memory = memoryview(mmap.mmap(-1, (len(SERVICE_VALUES) + slots * _ROW) * _BYTES)).cast("q")
        self._service = memory[: len(SERVICE_VALUES)]
        rows = memory[len(SERVICE_VALUES) :]
        self.slots = tuple(Slot(rows[index * _ROW : (index + 1) * _ROW]) for index in range(slots))

    def __getitem__(self, name: str) -> int:
        """Return a value of the whole service."""
        return int(self._service[SERVICE_VALUES.index(name)])

    def __setitem__(self, name: str, value: int) -> None:
        self._service[SERVICE_VALUES.index(name)] = value

    def take(self) -> Slot | None:
        """Return a free slot and mark it as starting; None when all slots are taken."""
        for slot in self.slots:
            if slot["state"] == WorkerState.FREE:
                slot["state"] = WorkerState.STARTING
                return slot
        return None

    def live(self) -> Iterator[Slot]:
        """Return the slots that have a worker."""
        return (slot for slot in self.slots if slot["state"] not in (WorkerState.FREE, WorkerState.ARBITER))

    def totals(self) -> dict[str, int]:
        """Return the sums of the counters of all workers, ended ones included, by name."""
        sums = [sum(column) for column in zip(*(slot.counters() for slot in self.slots), strict=True)]
        return dict(zip((*COUNTERS, *MORE_COUNTERS), sums, strict=True))

    def gauge(self, name: str) -> int:
        """Return the sum of a gauge over the live workers."""
        return sum(slot[name] for slot in self.live())
