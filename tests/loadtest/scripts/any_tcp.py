"""Scripts of test_any_tcp.py."""

from __future__ import annotations

from locust.argument_parser import get_parser

from geventecho.errors import ConfigError
from loadtests.any_tcp import Exchange


def error_of(*options: str) -> str:
    """The message about these options of any_tcp.py."""
    try:
        Exchange.of(vars(get_parser().parse_args(list(options))))
    except ConfigError as error:
        return str(error)
    return ""
