"""The time of the two cores that the machine's host and other processes took during a run."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from bench.contenders import Server

__all__ = ["NOISE", "REPEATS", "Core", "Watch"]

NOISE: Final = 5.0
"""Per cent of a core's time. A run that lost more is made again."""

REPEATS: Final = 2
"""The most repeats of a run that was not quiet; the quietest counts."""

TICKS: Final = os.sysconf("SC_CLK_TCK")


class Core(NamedTuple):
    """A core's time so far, in clock ticks (proc(5), /proc/stat). Idle and stolen are exact, the rest is sampled."""

    at: float
    idle: int
    stolen: int

    @classmethod
    def now(cls, cpu: int) -> Core:
        lines = Path("/proc/stat").read_text().splitlines()
        fields = next(line for line in lines if line.startswith(f"cpu{cpu} ")).split()
        return cls(time.monotonic() * TICKS, int(fields[4]) + int(fields[5]), int(fields[8]))

    def steal(self, later: Core) -> float:
        """The per cent of the time until `later` that the host gave to other machines."""
        return 100 * (later.stolen - self.stolen) / max(later.at - self.at, 1)

    def taken(self, later: Core, own: float) -> float:
        """The per cent of the time until `later` that was neither idle nor the `own` ticks of one process."""
        elapsed = max(later.at - self.at, 1)
        return 100 * (elapsed - (later.idle - self.idle) - own) / elapsed


class Watch:
    """The times of two cores from here to `taken()`. Meanwhile this process may only wait for the driver."""

    def __init__(self, server: Server, server_cpu: int, driver_cpu: int) -> None:
        self._server, self._cpus = server, (server_cpu, driver_cpu)
        self._before = self._read()

    def taken(self) -> dict[str, float]:
        """Per cent of the worse core: `steal` by the host, and `taken` by the host and by other processes together."""
        after = self._read()
        steals, takens = [], []
        for (before, own_before), (later, own_later) in zip(self._before, after, strict=True):
            steals.append(before.steal(later))
            takens.append(before.taken(later, own_later - own_before))
        return {"steal": max(steals), "taken": max(*takens, *steals)}

    def _read(self) -> list[tuple[Core, float]]:
        """For each core its times, and the ticks of its own process."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)  # a driver that has ended
        own = (self._server.cpu_ticks(), (children.ru_utime + children.ru_stime) * TICKS)
        return [(Core.now(cpu), ticks) for cpu, ticks in zip(self._cpus, own, strict=True)]
