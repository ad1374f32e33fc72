"""Adds listeners to Locust at the import of `geventecho.loadtest`, and all other parts at Locust's `init` event."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Final, NoReturn

import gevent
import locust
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner
from locust.web import WebUI

from geventecho.errors import AddressError, ConfigError
from geventecho.loadtest import settings
from geventecho.loadtest.arguments import add_arguments
from geventecho.loadtest.locust_internals import Part, replace
from geventecho.loadtest.measure import keep_microseconds
from geventecho.loadtest.run.accounts import Accounts
from geventecho.loadtest.run.arrival_plan import ArrivalPlan
from geventecho.loadtest.run.attached import attach, attached
from geventecho.loadtest.run.description import remember_secrets
from geventecho.loadtest.run.exit_code import USAGE_ERROR, RunSummary
from geventecho.loadtest.run.final_reports import MasterReports, WorkerReports
from geventecho.loadtest.run.live import live_file, live_json, live_of
from geventecho.loadtest.run.master_watch import MasterWatch
from geventecho.loadtest.run.processes import Workers
from geventecho.loadtest.run.result_files import add_file_arguments, check_files
from geventecho.loadtest.run.results import Results, WorkerResults
from geventecho.loadtest.run.server_account import BothEnds
from geventecho.loadtest.run.status_display import StatusDisplay
from geventecho.loadtest.run.stock_files import watch_csv_writer, write_files
from geventecho.loadtest.users import SPAWNED_USERS, tcp_users_of
from geventecho.loadtest.web import Form, Guard, Tab, add_page
from geventecho.net import raise_descriptor_limit
from geventecho.options import INSECURE

__all__ = ["install", "listen"]

logger = logging.getLogger("geventecho.loadtest")

LOCUST_TABLES: Final = "locust.stats_logger"
"""The logger that prints Locust's tables, at level INFO."""

# Seconds for the worker processes to exit after the order to quit.
EXIT_TIMEOUT = 5.0

_workers = Workers()


class Installed:
    """The parts that are installed in an environment, so that no part is installed twice."""

    def __init__(self) -> None:
        self.summary: RunSummary | None = None
        self.plan: ArrivalPlan | None = None
        self.has_web_ui = False


def listen() -> None:
    """Add listeners to this process's Locust. It imports locustfiles before it reads its command line."""
    locust.events.init_command_line_parser.add_listener(_on_parser)
    locust.events.init.add_listener(_on_init)
    # `quitting` calls its listeners in reverse order. So this one is called last, and knows the final exit code.
    locust.events.quitting.add_listener(_on_quitting)


def install(environment: Environment) -> None:
    """Install all parts in an environment. With the command `locust`, Locust's `init` event does this.

    A program that uses Locust as a library calls this function after it has created the runner and, if wanted, the web
    UI. Without the call a `TcpUser` works on an unchanged Locust. If `environment.user_classes` has no `TcpUser`, the
    call does nothing. A second call installs the parts that the first call could not install yet.

    Args:
        environment: Locust's environment.
    """
    if not tcp_users_of(environment):
        return
    raise_descriptor_limit()
    keep_microseconds()
    watch_csv_writer()
    SPAWNED_USERS.tune_collector()
    installed = attached(environment, Installed)
    if installed is None:
        installed = Installed()
        attach(environment, installed)
    if environment.runner is not None and installed.summary is None:
        _install_on_runner(environment, environment.runner, installed)
    if environment.web_ui is not None and not installed.has_web_ui:
        installed.has_web_ui = True
        _install_on_web_ui(environment, environment.web_ui, installed)


def _install_on_runner(environment: Environment, runner: Runner, installed: Installed) -> None:
    """Install the plan of arrivals, and the parts for the end of a test."""
    # Locust inspects its call stack when a test stops. The first inspection reads all source files, which takes 30 ms.
    # Do it now, so that the time is not in the last response times.
    inspect.stack()
    accounts = Accounts(environment, runner)
    if isinstance(runner, WorkerRunner):
        _install_on_worker(environment, runner, accounts, installed)
    else:
        _install_on_master(environment, runner, accounts, installed)


def _install_on_worker(
    environment: Environment, runner: WorkerRunner, accounts: Accounts, installed: Installed
) -> None:
    replace(Part.DEFAULT_OPTIONS, cache)
    WorkerResults(environment, runner)
    WorkerReports(runner)
    watch = MasterWatch(runner)
    installed.summary = summary = RunSummary(environment, accounts, lambda: watch.incomplete)
    installed.plan = ArrivalPlan(environment, runner)
    environment.events.quit.add_listener(lambda **_: summary.log() if watch.incomplete else None)


