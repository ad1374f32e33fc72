"""The share of the processor that this process gets, by the counters of Linux.

Sources: proc(5) for /proc/stat; Documentation/scheduler/sched-stats.rst for schedstat, whose second number is the time
for which a thread was ready and waited for a core; Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst
for cpu.stat.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Processor", "Used", "cgroup_files"]

NANOSECONDS: Final = 1e9
SIZE: Final = 1 << 16
"""Bytes to read from a file. The lines of the cores come first in /proc/stat."""
IDLE, IOWAIT, STEAL, ALL_TIMES = 3, 4, 7, 8


class Used(NamedTuple):
    """The use of the processor in a span. A number is None if it is unknown: a container may not have these files.

    Attributes:
        cpu: seconds for which the process ran, all threads added.
        core: busy share of the cores on which the process may run.
        wait: seconds for which the thread was ready and had no core.
        throttled: seconds for which the cgroup had used up its quota.
        steal: share that the hypervisor took from these cores.
    """

    cpu: float
    core: float | None
    wait: float | None
    throttled: float | None
    steal: float | None


class Processor:
    """Measures the use of the processor between two calls of `used`, for this process and the creating thread."""

    def __init__(self) -> None:
        thread = threading.get_native_id()
        self._schedstat = _opened(Path(f"/proc/self/task/{thread}/schedstat"))
        self._stat = _opened(Path("/proc/stat"))
        self._cgroup, self._unit = -1, NANOSECONDS
        for path, unit in cgroup_files(_text(Path("/proc/self/cgroup"))):
            if (number := _opened(path)) >= 0:
                self._cgroup, self._unit = number, unit
                break
        self._last = self._counters()

    def used(self) -> Used:
        """Return the use since the last call. A call takes 30 to 60 µs on two cores."""
        now, last = self._counters(), self._last
        self._last = now
        cpu, wait, throttled, cores = now
        busy = stolen = total = 0
        for core in cores.keys() & last[3].keys():
            times = [new - old for new, old in zip(cores[core], last[3][core], strict=True)]
            total += sum(times)
            busy += sum(times) - times[IDLE] - times[IOWAIT]
            stolen += times[STEAL]
        return Used(
            cpu - last[0],
            busy / total if total > 0 else None,
            _difference(wait, last[1]),
            _difference(throttled, last[2]),
            stolen / total if total > 0 else None,
        )

    def close(self) -> None:
        """Close the files. A second call does nothing."""
        for number in (self._schedstat, self._stat, self._cgroup):
            if number >= 0:
                os.close(number)
        self._schedstat = self._stat = self._cgroup = -1

    def _counters(self) -> tuple[float, float | None, float | None, dict[bytes, list[int]]]:
        waited = _read(self._schedstat).split()
        throttled = None
        for line in _read(self._cgroup).splitlines():
            if line.startswith(b"throttled_") and line.split()[0] in (b"throttled_usec", b"throttled_time"):
                throttled = int(line.split()[1]) / self._unit
        allowed = {b"cpu%d" % core for core in os.sched_getaffinity(0)}
        cores = {}
        for line in _read(self._stat).splitlines():
            name, _, times = line.partition(b" ")
            if name in allowed:
                cores[name] = [int(number) for number in times.split()[:ALL_TIMES]]
            elif not name.startswith(b"cpu"):
                break
        return time.process_time(), int(waited[1]) / NANOSECONDS if len(waited) > 1 else None, throttled, cores


def _difference(now: float | None, last: float | None) -> float | None:
    return None if now is None or last is None else now - last


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _read(number: int) -> bytes:
    try:
        return os.pread(number, SIZE, 0) if number >= 0 else b""
    except OSError:  # the cgroup was removed
        return b""


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def cgroup_files(membership: str) -> list[tuple[Path, float]]:
    """The possible paths of a cgroup's cpu.stat, each with the number of its time units in a second.

    Use the first file that exists. In a container the path may be the path on the host; the cgroup is then mounted as
    the root.

    Args:
        membership: the text of /proc/self/cgroup.
    """
    files = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            roots, unit = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"), NANOSECONDS
        elif not controllers:
            roots, unit = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"), 1e6
        else:
            continue
        files += [(Path(root) / part, unit) for root in roots for part in (path.lstrip("/"), "")]
    return [(folder / "cpu.stat", unit) for folder, unit in files]
