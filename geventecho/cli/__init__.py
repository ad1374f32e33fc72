"""The command line."""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command of this process's arguments, and return the exit code: `geventecho.cli.commands.main`.

    The other imports take about 0.3 s. A signal in that time must neither kill a server nor print a traceback.
    """
    try:
        if sys.argv[1:2] == ["serve"]:
            for number in (signal.SIGHUP, signal.SIGUSR1):
                # A handler and not SIG_IGN, which would mean that nohup(1) started the server.
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, lambda *_: None)
        from geventecho.cli import commands  # noqa: PLC0415

        return commands.main()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
