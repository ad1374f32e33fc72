"""The private parts of Locust that the load test uses. No other file names a private part.

A part is private if Locust's documentation does not describe it. A new release may rename or remove it without notice.
So each part has a fallback. With a fallback the load test is slower or its output is plainer; its numbers stay right.
`tests/loadtest/test_locust_internals.py` looks up each name of this file in the installed Locust, and tests the load
test without it. It cannot rename `master_port` and `user_classes`: Locust's own options have these names, too.

======================================================  ==============================================================
missing part                                            effect
======================================================  ==============================================================
`DefaultTaskSet`, `LOCUST_STATE_*`, `User._state`,      users run Locust's own task loop, and a stopped user ends its
`User._taskset_instance`, `TaskSet._task_queue`         pauses only with the stop timeout
`EventHook._handlers`, `_cache_response_times`          every operation fires Locust's event
`bucket_response_time`                                  response times are rounded as Locust rounds them
`to_dict`, `_percentile_fields`                         web UI, HTML report and CSV files show whole milliseconds
`stats_writer`                                          Locust may log at the end that it wrote to a closed CSV file
`stats_printer`                                         Locust makes tables every two seconds that it does not print
`last_received_spawn_timestamp`, `spawning_greenlet`    the last report lacks users that a ramp-up starts after it
`MasterRunner.clients`                                  the master waits for a lost worker as long as for a slow one; no
                                                        worker follows `--tcp-arrival-rate`, and an error says so
`get_worker_index`                                      a lost worker is named by its id alone
`default_args_dict`                                     each order to spawn users blocks a worker for 0.2 seconds
`master_host`, `master_port`                            a worker takes a master that is busy for 7 seconds for dead
`unhandled_greenlet_exception`                          with a gate on failures, a run with failed operations may exit
                                                        with 0 though a greenlet of the locustfile raised an exception
`get_html_report`, `process_html_filename`              the HTML report lacks the events after Locust wrote it
`locust.main.main`                                      the launcher runs `python -m locust` in its own process
`user_classes` of the parser                            a wrong name of a user class exits with 1
`get_empty_argument_parser`, `setup_parser_arguments`   the launcher reads only its command line, not the environment
                                                        and not the configuration files
======================================================  ==============================================================
"""

from __future__ import annotations

import importlib
import logging
import runpy
import sys
import traceback
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Final

import gevent
from gevent import GreenletExit, get_hub
from locust import User, argument_parser, log, stats
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook
from locust.exception import StopTest, StopUser
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import StatsCSV, StatsCSVFileWriter, StatsEntry
from locust.user.task import TaskSet

logger = logging.getLogger(__name__)

# --- the task loop -----------------------------------------------------------------------------------------------

# `from locust.user import task` would import the function of that name, not the module.
_task: Final = importlib.import_module("locust.user.task")
_RUNNING: Final = getattr(_task, "LOCUST_STATE_RUNNING", None)
_WAITING: Final = getattr(_task, "LOCUST_STATE_WAITING", None)
_STOPPING: Final = getattr(_task, "LOCUST_STATE_STOPPING", None)

DefaultTaskSet: Final[Any] = getattr(_task, "DefaultTaskSet", TaskSet)
"""The base of our task loop."""

# The steps that our task loop does itself. A plugin may have replaced a step, for example to limit iterations.
_STEPS: Final = ("run", "wait", "wait_time", "execute_task", "execute_next_task", "get_next_task", "schedule_task")


def run_user(user: User, loop: Callable[[User], Any]) -> bool:
    """Run a user as `User.run` does, but with our task loop.

    Returns:
        False if this Locust does not allow another loop, or if a plugin has replaced a step. Then nothing was done.
    """
    if not has_task_loop():
        return False
    if not (hasattr(user, "_state") and hasattr(user, "_taskset_instance")):
        return False
    taskset = loop(user)
    if not hasattr(taskset, "_task_queue"):
        return False
    user._state = _RUNNING
    user._taskset_instance = taskset
    try:
        try:
            user.on_start()
        except Exception as error:
            logger.error("%s\n%s", error, traceback.format_exc())
            if not isinstance(error, (StopUser, StopTest)):
                user.environment.events.user_error.fire(user_instance=user, exception=error, tb=error.__traceback__)
            raise
        taskset.run()
    except (GreenletExit, StopUser, StopTest):
        user.on_stop()
    return True


