"""The command line: arguments -> config -> who runs it; the only place that configures logging."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import configargparse
import gevent

from geventecho._version import __version__
from geventecho.cli import ping, send, serve
from geventecho.errors import GeventechoError

__all__ = ["main"]

COMMANDS = (serve, send, ping)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; the process's own when left out.

    Returns:
        The exit code. Usage errors leave by SystemExit(2), as argparse does it.
    """
    parser = configargparse.ArgumentParser(
        prog="geventecho",
        description="A TCP echo server and client. `geventecho COMMAND --help` tells more of each command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"geventecho {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=configargparse.ArgumentParser
    )
    for command in COMMANDS:
        command.add_to(commands)
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        options.usage_error(f"unrecognized arguments, here or in the --config file: {' '.join(unknown)}")
    # Ctrl-C reaches a waiting greenlet through the hub, which would print it on the way.
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    try:
        code: int = options.run(options)
    except GeventechoError as error:
        print(f"geventecho {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes at exit: give it nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
