"""A load test over three machines: `unshare -Urn python distributing.py scenario directory option…`.

Master and server are here, each of the two workers is on a machine of its own. The options are the master's. Prints
its findings as JSON. The logs are in the directory.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.locust_process import ECHO_USER, EchoServerProcess, LocustRun
from tests.support.machines import HERE, Machine, machines
from tests.support.timing import SCALE, wait_until

Found = dict[str, Any]
LOAD = ("-u", "10", "-r", "10", "--tcp-think-time", "0.02")
SECONDS = 30 * SCALE
BOUND = ("setpriv", "--pdeathsig", "KILL")
"""The words before a command: the kernel ends it when this program is killed, as by the test's time limit."""


class Lab:
    """The processes of a load test.

    Args:
        directory: for their logs.
        hosts: the machines of the workers.
        stack: ends the processes.
        target: of the server.
        options: of the master.

    Attributes:
        master: the master, on this machine.
        workers: all workers that were started.
    """

    def __init__(
        self, directory: Path, hosts: list[Machine], stack: contextlib.ExitStack, target: str, *options: str
    ) -> None:
        self._directory = directory
        self._stack = stack
        self.hosts = hosts
        arguments = ("--master", "--master-bind-host", HERE, "--host", target, *LOAD, *options)
        self.master = stack.enter_context(LocustRun(directory, *arguments, locustfile=ECHO_USER, prefix=BOUND))
        self.workers: list[LocustRun] = []
        for host in hosts:
            self.start_worker(host)

    def start_worker(self, host: Machine) -> None:
        """Start a worker on a machine."""
        directory = self._directory / f"worker{len(self.workers)}"
        directory.mkdir()
        worker = LocustRun(
            directory, "--worker", "--master-host", HERE, locustfile=ECHO_USER, own_server=False,
            master_port=self.master.master_port, prefix=(*BOUND, *host.prefix),
        )  # fmt: skip
        self.workers.append(self._stack.enter_context(worker))

    def live(self) -> Found:
        """The data of the live page, without the series."""
        status, body = self.master.request("/tcp/live.json?row=none")
        assert status == 200, body
        found: Found = json.loads(body)
        return found

    def tab(self) -> list[str]:
        """The lines of the tab."""
        (table,) = (table for table in self.master.stats()["extended_stats"] if table["key"] == "tcp")
        return [" ".join(line.values()) for line in table["data"]]

    def good(self, host: Machine) -> int:
        """The good operations of the workers on a machine that the live page shows."""
        return sum(worker["ok"] for worker in self.live().get("workers", ()) if worker["id"].startswith(host.name))

    def swarm(self, users: int) -> None:
        """Press the start button, or change the number of users."""
        answer = self.master.swarm(user_count=users, spawn_rate=users)
        assert answer["success"], answer

    def wait_for_good(self, host: Machine, more: int = 100) -> None:
        """Wait until the live page shows `more` further good operations on a machine."""
        before = self.good(host)
        wait_until(lambda: self.good(host) >= before + more, SECONDS, f"good operations on {host.name}")

    def start(self, users: int) -> None:
        """Start a test once both workers are ready, and wait for operations of both."""
        self.master.wait_for_ui()
        wait_until(lambda: self.master.log.count("reported as ready") >= 2, SECONDS, "two workers")
        self.swarm(users)
        wait_until(lambda: self.live()["state"] == "running", SECONDS, "a test that runs")
        for host in self.hosts:
            self.wait_for_good(host)

    def change(self, users: int) -> None:
        """Change the number of users, and wait until as many connections are open."""
        self.swarm(users)
        wait_until(lambda: self.live()["connections"]["open"] == users, SECONDS, f"{users} users")

    def stop(self) -> Found:
        """Stop the test. Returns its result as the live page, the tab and the download show it."""
        self.master.stop()
        wait_until(lambda: self.live()["state"] == "stopped", SECONDS, "the end of the test")
        status, body = self.master.request("/tcp/result.json")
        assert status == 200, body
        return {"live": self.live(), "tab": self.tab(), "download": json.loads(body)}

    def quit(self) -> list[int]:
        """End the master, and with it the workers; returns their exit codes."""
        self.master.process.send_signal(signal.SIGTERM)
        return [run.wait(2 * SECONDS) for run in (self.master, *self.workers)]


