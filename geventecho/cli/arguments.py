"""What the commands' parsers share: where options come from."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

import configargparse

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[configargparse.ArgumentParser]

__all__ = ["add_command"]


def add_command(
    commands: Commands,
    name: str,
    *,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
    epilog: str = "",
) -> configargparse.ArgumentParser:
    """Add a command's parser; its options also come from the environment and from a `--config` file.

    The environment names carry the command (GEVENTECHO_SERVE_PORT): Kubernetes puts GEVENTECHO_PORT=tcp://… into every
    pod beside a service named geventecho, and it must not be taken for an option.

    Args:
        commands: what `add_subparsers` returned.
        name: the command, such as "serve".
        summary: its line in `geventecho --help`.
        description: the head of its own help.
        run: takes the parsed options and returns the exit code; `usage_error` among them takes a text and exits with 2.
        epilog: examples for the end of its help.
    """
    prefix = f"GEVENTECHO_{name.upper()}_"
    parser: configargparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"{epilog}\n\nEvery option can also stand in a --config file (`name = value` lines) or in the "
        f"environment as {prefix}NAME;\nthe command line wins over the environment, the environment over the file.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        auto_env_var_prefix=prefix,
        add_env_var_help=False,
        add_config_file_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", is_config_file=True, help="read options from this file")
    parser.set_defaults(run=run, usage_error=parser.error)
    return parser
