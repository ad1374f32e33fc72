"""The options that we add to Locust's parser: on the command line, in the environment and as fields of the web UI."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from locust.argument_parser import LocustArgumentParser

from geventecho.errors import ConfigError
from geventecho.loadtest.settings import CLASS_TYPES, TLS_OPTION, TYPES, option
from geventecho.options import add_tls_arguments
from geventecho.results import parse_gates

__all__ = ["DEFAULTS", "HELP", "add_arguments"]

HELP: Final = {
    "payload_size": "Bytes that each echo sends",
    "think_time": "Mean time that a user waits between two tasks, in seconds; 0 is no pause",
    "connect_timeout": "Seconds to resolve the target's name and connect",
    "request_timeout": "Seconds for a request and its whole reply",
    "proxy_protocol": "Begin each connection with a PROXY header of this version, v1 or v2, as a proxy does. The "
    "header names the user's own address",
    "arrival_rate": "Tasks a second in the whole test. Each task begins at a planned instant, whether or not earlier "
    "replies have come, and users do not use their wait time. Give a rate, or stages such as 100:30s,500:1m",
    "arrivals": "Distances between the planned instants: even or poisson. The default is even",
    "max_lateness": "Seconds for which a task waits for a free user after its planned instant. After this time the "
    "task is dropped. The default is the request timeout",
    "seed": "A number that makes Poisson arrivals the same in each test",
    "warm_up": "Time at the start of each test, such as 60 or 1m, that the figures leave out. The result has the "
    "figures of this time separately",
    "account": "Read the server's counters at the start and the end of each test from this page, such as "
    "http://127.0.0.1:9100/metrics, and compare them with the test's own counts. `geventecho serve --metrics` serves "
    "the page",
}
METAVAR: Final = {
    "account": "URL",
    "payload_size": "BYTES",
    "proxy_protocol": "VERSION",
    "arrival_rate": "RATE",
    "arrivals": "KIND",
    "seed": "NUMBER",
}
DEFAULTS: Final = {
    "payload_size": 1024,
    "think_time": 1.0,
    "connect_timeout": 5.0,
    "request_timeout": 5.0,
    "proxy_protocol": None,
}
"""The attributes of `TcpUser`, for --help."""


def add_arguments(parser: LocustArgumentParser) -> None:
    """Add our options to Locust's parser. The web UI would not show the options of a separate argument group."""
    for name, parse in TYPES.items():
        default = f" Without this option the `{name}` of the user class applies, by default {DEFAULTS.get(name)}."
        parser.add_argument(
            option(name),
            type=_checked(parse),
            default="",
            metavar=METAVAR.get(name, "SECONDS"),
            help=f"{HELP[name]}.{default if name in CLASS_TYPES else ''}",
            env_var=f"GEVENTECHO_LOADTEST_{name.upper()}",
        )
    # These options are not in the form: a visitor of the page must not choose files that this machine reads.
    add_tls_arguments(
        parser,
        TLS_OPTION,
        lambda name: {"include_in_web_ui": False, "env_var": f"GEVENTECHO_LOADTEST_TLS_{name.upper()}"},
    )
    _add_switches(parser)


def _add_switches(parser: LocustArgumentParser) -> None:
    """Add the options for the exit code and the log of this process. They are not in the form."""
    parser.add_argument(
        "--tcp-gate",
        metavar="GATE",
        action="append",
        type=_gates,
        default=[],
        include_in_web_ui=False,
        help="Exit with 4 when the last test does not meet this condition, such as 'echo p99 < 5ms', "
        "'failures < 0.1%%' or 'rate > 900/s'. May be repeated; the environment variable has one gate on each line.",
        env_var="GEVENTECHO_LOADTEST_GATES",
    )
    parser.add_argument(
        "--tcp-fail-on-verdict",
        action="store_true",
        include_in_web_ui=False,
        help="Exit with 5 when the verdict on the last test is not `trusted`.",
        env_var="GEVENTECHO_LOADTEST_FAIL_ON_VERDICT",
    )
    parser.add_argument(
        "--tcp-locust-tables",
        action="store_true",
        include_in_web_ui=False,
        help="Print Locust's own tables, too.",
        env_var="GEVENTECHO_LOADTEST_LOCUST_TABLES",
    )


def _gates(text: str) -> str:
    try:
        parse_gates(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _checked(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """Return an argument type that checks a value and returns its text; "" stands for an option that is not given.

    The web form gives a field the type of the option's current value. If that were a number, nobody could empty the
    field: Locust answers an empty number with an internal error.
    """

    def check(text: str) -> str:
        if text.strip():
            parse(text)
        return text

    return check
