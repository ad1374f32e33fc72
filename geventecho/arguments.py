"""What the commands' parsers share: where options come from, and the types their values have."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import configargparse

from geventecho.address import Address
from geventecho.errors import AddressError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[configargparse.ArgumentParser]

__all__ = ["add_command", "seconds", "seconds_above_zero", "target", "whole_number"]


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


def seconds(text: str) -> float:
    """A number of seconds of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of 0 or more")
    return value


def seconds_above_zero(text: str) -> float:
    """A number of seconds above 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it must be above 0 seconds; leave the option out to switch it off")
    return value


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type for whole numbers from `least` to `most`, both included."""
    bounds = f"{least} or more" if most is None else f"{least} to {most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {bounds}")
        return value

    return parse


def target(text: str) -> Address:
    """A target, as `geventecho.address` reads it."""
    try:
        return Address.parse(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