def has_task_loop() -> bool:
    """Whether users can run our task loop: this Locust allows another loop, and no plugin has replaced a step."""
    return (
        DefaultTaskSet is not TaskSet
        and None not in (_RUNNING, _WAITING, _STOPPING)
        and all(getattr(getattr(DefaultTaskSet, step, None), "__module__", None) == _task.__name__ for step in _STEPS)
    )


def queue_of(taskset: TaskSet) -> Any:
    """The deque of scheduled tasks that have not begun."""
    return taskset._task_queue


def repeat_task(taskset: Any, user: Any, task: Callable[[User], None]) -> None:
    """Execute a user's only task repeatedly, until the user's tasks change or another task is scheduled.

    This does the same as `execute_task` and `TaskLoop.wait` without their calls. The calls were a tenth of the cost of
    a user without pauses.

    Args:
        taskset: a `TaskLoop`.
        user: the user of the loop. It has a `wait_time`.
        task: the only element of `user.tasks`, a function.
    """
    tasks, queue, loop = user.tasks, taskset._task_queue, get_hub().loop
    while True:
        task(user)
        if user._state == _STOPPING:
            raise StopUser
        user._state = _WAITING  # before wait_time, which may itself wait
        seconds = user.wait_time()
        if seconds > 0 or taskset.last_iteration == loop.iteration:
            gevent.sleep(seconds)
        taskset.last_iteration = loop.iteration
        if user._state == _STOPPING:
            raise StopUser
        user._state = _RUNNING
        if queue or user.tasks is not tasks or len(tasks) != 1 or tasks[0] is not task:
            return


def forget_tasks(user: User) -> None:
    """Release the task loop of an ended user. They reference each other: only the cycle collector would free them."""
    if hasattr(user, "_taskset_instance"):
        user._taskset_instance = None


def _enter(state: Any, user: User) -> None:
    """Set a user's state. A user that is stopped while it waits ends at once, whatever the stop timeout.

    Raises:
        StopUser: the user was stopped.
    """
    now = getattr(user, "_state", None)
    if now is None or state is None:  # the user does not run yet, or this Locust has no such state
        return
    if now == _STOPPING:
        raise StopUser
    user._state = state


begin_wait: Final[Callable[[User], None]] = partial(_enter, _WAITING)
"""To call before a pause."""
end_wait: Final[Callable[[User], None]] = partial(_enter, _RUNNING)
"""To call after a pause."""


# --- the count of requests ---------------------------------------------------------------------------------------

cache_response_times: Final[Callable[[StatsEntry, int], None] | None] = getattr(
    StatsEntry, "_cache_response_times", None
)
"""Keeps a copy of a row's response times at a second; None if Locust has no such function."""


def listeners_of(event: EventHook) -> list[Any]:
    """The event's own list of listeners, which changes when one is added. A new empty list if it cannot be read."""
    listeners = getattr(event, "_handlers", None)
    has_stock_fire = getattr(event.fire, "__module__", None) == EventHook.__module__
    return listeners if isinstance(listeners, list) and has_stock_fire else []


# --- the precision of Locust's numbers ---------------------------------------------------------------------------


class Part(Enum):
    """An attribute of Locust that `replace` replaces: its owner and its name."""

    BUCKET = (stats, "bucket_response_time")
    """Rounds a response time, in milliseconds. Locust's documentation allows its replacement."""
    ROW = (StatsEntry, "to_dict")
    """Makes a row for the web UI and the HTML report."""
    CSV_PERCENTILES = (StatsCSV, "_percentile_fields")
    """Makes the percentiles of a CSV row."""
    CSV_WRITER = (StatsCSVFileWriter, "stats_writer")
    """Writes the CSV files every second, in a separate greenlet."""
    CONSOLE_WRITER = (stats, "stats_printer")
    """Makes the function that prints the tables every two seconds, in a separate greenlet."""
    DEFAULT_OPTIONS = (argument_parser, "default_args_dict")
    """Makes a parser to list Locust's options. A worker calls it for each option in an order to spawn users."""