def _install_on_master(environment: Environment, runner: Runner, accounts: Accounts, installed: Installed) -> None:
    """Install the parts of the master, or of the only process."""

    def incomplete() -> dict[str, str]:
        return reports.incomplete if reports else {}

    # The listeners of both ends must be before those of the results, which contain the account.
    ends = BothEnds(environment, accounts, incomplete)
    # The results must be before the reports: the test ends at the request to stop, not when the workers have answered.
    results = Results(environment, runner, accounts, incomplete, lambda: ends.account)
    reports = MasterReports(runner) if isinstance(runner, MasterRunner) else None
    StatusDisplay(environment, runner, partial(live_of, environment))
    installed.summary = summary = RunSummary(environment, accounts, results.incomplete, results)
    installed.plan = ArrivalPlan(environment, runner, results.follow_plan)
    events = environment.events
    if events is not locust.events:
        events.quitting.add_listener(_on_quitting)

    def on_quitting(**_: Any) -> None:
        # The exit code is set later, so that a failure at the end of a user counts.
        if isinstance(runner, MasterRunner):
            runner.stop(send_stop_to_client=False)
        else:
            runner.stop()

    def on_quit(**_: Any) -> None:
        _workers.wait(EXIT_TIMEOUT)
        try:
            write_files(environment)
        finally:
            summary.log()

    events.quitting.add_listener(on_quitting)
    events.quit.add_listener(on_quit)


def _install_on_web_ui(environment: Environment, web_ui: WebUI, installed: Installed) -> None:
    """Install the guard against foreign requests, the checks of the form, the live page and the tab."""

    def check_plan(options: Mapping[str, Any]) -> None:
        if installed.plan is not None:
            installed.plan.check(options)

    def changed() -> None:
        if installed.plan is not None:
            installed.plan.update()

    allowed = tuple(getattr(environment.parsed_options, "tcp_web_allowed_host", None) or ())
    Guard(web_ui.host, allowed).protect(web_ui)
    Form(
        web_ui,
        lambda host: _check_users(environment, host),
        lambda: settings.class_values(tcp_users_of(environment)),
        check_plan,
        changed,
    )
    add_page(web_ui, partial(live_json, environment), partial(live_file, environment))
    Tab(web_ui, partial(live_of, environment))


def _on_parser(parser: LocustArgumentParser, **_: Any) -> None:
    add_arguments(parser)
    add_file_arguments(parser)
    parser.add_argument(
        "--tcp-web-allowed-host",
        metavar="NAME",
        action="append",
        default=[],
        include_in_web_ui=False,
        help="Another `Host` that the web UI answers to, as name or name:port, such as the name of a proxy or of a "
        "forwarded port. May be repeated.",
        env_var="GEVENTECHO_LOADTEST_WEB_ALLOWED_HOST",
    )
    _workers.watch_forks(parser)
    remember_secrets(parser)


def _on_init(environment: Environment, runner: Runner | None, **_: Any) -> None:
    options = settings.options_of(environment)
    has_tcp_users = bool(tcp_users_of(environment))
    _workers.after_forks(has_tcp_users)
    if not has_tcp_users:
        if options.get("tcp_gate"):  # otherwise nothing would judge the gates, and the run would pass
            _end("--tcp-gate: there is no result to judge, because no user class is a TcpUser")
        return
    if not isinstance(runner, WorkerRunner):
        _check_command_line(environment)
        if settings.is_insecure_run(options, tcp_users_of(environment)):
            logger.warning("insecure TLS: %s", INSECURE)
    if not options.get("tcp_locust_tables"):
        logging.getLogger(LOCUST_TABLES).setLevel(logging.WARNING)
        # Otherwise Locust would still make the tables every two seconds: with 200 rows that blocks the hub for 0.3 s.
        replace(Part.CONSOLE_WRITER, lambda _: lambda _: _write_nothing)
    install(environment)
    # --run-time begins now. A timer counts from the loop's cached time, which is from before the imports: without an
    # update, a run of two seconds could end in its first second.
    gevent.get_hub().loop.update_now()


def _write_nothing() -> None:
    """Replace the greenlet that prints Locust's tables."""


def _on_quitting(environment: Environment, **_: Any) -> None:
    installed = attached(environment, Installed)
    if installed is not None and installed.summary is not None:
        installed.summary.judge()


def _check_users(environment: Environment, host: str | None) -> None:
    """Check the target and the attributes of each `TcpUser` class.

    Args:
        environment: Locust's environment.
        host: the target in the options; if it is empty, the `host` of the class applies.

    Raises:
        AddressError: the target in the options is wrong, or there is no target.
        ConfigError: an attribute of a class, such as `host` or `think_time`, is wrong.
    """
    for user_class in tcp_users_of(environment):
        try:
            settings.target_of(host or user_class.host)
        except AddressError as error:
            if host or not user_class.host:
                raise
            raise ConfigError(f"{user_class.__name__}.host: {error}") from None
        settings.Settings.of({}, user_class)


def _check_command_line(environment: Environment) -> None:
    given = environment.parsed_options
    if given is None:
        return
    starts_now = settings.is_unattended(vars(given))  # otherwise the user can still fill in the form
    try:
        for check in settings.CHECKS if starts_now else ():
            check(vars(given))
        if environment.host or starts_now:
            _check_users(environment, environment.host)
        check_files(vars(given))
    except (AddressError, ConfigError) as error:
        about = "argument --host: " if isinstance(error, AddressError) else ""
        _end(f"{about}{error}")


def _end(error: str) -> NoReturn:
    sys.stderr.write(f"{os.path.basename(sys.argv[0])}: error: {error}\n")  # Locust's messages have this name too
    sys.exit(USAGE_ERROR)
