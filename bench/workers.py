"""The gain by a second worker: CPU time of the server for each 1 KiB message, with one process and with workers.

The driver needs more than half a core for itself. So on two cores the driver limits the messages a second of two
workers, and not the server. The CPU time of a message gives their capacity: two workers on two cores serve twice the
messages of one process if a message costs the same. `times` is 2 x (its cost with one process / its cost here).
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.driving import DRIVER

ROUNDS: Final = 5
SECONDS: Final = "4"
CONNECTIONS: Final = ("100", "1000")
MODES: Final = {"one process": (), "1 worker": ("--workers", "1"), "2 workers": ("--workers", "2")}
TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children, so far."""
    total = 0
    for each in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def measure(mode: str, connections: str) -> tuple[float, float]:
    """Microseconds of CPU time for each message, and messages a second."""
    command = [sys.executable, "-m", "geventecho", "serve", "--port", "0", *MODES[mode]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().rpartition(":")[2].strip()
            before = cpu_seconds(server.pid)
            done = subprocess.run(
                [str(DRIVER), "--port", port, "--connections", connections, "--duration", SECONDS, "--warmup", "0"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            result = json.loads(done.stdout)
            used = cpu_seconds(server.pid) - before
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()
    return 1e6 * used / result["messages"], result["messages"] / float(SECONDS)


def main() -> None:
    """Measure all modes in each round, and print medians."""
    print("| connections | server | CPU us a message | messages a second | times |\n|---|---|---|---|---|")
    for connections in CONNECTIONS:
        found = {mode: [measure(mode, connections)] for mode in MODES}
        for _ in range(ROUNDS - 1):
            for mode in MODES:
                found[mode].append(measure(mode, connections))
        alone = statistics.median(cost for cost, _ in found["one process"])
        for mode, figures in found.items():
            cost, rate = (statistics.median(column) for column in zip(*figures, strict=True))
            times = (2 if mode == "2 workers" else 1) * alone / cost
            print(f"| {connections} | {mode} | {cost:.2f} | {rate:,.0f} | {times:.2f} |")


if __name__ == "__main__":
    main()
