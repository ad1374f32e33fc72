"""What importing geventecho.loadtest adds to Locust."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import gevent
import locust
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import Runner, WorkerRunner
from locust.web import WebUI

from geventecho.errors import AddressError, ConfigError
from geventecho.loadtest import settings
from geventecho.loadtest.measure import install_precision, install_tally
from geventecho.loadtest.run import final_reports
from geventecho.loadtest.run.processes import Workers
from geventecho.loadtest.run.stock_files import replace_csv
from geventecho.loadtest.users import TcpUser, install_task_loop
from geventecho.loadtest.web import Form, Guard

__all__ = ["install"]

USAGE_ERROR = 2


def install() -> None:
    """Hook into this process's Locust, before it parses its command line: a locustfile is imported in time."""
    workers = Workers()
    install_precision()
    install_tally()
    install_task_loop()
    replace_csv()

    def on_parser(parser: LocustArgumentParser, **_: Any) -> None:
        settings.add_arguments(parser)
        parser.add_argument(
            "--tcp-web-allowed-host",
            metavar="NAME",
            action="append",
            default=[],
            include_in_web_ui=False,
            help="A further `Host` the web UI answers to, as name or name:port: that of a proxy or a forwarded port. "
            "May be repeated.",
            env_var="GEVENTECHO_LOADTEST_WEB_ALLOWED_HOST",
        )
        workers.watch_forks(parser)

    def on_init(environment: Environment, runner: Runner, web_ui: WebUI | None, **_: Any) -> None:
        workers.settle()
        # Locust looks at its own call stack when a test stops, and the first time that reads all its source: 30 ms at
        # the start instead of 30 ms in the last response times.
        inspect.stack()
        if not isinstance(runner, WorkerRunner):
            _check_command_line(environment)
        final_reports.install(environment, runner, workers)
        if web_ui is not None:
            allowed = tuple(environment.parsed_options.tcp_web_allowed_host) if environment.parsed_options else ()
            Guard(web_ui.host, allowed).protect(web_ui)
            Form(
                web_ui,
                lambda host: _check_users(environment, host),
                lambda: settings.class_values(_user_classes(environment)),
            )
        # --run-time begins now. A timer counts from the time the loop last saw, which is that of the imports: a run of
        # two seconds could end in its first.
        gevent.get_hub().loop.update_now()

    locust.events.init_command_line_parser.add_listener(on_parser)
    locust.events.init.add_listener(on_init)


def _check_users(environment: Environment, host: str | None) -> None:
    """Check the target and the attributes of each user class of ours.

    Args:
        environment: Locust's.
        host: the target that was given; where it is empty, the `host` of the class applies.

    Raises:
        AddressError: the target is wrong, or there is none.
        ConfigError: an attribute such as `think_time` is wrong.
    """
    for user_class in _user_classes(environment):
        settings.target_of(host or user_class.host)
        settings.Settings.of({}, user_class)


def _user_classes(environment: Environment) -> list[type[TcpUser]]:
    return [user_class for user_class in environment.user_classes if issubclass(user_class, TcpUser)]


def _check_command_line(environment: Environment) -> None:
    given = environment.parsed_options
    if given is None:
        return
    starts_now = given.headless or given.autostart  # else what is missing can still be filled in
    try:
        for check in settings.CHECKS if starts_now else ():
            check(vars(given))
        if environment.host or starts_now:
            _check_users(environment, environment.host)
    except (AddressError, ConfigError) as error:
        about = "argument --host: " if isinstance(error, AddressError) else ""
        sys.stderr.write(f"locust: error: {about}{error}\n")
        sys.exit(USAGE_ERROR)
