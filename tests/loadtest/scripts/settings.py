"""Scripts of test_settings.py."""

from __future__ import annotations

import dataclasses
import os
from argparse import Namespace
from typing import Any

from locust.argument_parser import get_parser
from locust.env import Environment

from geventecho.client import Tls
from geventecho.errors import ConfigError
from geventecho.loadtest import TcpUser
from geventecho.loadtest.arguments import DEFAULTS
from geventecho.loadtest.settings import Settings
from tests.loadtest.locustfiles.two_classes import Own, Plain


def settings(user_class: type[TcpUser], options: Namespace | None) -> list[Any]:
    """The settings of a user of a class in their order, without TLS."""
    user = user_class(Environment(user_classes=[user_class], parsed_options=options))
    return list(dataclasses.astuple(user.settings)[:-1])


def parsed(*arguments: str) -> Namespace:
    options: Namespace = get_parser().parse_args(list(arguments))
    return options


def with_options() -> dict[str, Any]:
    os.environ["GEVENTECHO_LOADTEST_CONNECT_TIMEOUT"] = "9"
    given = parsed(
        "--tcp-payload-size", "7", "--tcp-think-time", "0", "--tcp-request-timeout", "1.5", "--tcp-proxy-protocol", "v2"
    )
    return {
        "plain": settings(Plain, parsed()),
        "own": settings(Own, parsed()),
        "given": settings(Own, given),
        "empty": settings(Own, parsed("--tcp-payload-size", "", "--tcp-think-time=")),
    }


def without_a_command_line() -> list[Any]:
    return [settings(Own, options) for options in (None, Namespace())]


def help_says_the_defaults() -> bool:
    text = " ".join(get_parser().format_help().split())
    return all(f"`{name}` of the user class applies, by default {getattr(TcpUser, name)}." in text for name in DEFAULTS)


def tls_of(*arguments: str) -> dict[str, Any]:
    """The fields of `Tls` with these options."""
    tls = Settings.of(vars(parsed(*arguments)), TcpUser).tls
    assert isinstance(tls, Tls)
    return dataclasses.asdict(tls)


def error_of(name: str, value: Any) -> str:
    """The message about a class whose attribute has this value."""
    try:
        Settings.of({}, type("Wrong", (TcpUser,), {name: value}))
    except ConfigError as error:
        return str(error)
    return ""


def refusal(options: dict[str, Any]) -> str:
    """The message about wrong options."""
    try:
        Settings.of(options, TcpUser)
    except ConfigError as error:
        return str(error)
    return ""
