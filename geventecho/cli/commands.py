"""The command line: it parses the arguments, runs a command and turns errors into lines and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

import gevent

from geventecho._version import __version__
from geventecho.cli import load, ping, send, serve
from geventecho.cli.arguments import Parser
from geventecho.cli.standard_io import occupy_standard_descriptors, print_error
from geventecho.errors import AddressError, ConfigError, GeventechoError

__all__ = ["main"]

COMMANDS = (serve, send, ping, load)
MAX_SHOWN: Final = 500
"""Characters of wrong arguments in a message: a file may have many wrong arguments."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; by default the arguments of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: with 2 after a usage error, with 0 after --help and --version.
    """
    occupy_standard_descriptors()
    parser = Parser(
        prog="geventecho",
        description="A TCP echo server and client. `geventecho COMMAND --help` explains a command, with examples.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"geventecho {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        command.add_to(commands)
    options, unknown = parser.parse_known_args(argv)
    command_parser: Parser = options.parser
    if unknown and "locust_arguments" in options:
        options.locust_arguments = unknown
    elif unknown:
        where = f", here or in {options.config}" if options.config else ""
        hint = ""
        if (
            options.command == "send"
            and options.first is not None
            and options.second is None
            and unknown[0].startswith("-")
        ):
            hint = f"; if it is the MESSAGE, write -- {unknown[0]}"
        command_parser.error(f"unrecognized arguments{where}: {' '.join(unknown)[:MAX_SHOWN]}{hint}")
    return _run(options, command_parser)


def _run(options: argparse.Namespace, parser: Parser) -> int:
    # Ctrl-C reaches a waiting greenlet through the hub. The hub would print a traceback of it.
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    try:
        gevent.sleep(0)  # Start the hub: Ctrl-C ends a starting hub, and then nothing can be printed.
        return int(options.run(options))
    except (AddressError, ConfigError) as error:
        parser.error(str(error))
    except GeventechoError as error:
        print_error(f"geventecho {options.command}: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
