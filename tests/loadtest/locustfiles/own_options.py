"""A locustfile with its own options. The package once had an option with the name --think-time."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import locust
from locust.env import Environment

from tests.loadtest.locustfiles.two_classes import Own

__all__ = ["Own"]


@locust.events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--think-time", type=float, default=3.0)
    parser.add_argument("--later", default="")


@locust.events.init.add_listener
def on_init(environment: Environment, **_: Any) -> None:
    given = environment.parsed_options
    assert given is not None
    print("options:", given.think_time, given.later, given.tcp_think_time, flush=True)
