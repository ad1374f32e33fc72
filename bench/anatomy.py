"""`python -m bench.anatomy`: where a server's CPU time goes, by perf(1): kernel, interpreter, greenlet, libev, libc."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.contenders import CONTENDERS, OURS, BenchError, Contender, running
from bench.driving import drive
from bench.run import cores
from bench.tables import table

PARTS: Final = (
    ("kernel", re.compile(r"^\[(kernel|guest)")),
    ("greenlet (switches)", re.compile(r"greenlet")),
    ("gevent, libev", re.compile(r"gevent|corecext|libev")),
    ("uvloop and libuv", re.compile(r"uvloop")),
    ("interpreter", re.compile(r"python")),
    ("C library", re.compile(r"^(libc|libm|libpthread|ld-|\[vdso)")),
)
"""Names of the files that perf attributes samples to; the first that fits counts."""


def shares(report: str) -> dict[str, float]:
    """Per cent by part, from `perf report --sort dso`."""
    found: dict[str, float] = {}
    for percent, file in re.findall(r"^\s*([\d.]+)%\s+(\S+)", report, re.MULTILINE):
        part = next((name for name, pattern in PARTS if pattern.search(file)), "everything else")
        found[part] = found.get(part, 0.0) + float(percent)
    return found


def measure(contender: Contender, arguments: tuple[str, ...], cpus: tuple[int, int], folder: Path) -> str:
    """A table for one server under one load."""
    data = folder / "perf.data"
    with running(contender.command, cpu=cpus[0], log=folder / "servers.log") as server:
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-p", str(server.pid), "-o", str(data)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as perf:
            try:
                result = drive(server, (*arguments, "--duration", "4"), cpu=cpus[1])
            finally:
                perf.terminate()
    if result["first_failure"]:
        raise BenchError(result["first_failure"])
    report = subprocess.run(
        ["perf", "report", "-i", str(data), "--sort", "dso", "--stdio"], capture_output=True, text=True, check=True
    )
    server_cost = result["server"]["user_us_per_message"] + result["server"]["system_us_per_message"]
    rows = [
        [part, f"{percent:.1f}", f"{percent / 100 * server_cost:.2f}"]
        for part, percent in sorted(shares(report.stdout).items(), key=lambda item: -item[1])
    ]
    return table(["part", "% of CPU time", "µs a message"], [*rows, ["all", "100.0", f"{server_cost:.2f}"]])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.anatomy", description=__doc__)
    parser.add_argument("--size", default="1024", help="bytes of a message (1024)")
    parser.add_argument("--connections", default="100", help="(100)")
    parser.add_argument("--server", default=OURS.name, choices=[contender.name for contender in CONTENDERS])
    options = parser.parse_args()
    contender = next(each for each in CONTENDERS if each.name == options.server)
    if shutil.which("perf") is None:
        print("bench: perf is not there (Debian's package is linux-perf)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        load = ("--size", options.size, "--connections", options.connections)
        print(f"{contender.name}, {options.size} bytes, {options.connections} connections\n")
        print(measure(contender, load, cores(None, None), Path(folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
