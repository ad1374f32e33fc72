"""Echoes 256 MiB with a target; prints by how many KiB the process grew, and the bytes received."""

from __future__ import annotations

import os
import resource
import sys

from geventecho.client import connect


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    payload = os.urandom(2**20) * 256
    with connect(sys.argv[1]) as client:
        client.echo(payload[: 2**20])
        before = peak_memory()
        assert client.echo(payload) is payload
        print(peak_memory() - before, client.bytes_received)


if __name__ == "__main__":
    main()