def replace(part: Part, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Replace a function of Locust by ours, once. Does nothing if this Locust has no such part.

    Args:
        part: the part to replace.
        make: a function that takes Locust's function and returns ours.
    """
    owner, name = part.value
    stock = getattr(owner, name, None)
    if stock is not None and not stock.__module__.startswith("geventecho."):
        setattr(owner, name, make(stock))


# --- the end of a distributed run --------------------------------------------------------------------------------


def ignore_spawn_orders(runner: WorkerRunner) -> None:
    """Ignore orders to spawn users: a worker ignores an order that is older than the last order it obeyed."""
    runner.last_received_spawn_timestamp = sys.maxsize


def forget_spawn_orders(runner: WorkerRunner) -> None:
    """Obey orders to spawn users again."""
    runner.last_received_spawn_timestamp = 0


def kill_spawning(runner: WorkerRunner) -> None:
    """End the greenlet that makes users. If it has not run yet, it would make users after the stop."""
    spawning = getattr(runner, "spawning_greenlet", None)
    if spawning is not None:
        spawning.kill()


def participants(runner: MasterRunner) -> set[str]:
    """The ids of the workers that a test would use if it started now."""
    clients = getattr(runner, "clients", None)
    if clients is None:
        return set()
    return {client.id for client in (*clients.ready, *clients.spawning, *clients.running)}


def is_missing(runner: MasterRunner, worker: str) -> bool:
    """Whether Locust receives no heartbeats from a worker."""
    clients = getattr(runner, "clients", None)
    return clients is not None and (worker not in clients or clients[worker].state == "missing")


def master_address(runner: WorkerRunner) -> tuple[str, int] | None:
    """The address at which a worker's master listens; None if the runner does not have it."""
    try:
        return runner.master_host, runner.master_port
    except AttributeError:
        return None


def worker_name(runner: MasterRunner, worker: str) -> str:
    """A worker's index and id, as in Locust's log."""
    index = getattr(runner, "get_worker_index", None)
    return worker if index is None else f"{index(worker)} ({worker})"


# --- files and command line --------------------------------------------------------------------------------------


def greenlet_failed() -> bool:
    """Whether a greenlet other than a user's has raised an exception."""
    return bool(getattr(log, "unhandled_greenlet_exception", False))


def html_report(environment: Environment) -> tuple[str, str] | None:
    """The path of --html and the current report; None if Locust has no such function."""
    html = importlib.import_module("locust.html")
    try:
        html.process_html_filename(environment.parsed_options)
        report = html.get_html_report(environment, show_download_link=False)
    except AttributeError:
        return None
    options = environment.parsed_options
    return (options.html_file, report) if options is not None else None


def locust_main() -> None:
    """Run Locust with this process's arguments, as the command `locust` does."""
    try:
        main = importlib.import_module("locust.main").main
    except (ImportError, AttributeError):
        runpy.run_module("locust", run_name="__main__", alter_sys=True)
    else:
        main()


def locust_parser() -> LocustArgumentParser:
    """A parser of Locust's own options from command line, environment and files, without --help."""
    try:
        parser = argument_parser.get_empty_argument_parser(add_help=False)
        argument_parser.setup_parser_arguments(parser)
    except AttributeError:
        return _plain_parser()
    return parser


def secret_options(parser: LocustArgumentParser) -> list[str]:
    """The options that a locustfile added with `is_secret`, options outside of the form included.

    Locust's own list has only the options of the form. argparse has had `_actions` since its first release.
    """
    secret = (action for action in parser._actions if getattr(action, "is_secret", False))
    return [name for action in secret for name in action.option_strings]


def check_words(parser: LocustArgumentParser, check: Callable[[str], str]) -> None:
    """Make the parser pass each word of the command line that should name a user class to `check`."""
    for action in parser._actions:
        if action.dest == "user_classes":
            action.type = check


def is_known(parser: LocustArgumentParser, option: str) -> bool:
    """Whether the parser has the option, such as "--json"."""
    return any(option in action.option_strings for action in parser._actions)


def _plain_parser() -> LocustArgumentParser:
    """A parser of the options that the launcher reads, from the command line only."""
    parser = LocustArgumentParser(add_help=False)
    parser.add_argument("-H", "--host")
    parser.add_argument("--web-host", default="")
    parser.add_argument("--html", dest="html_file")
    parser.add_argument("-P", "--web-port", type=int, default=8089)
    parser.add_argument("-l", "--list", action="store_true", dest="list_commands")
    parser.add_argument("--master-bind-host", default="*")
    parser.add_argument("--master-bind-port", type=int, default=5557)
    parser.add_argument("--processes", type=int)
    for name in ("--headless", "--master", "--worker", "--show-task-ratio", "--show-task-ratio-json"):
        parser.add_argument(name, action="store_true")
    return parser
