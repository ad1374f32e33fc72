"""Clients of many addresses, in a network namespace: `unshare -Urn python grouping.py` prints the served ones as JSON.

A cap of one for each address, some allowed and some denied, on a listener that takes IPv6 and IPv4.
"""

from __future__ import annotations

import json
import socket
import subprocess

from tests.support.watch import Counted

NETWORKS = ("2001:db8::1/64", "2001:db8::2/64", "2001:db8:0:1::1/64", "2001:db8:0:1::2/64")
CLIENTS = (
    "2001:db8::1",
    "2001:db8::2",  # of the same /64
    "2001:db8:0:1::1",
    "2001:db8:0:1::2",  # denied
    "127.0.0.2",
    "127.0.0.2",
    "127.0.0.9",  # denied
    "::1",  # not allowed
)


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for network in NETWORKS:
        subprocess.run(["ip", "address", "add", network, "dev", "lo", "nodad"], check=True)
    allow, deny = ["2001:db8::/32", "127.0.0.0/8"], ["2001:db8:0:1::2", "::ffff:127.0.0.9"]
    with Counted(address="[::]:0", max_per_address=1, allow=allow, deny=deny) as server:

        def ask(source: str) -> tuple[bool, socket.socket]:
            sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
            sock.settimeout(10)
            sock.bind((source, 0))
            sock.connect((NETWORKS[0].partition("/")[0] if ":" in source else "127.0.0.1", server.address.port))
            try:
                sock.sendall(b"x")
                return sock.recv(1) == b"x", sock
            except ConnectionError:
                return False, sock

        answers = [ask(source) for source in CLIENTS]
        counters = server.wait_for(open=3)
        answers[0][1].close()
        server.wait_for(open=2)
        again, _ = ask("2001:db8::2")
        print(json.dumps({"served": [served for served, _ in answers], "again": again, "counters": counters}))


if __name__ == "__main__":
    main()