@contextlib.contextmanager
def lab(directory: Path, *options: str) -> Iterator[tuple[Lab, Found]]:
    """A load test with two workers, and a dict that gets the server's `counters` at the end."""
    found: Found = {}
    with machines(2) as hosts, EchoServerProcess(HERE) as server, contextlib.ExitStack() as stack:
        yield Lab(directory, hosts, stack, server.target, *options), found
    found["counters"] = server.counters


def merged(directory: Path, *options: str) -> Found:
    """A run from its start to its end."""
    with lab(directory, *options, "--headless", "--expect-workers", "2", "-t", "3", "--stop-timeout", "5") as (
        processes,
        found,
    ):
        found["codes"] = [run.wait(2 * SECONDS) for run in (processes.master, *processes.workers)]
    return found


def lost(directory: Path, lose: Callable[[Lab], None], *options: str) -> Found:
    """A worker is lost in a test of the web UI. The other worker goes on, and so does the lost one if it lives."""
    with lab(directory, *options) as (processes, found):
        processes.start(10)
        lose(processes)
        begun = time.monotonic()
        wait_until(lambda: processes.live()["verdict"]["status"] == "incomplete", SECONDS, "the verdict on the page")
        found["page_s"] = time.monotonic() - begun
        wait_until(lambda: "incomplete" in processes.tab()[1], SECONDS, "the verdict in the tab")
        found["tab_s"] = time.monotonic() - begun
        processes.wait_for_good(processes.hosts[1], 1000)
        processes.workers[0].wait(SECONDS)
        found.update(processes.stop())
        found["codes"] = processes.quit()
    return found


def killed(directory: Path, *options: str) -> Found:
    """A worker is killed."""
    return lost(directory, lambda processes: processes.workers[0].process.kill(), *options)


def cut_off(directory: Path, *options: str) -> Found:
    """A worker is cut off from master and server."""
    return lost(directory, lambda processes: processes.hosts[0].cut(), *options)


def back(directory: Path, *options: str) -> Found:
    """A worker is cut off for some seconds. Then it goes on, and no result is missing."""
    with lab(directory, *options) as (processes, found):
        processes.start(10)
        host = processes.hosts[0]
        host.cut()
        wait_until(lambda: processes.live()["verdict"]["status"] == "incomplete", SECONDS, "the loss")
        host.mend()
        wait_until(lambda: processes.live()["verdict"]["status"] != "incomplete", SECONDS, "its return")
        processes.wait_for_good(host)
        found.update(processes.stop())
        found["codes"] = processes.quit()
    return found


def replaced(directory: Path, *options: str) -> Found:
    """A worker is killed, and a new one takes its place."""
    with lab(directory, *options) as (processes, found):
        processes.start(10)
        processes.workers[0].process.kill()
        wait_until(lambda: processes.live()["verdict"]["status"] == "incomplete", SECONDS, "the loss")
        # Until then Locust counts the lost worker too, and gives it a share of the users.
        wait_until(lambda: "setting state to missing" in processes.master.log, SECONDS, "Locust's own notice of it")
        before = processes.live()["workers"]
        processes.start_worker(processes.hosts[0])
        wait_until(lambda: len(processes.live()["workers"]) == len(before) + 1, SECONDS, "a third worker")
        processes.wait_for_good(processes.hosts[0])
        found.update(processes.stop())
        # The next test has two workers, and lacks none.
        processes.start(6)
        found["next"] = processes.stop()
        found["codes"] = processes.quit()
    return found


def left(directory: Path, *options: str) -> Found:
    """A worker is ended by SIGTERM; the other worker gets its users."""
    with lab(directory, *options) as (processes, found):
        processes.start(10)
        processes.workers[0].process.send_signal(signal.SIGTERM)
        processes.workers[0].wait(SECONDS)
        wait_until(lambda: processes.live()["connections"]["open"] == 10, SECONDS, "its users elsewhere")
        processes.wait_for_good(processes.hosts[1])
        found.update(processes.stop())
        found["codes"] = processes.quit()
    return found


def tests_of_the_web_ui(directory: Path, *options: str) -> Found:
    """Two tests; in the first one the number of users is changed up and down. Each is complete."""
    with lab(directory, *options) as (processes, found):
        processes.start(4)
        processes.change(10)
        processes.change(6)
        found["first"] = processes.stop()
        processes.start(8)
        found["second"] = processes.stop()
        found["codes"] = processes.quit()
    return found


SCENARIOS = {
    scenario.__name__: scenario for scenario in (merged, killed, cut_off, back, replaced, left, tests_of_the_web_ui)
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
