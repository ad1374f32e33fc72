"""What else had the two cores during a run: the machine's host, and other processes."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.contenders import Server

__all__ = ["NOISE", "REPEATS", "Watch", "steal"]

NOISE: Final = 5.0
"""Per cent of a core's time. A run that lost more is made again ..."""

REPEATS: Final = 2
"""... at most so often; the quietest counts."""

TICKS: Final = os.sysconf("SC_CLK_TCK")
Times = tuple[int, int, int]  # ticks: all, idle, stolen


def core_times(cpu: int) -> Times:
    """The clock of one core since the machine started (proc(5), /proc/stat)."""
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{cpu} "))
    user, nice, system, idle, iowait, irq, softirq, stolen = (int(word) for word in line.split()[1:9])
    return user + nice + system + idle + iowait + irq + softirq + stolen, idle + iowait, stolen


def steal(before: Times, after: Times) -> float:
    """Per cent of a core's time that the host gave to another machine."""
    return 100 * (after[2] - before[2]) / max(after[0] - before[0], 1)


class Watch:
    """Two cores, from its making to `taken()`. Between the two this process waits for the driver and nothing else."""

    def __init__(self, server: Server, server_cpu: int, driver_cpu: int) -> None:
        self._server, self._cpus = server, (server_cpu, driver_cpu)
        self._before = self._read()

    def taken(self) -> dict[str, float]:
        """Per cent of the worse core: `steal`, the host's part, and `taken`, which is that and other processes'."""
        after = self._read()
        steals, takens = [], []
        for (before_core, before_own), (after_core, after_own) in zip(self._before, after, strict=True):
            everything = max(after_core[0] - before_core[0], 1)
            idle, own = after_core[1] - before_core[1], after_own - before_own
            steals.append(steal(before_core, after_core))
            takens.append(max(100 * (everything - idle - own) / everything, steals[-1]))
        return {"steal": max(steals), "taken": max(takens)}

    def _read(self) -> list[tuple[Times, float]]:
        """For each core its times, and the ticks of the process that belongs there."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)  # a driver that has ended
        own = (self._server.cpu_ticks(), (children.ru_utime + children.ru_stime) * TICKS)
        return [(core_times(cpu), ticks) for cpu, ticks in zip(self._cpus, own, strict=True)]
