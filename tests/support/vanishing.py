"""A host that vanishes, in network namespaces: `unshare -Urn python vanishing.py idle|unsent "{options}"`.

The server runs here, its client in a second namespace behind a veth pair whose far end goes down: no FIN, no RST, no
ICMP. Prints the seconds until both the server and its kernel have freed the connection.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import gevent

from tests.support.watch import Counted


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def is_known_to_the_kernel(port: int) -> bool:
    """Whether the kernel still has a connection of that local port, as ss(8) would show."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(int(line[1].rpartition(":")[2], 16) == port and line[3] != "0A" for line in lines)


def main() -> None:
    output, options = sys.argv[1], ast.literal_eval(sys.argv[2])
    run("ip", "link", "set", "lo", "up")
    inner = subprocess.Popen(["unshare", "-n", "sleep", "300"])
    own = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{inner.pid}/ns/net") == own:
        time.sleep(0.01)
    inside = ["nsenter", "-t", str(inner.pid), "-n"]
    try:
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(inner.pid))
        run("ip", "address", "add", "10.77.0.1/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run(*inside, "ip", "address", "add", "10.77.0.2/24", "dev", "far")
        run(*inside, "ip", "link", "set", "far", "up")
        with Counted(address="10.77.0.1:0", **options) as server:
            client = subprocess.Popen(
                [*inside, sys.executable, "-m", "tests.faults.scripts.vanishing_client", str(server.address.port)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            try:
                assert client.stdin is not None
                assert client.stdout is not None
                assert client.stdout.readline() == "ready\n"
                if output == "unsent":
                    # The link is cut while the server is stopped: it reads the bytes, and its echo gets no ACK.
                    server.signal(19)
                    client.stdin.write("go\n")
                    client.stdin.flush()
                    assert client.stdout.readline() == "sent\n"
                run(*inside, "ip", "link", "set", "far", "down")
                began = time.monotonic()
                server.signal(18)
                while server.counters()["open"] or is_known_to_the_kernel(server.address.port):
                    gevent.sleep(0.05)
                    assert time.monotonic() - began < 120
                took = time.monotonic() - began
                assert server.counters()["ended_vanished"] == 1, server.counters()
                assert server.errors == ""
                print(took)
            finally:
                client.kill()
                client.communicate()
    finally:
        inner.kill()
        inner.wait()


if __name__ == "__main__":
    main()
