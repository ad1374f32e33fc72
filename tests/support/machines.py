"""Other machines, for a program that runs in a network namespace of its own (see isolation.py)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

__all__ = ["HERE", "Machine", "machines"]

HERE = "10.77.0.1"
"""The address of this machine for the others."""
HOST_NAME = "/proc/sys/kernel/hostname"


class Machine:
    """A network namespace with a link to this one, and a host name.

    The namespace has no name. It lives as long as a process that ends at the end of its standard input, so it also ends
    when this process is killed.

    Args:
        number: of this machine, from 1.

    Attributes:
        name: of the host.
        prefix: the words before a command: it runs on the machine.
    """

    def __init__(self, number: int) -> None:
        self.name = f"machine{number}"
        self._link = f"far{number}"
        self._holder = subprocess.Popen(
            ["unshare", "-n", "-u", "sh", "-c", f"echo {self.name} > {HOST_NAME} && echo ready && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        pid = str(self._holder.pid)
        self.prefix = ("nsenter", "-t", pid, "-n", "-u")
        near, there = f"10.77.{number}.1", f"10.77.{number}.2"
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "near", "netns", pid)
        run("ip", "address", "add", f"{near}/24", "dev", self._link)
        run("ip", "link", "set", self._link, "up")
        run(*self.prefix, "ip", "link", "set", "lo", "up")
        run(*self.prefix, "ip", "address", "add", f"{there}/24", "dev", "near")
        run(*self.prefix, "ip", "link", "set", "near", "up")
        run(*self.prefix, "ip", "route", "add", "default", "via", near)

    def cut(self) -> None:
        """Let no packet pass in either direction, as if a cable had been pulled out on the way."""
        run("ip", "link", "set", self._link, "down")

    def mend(self) -> None:
        """Let packets pass again."""
        run("ip", "link", "set", self._link, "up")

    def end(self) -> None:
        """End the namespace, and the link with it, once no process is left in it."""
        self._holder.communicate()


@contextlib.contextmanager
def machines(number: int) -> Iterator[list[Machine]]:
    """`number` other machines. They reach this one and no others."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{HERE}/32", "dev", "lo")
    with contextlib.ExitStack() as stack:
        made = []
        for index in range(number):
            made.append(Machine(index + 1))
            stack.callback(made[-1].end)
        yield made


def run(*command: str) -> None:
    subprocess.run(command, check=True)
