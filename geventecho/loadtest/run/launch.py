"""The launcher behind `make loadtest`: Locust with a web UI on loopback, and with an echo server on request."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from functools import partial
from typing import Any, Final, NoReturn

import gevent
import locust
from locust.argument_parser import LocustArgumentParser

from geventecho.loadtest.locust_internals import check_words, is_known, locust_main, locust_parser
from geventecho.loadtest.run.description import TYPED_WORDS
from geventecho.loadtest.run.exit_code import USAGE_ERROR
from geventecho.net import die_with_parent

__all__ = ["OwnServer", "main"]

# The defaults in place of Locust's: every interface, no users, and one user a second.
DEFAULTS: Final = {"web_host": "127.0.0.1", "master_bind_host": "127.0.0.1", "num_users": 1000, "spawn_rate": 100.0}
# Seconds for our server to listen, and to end after SIGTERM.
SERVER_TIMEOUT: Final = 30.0
HELP: Final = frozenset({"-h", "--help"})


class OwnServer:
    """`geventecho serve` on a free port of this machine, until this process ends.

    The server has its own session, so that Ctrl-C does not end it before the users. The kernel ends the server when
    this process is killed.

    Attributes:
        target: the address of the server, as text.

    Raises:
        RuntimeError: the server did not start; its message is on standard error.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "geventecho", "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, self._owner),  # noqa: PLW1509  (no threads here: see Locust's patching)
        )
        atexit.register(self.stop)
        line = ""
        assert self._process.stdout is not None  # noqa: S101
        with gevent.Timeout(SERVER_TIMEOUT, False):
            line = self._process.stdout.readline().strip()
        if not line.startswith("listening on "):
            raise RuntimeError("the echo server did not start")
        self.target = line.removeprefix("listening on ")

    def stop(self) -> None:
        """End the server, and wait for its end. Does nothing in a forked worker, which has a copy of this object."""
        if os.getpid() != self._owner:
            return
        self._process.terminate()
        try:
            self._process.wait(SERVER_TIMEOUT)
        except (subprocess.TimeoutExpired, SystemExit, KeyboardInterrupt):  # a second signal ends both at once
            self._process.kill()


def main() -> NoReturn:
    """Run Locust with this process's arguments. Raises SystemExit with Locust's exit code."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until Locust handles Ctrl-C, it ends us without a traceback
    arguments = sys.argv[1:]
    # Usage errors begin with this name.
    sys.argv[0] = "geventecho load" if TYPED_WORDS else "geventecho.loadtest"
    locust.events.init_command_line_parser.add_listener(_set_up)
    locust.events.init_command_line_parser.add_listener(_check_users)
    locust.events.init.add_listener(_interrupt_main_greenlet)
    options = _parse(arguments)
    if _runs_test(options, arguments):
        _check_ports(options)
        if path := options.tcp_report or options.html_file:
            atexit.register(_print_report_path, path, os.getpid())
        if options.own_server and not options.host:
            try:
                target = OwnServer().target
            except RuntimeError as error:
                _end(str(error))
            print(f"{sys.argv[0]}: started an echo server to test, {target}", file=sys.stderr, flush=True)
            arguments = ["--host", target, *arguments]
    sys.argv[1:] = arguments
    try:
        locust_main()
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _interrupt_main_greenlet(**_: Any) -> None:
    """Make Ctrl-C end the main greenlet. Python would raise it in the running greenlet, where Locust may ignore it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.get_hub().parent, KeyboardInterrupt)


def _set_up(parser: LocustArgumentParser, **_: Any) -> None:
    parser.set_defaults(**DEFAULTS)
    parser.add_argument(
        "--own-server",
        action="store_true",
        include_in_web_ui=False,
        help="Without --host, start an echo server and test it, whatever `host` the user classes have.",
    )


def _check_users(parser: LocustArgumentParser, **_: Any) -> None:
    """Make a word that names no user class a usage error. Locust would refuse it later, after its first log lines.

    At this point Locust has imported the locustfiles.
    """

    def check(word: str) -> str:
        before = sys.argv[sys.argv.index(word) - 1] if word in sys.argv else ""
        is_option = before.startswith("-") and before != "--" and "=" not in before
        if is_option and not is_known(parser, before):
            return word  # the parser's message is better
        if not _is_user_class(word):
            no_value = f", and {before} takes no value" if is_option else ""
            hint = "; --tcp-json FILE writes the result" if before == "--json" else ""
            parser.error(f"{word}: there is no user class of this name{no_value}{hint}")
        return word

    check_words(parser, check)


def _is_user_class(name: str) -> bool:
    """Whether a user class has this name, as its own name or in a module."""
    in_modules = [getattr(module, "__dict__", {}).get(name) for module in list(sys.modules.values())]
    named = [found for found in in_modules if isinstance(found, type)]
    classes: list[type[locust.User]] = [locust.User]
    for found in classes:
        if not found.abstract and (found.__name__ == name or found in named):
            return True
        classes += found.__subclasses__()
    return False


def _parse(arguments: list[str]) -> Namespace:
    """Parse Locust's options and --tcp-report from command line, environment and files, and ignore other options."""
    parser = locust_parser()
    parser.allow_abbrev = False  # an option of the locustfile must not count as a short form of a Locust option
    _set_up(parser)
    parser.add_argument("--tcp-report", default="", env_var="GEVENTECHO_LOADTEST_REPORT")
    options: Namespace = parser.parse_known_args(arguments)[0]
    return options


def _runs_test(options: Namespace, arguments: list[str]) -> bool:
    """Whether this process runs a test: it neither is a worker of another master nor only prints information."""
    only_prints = options.list_commands or options.show_task_ratio or options.show_task_ratio_json
    return not (options.worker or only_prints or HELP & set(arguments))


def _print_report_path(path: str, owner: int) -> None:
    """Print the path of the report at the end: by then Locust's tables have scrolled the first lines off the screen.

    Args:
        path: the path of the report. Nothing is printed if the report was not written.
        owner: the process that prints; forked workers have the same exit handler.
    """
    if os.getpid() == owner and os.path.exists(path):
        print(f"report: {path}", file=sys.stderr)


def _check_ports(options: Namespace) -> None:
    """End with one line if a port is in use. Locust would print a traceback after everything has started.

    If two masters used the same port, the workers of the second would join the test of the first.
    """
    if not options.headless:
        _check_port("the web UI", options.web_host, options.web_port, "--web-port")
    if options.processes:
        ports = "--master-bind-port and --master-port, which must be the same"
        _check_port("the master", options.master_bind_host, options.master_bind_port, ports)
    elif options.master:
        _check_port("the master", options.master_bind_host, options.master_bind_port, "--master-bind-port")


def _check_port(name: str, host: str, port: int, see: str) -> None:
    host = "" if host == "*" else host
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        why = "another program uses this port" if error.errno == errno.EADDRINUSE else error.strerror
        _end(f"{name} cannot listen on {host}:{port}: {why}; see {see}")


def _end(reason: str) -> NoReturn:
    """Print the reason why no test begins, and exit."""
    print(f"{sys.argv[0]}: {reason}", file=sys.stderr)
    sys.exit(USAGE_ERROR)
