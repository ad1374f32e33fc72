"""bench.run in which every scenario with messages of 64 bytes fails."""

from __future__ import annotations

import sys
from unittest.mock import patch

from bench.contenders import BenchError, Server
from bench.driving import Result, drive
from bench.run import main


def failing(server: Server, arguments: tuple[str, ...], *, cpu: int, tls: bool) -> Result:
    if "64" in arguments:
        raise BenchError("as the test asks")
    return drive(server, arguments, cpu=cpu, tls=tls)


if __name__ == "__main__":
    with patch("bench.rounds.drive", failing):
        sys.exit(main(sys.argv[1:]))
