"""Scripts of test_any_tcp.py."""

from __future__ import annotations

from locust.argument_parser import get_parser

from geventecho.errors import ConfigError
from geventecho.loadtest.settings import CHECKS
from loadtests.any_tcp import AnyTcpUser


def error_of(*options: str) -> str:
    """The error message about these options of `AnyTcpUser`; empty if they are valid."""
    assert AnyTcpUser.abstract is False
    given = vars(get_parser().parse_args(list(options)))
    try:
        for check in CHECKS:
            check(given)
    except ConfigError as error:
        return str(error)
    return ""
