"""The launcher behind `make loadtest`: Locust, bound to this machine, with an echo server of its own if asked."""

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

# Where Locust's own defaults are every interface, no users, and one user a second.
DEFAULTS: Final = {"web_host": "127.0.0.1", "master_bind_host": "127.0.0.1", "num_users": 1000, "spawn_rate": 100.0}
# Seconds for our server to listen, and to end when it is told to.
SERVER_PATIENCE: Final = 30.0
HELP: Final = frozenset({"-h", "--help"})


class OwnServer:
    """`geventecho serve` on a free port of this machine, until this process ends.

    It has a session of its own, so that Ctrl-C does not end it before the users; the kernel ends it when this process
    is killed.

    Attributes:
        target: where it listens, as text.

    Raises:
        RuntimeError: it did not start; its own message is on standard error.
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
        with gevent.Timeout(SERVER_PATIENCE, False):
            line = self._process.stdout.readline().strip()
        if not line.startswith("listening on "):
            raise RuntimeError("the echo server did not start")
        self.target = line.removeprefix("listening on ")

    def stop(self) -> None:
        """End it and wait for that. Forked workers have this object too, and do not end it."""
        if os.getpid() != self._owner:
            return
        self._process.terminate()
        try:
            self._process.wait(SERVER_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()


def main() -> NoReturn:
    """Run Locust with this process's arguments. Leaves by SystemExit, with Locust's exit code."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback until Locust listens to it
    arguments = sys.argv[1:]
    # Usage errors begin with it.
    sys.argv[0] = "geventecho load" if TYPED_WORDS else "geventecho.loadtest"
    locust.events.init_command_line_parser.add_listener(_set_up)
    locust.events.init_command_line_parser.add_listener(_check_users)
    locust.events.init.add_listener(_interrupt_main_greenlet)
    options = _parse(arguments)
    if _conducts(options, arguments):
        _check_ports(options)
        if path := options.tcp_report or options.html_file:
            atexit.register(_name_report, path, os.getpid())
        if options.own_server and not options.host:
            try:
                target = OwnServer().target
            except RuntimeError as error:
                _end(str(error))
            print(f"{sys.argv[0]}: testing an echo server of its own, {target}", file=sys.stderr, flush=True)
            arguments = ["--host", target, *arguments]
    sys.argv[1:] = arguments
    try:
        locust_main()
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _interrupt_main_greenlet(**_: Any) -> None:
    """Have Ctrl-C end the main greenlet. Python would raise it in any: a user's, or one where Locust ignores it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.get_hub().parent, KeyboardInterrupt)


def _set_up(parser: LocustArgumentParser, **_: Any) -> None:
    parser.set_defaults(**DEFAULTS)
    parser.add_argument(
        "--own-server",
        action="store_true",
        include_in_web_ui=False,
        help="Without --host, start an echo server and test that, whatever `host` the user classes have.",
    )


def _check_users(parser: LocustArgumentParser, **_: Any) -> None:
    """Make a word that names no class of users a usage error: Locust refuses it later, after its first log lines.

    Locust has imported the locustfiles by now.
    """

    def check(word: str) -> str:
        before = sys.argv[sys.argv.index(word) - 1] if word in sys.argv else ""
        is_option = before.startswith("-") and before != "--" and "=" not in before
        if is_option and not is_known(parser, before):
            return word  # the parser has a better message
        if not _is_user_class(word):
            no_value = f", and {before} takes no value" if is_option else ""
            hint = "; --tcp-json FILE writes the result" if before == "--json" else ""
            parser.error(f"{word}: there is no class of users of this name{no_value}{hint}")
        return word

    check_words(parser, check)


def _is_user_class(name: str) -> bool:
    """Whether a class of users has this name, its own or in a module."""
    in_modules = [getattr(module, "__dict__", {}).get(name) for module in list(sys.modules.values())]
    named = [found for found in in_modules if isinstance(found, type)]
    classes: list[type[locust.User]] = [locust.User]
    for found in classes:
        if not found.abstract and (found.__name__ == name or found in named):
            return True
        classes += found.__subclasses__()
    return False


def _parse(arguments: list[str]) -> Namespace:
    """Locust's options from command line, environment and files, and --tcp-report; the others are not known yet."""
    parser = locust_parser()
    parser.allow_abbrev = False  # an option of the locustfile's would be taken for a short form of Locust's
    _set_up(parser)
    parser.add_argument("--tcp-report", default="", env_var="GEVENTECHO_LOADTEST_REPORT")
    options: Namespace = parser.parse_known_args(arguments)[0]
    return options


def _conducts(options: Namespace, arguments: list[str]) -> bool:
    """Whether this is a run, and not a worker of another master, --help or the like."""
    asks = options.list_commands or options.show_task_ratio or options.show_task_ratio_json
    return not (options.worker or asks or HELP & set(arguments))


def _name_report(path: str, owner: int) -> None:
    """Print at the end where the report is: Locust's tables have scrolled the first lines off the screen.

    Args:
        path: of the report; a report that was not written is not printed.
        owner: the process that prints it; forked workers have the same exit handler.
    """
    if os.getpid() == owner and os.path.exists(path):
        print(f"report: {path}", file=sys.stderr)


def _check_ports(options: Namespace) -> None:
    """End with one line if a port is in use: Locust prints a traceback after everything has started.

    The workers of a second master on one port would join the test of the first one.
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
        why = "another program has it" if error.errno == errno.EADDRINUSE else error.strerror
        _end(f"{name} cannot listen on {host}:{port}: {why}; see {see}")


def _end(reason: str) -> NoReturn:
    """Print why no test begins, and exit."""
    print(f"{sys.argv[0]}: {reason}", file=sys.stderr)
    sys.exit(USAGE_ERROR)
