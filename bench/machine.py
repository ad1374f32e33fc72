"""The machine and the versions a result belongs to."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from bench.contenders import BenchError

__all__ = ["cores", "describe", "share_a_core"]


def cores(server: int | None, driver: int | None) -> tuple[int, int]:
    """The cores of server and driver: the given ones, or the first two that this process may use.

    Two threads of one core are avoided if there is another core.

    Raises:
        BenchError: there are no two cores, or both are the same.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("a comparison needs two cores: one for the server, one for the driver")
    if server is None:
        server = next(cpu for cpu in allowed if cpu != driver)
    if driver is None:
        driver = min((cpu for cpu in allowed if cpu != server), key=lambda cpu: (share_a_core(server, cpu), cpu))
    if server == driver:
        raise BenchError("server and driver must have different cores")
    return server, driver


def share_a_core(one: int, other: int) -> bool:
    """Whether two CPUs are threads of one core, as far as the kernel knows; a virtual machine's may not know."""
    try:
        numbers = [Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus").read_text() for cpu in (one, other)]
    except OSError:
        return False
    return numbers[0] == numbers[1]


def describe() -> dict[str, str]:
    """The facts of the machine that a reader needs to judge the figures, in the order of their printing."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "commit": _first_line("git", "describe", "--always", "--dirty"),
        "processor": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores to run on",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "congestion control": _setting("net/ipv4/tcp_congestion_control"),
        "somaxconn": _setting("net/core/somaxconn"),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{sys.version.split()[0]}, "
        + ", ".join(_package(name) for name in ("gevent", "uvloop", "trio", "locust")),
        "Node": _first_line("node", "--version"),
        "Go": _first_line("go", "version").removeprefix("go version "),
        "C": _first_line("cc", "--version"),
    }


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "not installed"
    return done.stdout.splitlines()[0] if done.stdout else ""


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _setting(name: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return "not known"


def _package(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"no {name}"
