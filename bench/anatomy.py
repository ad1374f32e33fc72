"""The parts of servers' CPU time by perf(1): kernel, interpreter, greenlet, libev, C library."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.contenders import CONTENDERS, OURS, BenchError, running
from bench.driving import drive
from bench.rounds import print_progress
from bench.tables import table

if TYPE_CHECKING:
    from bench.contenders import Contender
    from bench.rounds import Bench

__all__ = ["TITLE", "profile", "seconds"]

KERNEL: Final = "kernel"
PARTS: Final = (
    (KERNEL, re.compile(r"^\[(kernel|guest)|\.ko$")),
    ("greenlet (switches)", re.compile(r"greenlet")),
    ("gevent and libev", re.compile(r"gevent|corecext|libev")),
    ("uvloop and libuv", re.compile(r"^loop\.cpython|uvloop")),
    ("interpreter", re.compile(r"python")),
    ("C library", re.compile(r"^(libc|libm|libpthread|ld-|\[vdso)")),
    ("the program itself", re.compile(r"")),
)
"""Names of the files to which perf attributes samples; the first pattern that fits counts."""

SERVERS: Final = (OURS.name, "gevent recv/sendall", "uvloop Protocol", "C epoll")
SECONDS: Final = 3.0
TITLE: Final = "Where the CPU time of a 1 KiB message goes"


def seconds(connections: tuple[int, ...]) -> float:
    """About the seconds that profile() takes."""
    return len(connections) * len(SERVERS) * (SECONDS + 1.5)


def shares(report: str) -> dict[str, float]:
    """Per cent by part, from `perf report --sort dso`."""
    found: dict[str, float] = {}
    for percent, file in re.findall(r"^\s*([\d.]+)%\s+(\S+)", report, re.MULTILINE):
        part = next(name for name, pattern in PARTS if pattern.search(file))
        found[part] = found.get(part, 0.0) + float(percent)
    return found


def profile(bench: Bench, connections: tuple[int, ...]) -> str:
    """A table for each number of connections: a row for each part, a column for each server that can run here.

    Raises:
        BenchError: perf is not installed, or a run failed.
    """
    if shutil.which("perf") is None:
        raise BenchError("perf is not installed (Debian's package is linux-perf)")
    contenders = [each for each in CONTENDERS if each.name in SERVERS and each.lacks() is None]
    tables = []
    for count in connections:
        print_progress(f"profile: {count} connections")
        load = ("--size", "1024", "--connections", str(count), "--duration", str(SECONDS))
        tables.append(_table(count, {contender.name: _costs(contender, load, bench) for contender in contenders}))
    print_progress("")
    return "\n".join(tables)


def _table(connections: int, costs: dict[str, dict[str, float]]) -> str:
    parts = [part for part, _ in PARTS if any(part in cost for cost in costs.values())]
    rows = [[part, *(f"{cost.get(part, 0.0):.2f}" for cost in costs.values())] for part in parts]
    rows.append(["all", *(f"{sum(cost.values()):.2f}" for cost in costs.values())])
    return table([f"µs a message, {connections:,} connections", *costs], rows)


def _costs(contender: Contender, load: tuple[str, ...], bench: Bench) -> dict[str, float]:
    """Microseconds a message by part: perf's shares of the time on the server's CPU clock."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        with running(contender.command, cpu=bench.server_cpu, log=bench.log) as server:
            command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-p", str(server.pid), "-o", str(data)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as perf:
                try:
                    result = drive(server, load, cpu=bench.driver_cpu)
                finally:
                    perf.terminate()
                    _, errors = perf.communicate()
        if result["first_failure"]:
            raise BenchError(f"{contender.name}: {result['first_failure']}")
        report = subprocess.run(
            ["perf", "report", "-i", str(data), "--sort", "dso", "--stdio"], capture_output=True, text=True, check=False
        )
    found = shares(report.stdout)
    if not found:
        raise BenchError(f"perf took no samples: {(errors or report.stderr).strip()}")
    if KERNEL not in found:  # its time would be shared out among the others
        raise BenchError("perf sees nothing of the kernel: be root, or `sysctl kernel.perf_event_paranoid=1`")
    cost = result["server"]["user_us_per_message"] + result["server"]["system_us_per_message"]
    return {part: percent / 100 * cost for part, percent in found.items()}
