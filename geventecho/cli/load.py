"""`geventecho load`: a load test in one line. `python -m geventecho.loadtest` replaces the process."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from geventecho.address import Address
from geventecho.cli.arguments import add_command
from geventecho.cli.standard_io import print_error
from geventecho.cli.tls import add_tls, checked_tls
from geventecho.client import check_target
from geventecho.errors import AddressError, ConfigError
from geventecho.options import EXCHANGE, TLS, TYPED, Exchange, duration, naming, rate_stages, whole_number

if TYPE_CHECKING:
    from geventecho.cli.arguments import Commands

__all__ = ["add_to", "run"]

DESCRIPTION = """\
Load-test a TCP server. Each user is one connection. Without --send the users test an echo server: they send payloads
and check every byte that comes back. With --send they speak any protocol. By default 10 users run for 10 s without
pauses.

The command starts Locust and passes all other arguments to it, such as --processes, --html, --tcp-gate, --tcp-json.
Write them after the TARGET. `python -m geventecho.loadtest --help` lists them with their environment variables.

Exit codes: 0 a request was answered and no operation failed, 1 an operation failed or no request was answered, 2 usage
error, 4 a --tcp-gate is not met, 5 the verdict is not trusted (--tcp-fail-on-verdict), 6 a worker was lost."""

EPILOG = """\
examples:
  geventecho load 127.0.0.1:8090                                       an echo server, without pauses
  geventecho load 127.0.0.1:8090 --users 50 --rate 1000 --time 10s     1,000 echoes a second
  geventecho load 127.0.0.1:8090 --rate 100:30s,500:1m --tcp-gate 'echo p99 < 5ms' --tcp-json result.json
  geventecho load 127.0.0.1:6379 --send 'PING\\r\\n' --reply-until '\\r\\n' --expect '^\\+PONG'
  geventecho load mail.example:25 --greeting-until '\\r\\n' --send 'NOOP\\r\\n' --reply-until '\\r\\n' --expect '^250'
  geventecho load tls://127.0.0.1:7443 --tls-ca ca.pem                  through TLS
  geventecho load 127.0.0.1:8090 --users 200 --web                     start and watch it in a browser
  geventecho load 127.0.0.1:8090 --file locustfile.py --processes 2    users of your own, on two cores"""

START: Final = """\
import runpy, signal
if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
runpy.run_module("geventecho.loadtest", run_name="__main__", alter_sys=True)"""
"""Starts the load test in this process. Ctrl-C during the imports, a second or more, must not print a traceback."""
USERS: Final = Path(__file__).parents[1] / "loadtest" / "users"
"""The folder of the built-in locustfiles. Locust takes files, and `cli` must not import `loadtest`."""
DEFAULT_TIME: Final = 10
MAX_AT_ONCE: Final = 1000
"""Users that start in one second: more connects at once overflow a usual accept queue (listen(2))."""
USAGE_ERROR: Final = 2


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "load",
        summary="load-test a server with Locust",
        description=DESCRIPTION,
        epilog=EPILOG,
        run=run,
    )
    parser.set_defaults(locust_arguments=[])
    parser.add_argument("target", metavar="TARGET", help="where to connect; write it before all arguments for Locust")
    parser.add_argument(
        "--users", "-u", metavar="N", type=whole_number(1), default=10,
        help="users, each with one connection; up to 1,000 start each second (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", metavar="RATE",
        help="requests a second of all users together, independent of the replies; write stages as 100:30s,500:1m "
        "(default: each user sends its next request after the reply)",
    )  # fmt: skip
    parser.add_argument(
        "--time", "-t", "--run-time", metavar="TIME",
        help=f"length of the test, such as 30s or 5m (default: the length of all stages of --rate, otherwise "
        f"{DEFAULT_TIME}s; with --web the test runs until it is stopped)",
    )  # fmt: skip
    parser.add_argument(
        "--web",
        action="store_true",
        help="start the test in Locust's web UI on http://127.0.0.1:8089; the form there is filled in",
    )
    parser.add_argument("--file", "-f", metavar="LOCUSTFILE", help="run the users of this locustfile")
    group = parser.add_argument_group("a protocol of your own (default: echo)")
    for name, (metavar, text) in EXCHANGE.items():
        if metavar:
            group.add_argument(_flag(name), metavar=metavar, help=text)
        else:
            group.add_argument(_flag(name), action="store_true", help=text)
    add_tls(parser)


def run(options: argparse.Namespace) -> int:
    """Replace this process by Locust. Returns an exit code only if Locust is not installed.

    Raises:
        AddressError, ConfigError: an argument is wrong.
    """
    _find_target(options)
    arguments = [*_arguments(options), *_checked(options.locust_arguments)]
    if importlib.util.find_spec("locust") is not None:
        # -P: a file in the working directory, such as random.py, must not take the place of a module.
        command = [sys.executable, "-P", "-c", START, *arguments]
        if options.web:
            print_error("geventecho load: press Start in the web UI to begin; the form there is filled in")
        typed = shlex.join(["geventecho", *sys.argv[1:]])
        os.execve(sys.executable, command, os.environ | {TYPED: typed})  # noqa: S606
    print_error("geventecho load: Locust is not installed; pip install 'geventecho[loadtest]'")
    return USAGE_ERROR


def _arguments(options: argparse.Namespace) -> Iterator[str]:
    """Yield the arguments for Locust."""
    target = _parse_target(options)
    yield from ("-f", _file(options))
    yield from ("--host", str(target))
    checked_tls(options, target, may_start_later=options.file is not None)
    yield from ("--users", str(options.users), "--spawn-rate", str(min(options.users, MAX_AT_ONCE)))
    yield from _duration(options)
    if options.rate is not None:
        yield from ("--tcp-arrival-rate", options.rate)
    elif options.file is None:
        yield from ("--tcp-think-time", "0")
    secure = {f"tls_{name}": value for name in TLS if (value := getattr(options, f"tls_{name}"))}
    for name, value in {**_exchange(options), **secure}.items():
        # In one word: the value may begin with a dash.
        yield f"--tcp-{name}".replace("_", "-") + ("" if value is True else f"={value}")


def _find_target(options: argparse.Namespace) -> None:
    """Find the TARGET if argparse took an unknown option for it, such as --tcp-gate='p99 < 5ms'.

    ConfigArgParse puts a config file's options before the TARGET. argparse takes an unknown option that contains a
    space for a positional argument.
    """
    words = [word for word in options.locust_arguments if not word.startswith("-")]
    if options.target.startswith("-") and words:
        options.locust_arguments = [options.target, *options.locust_arguments]
        options.locust_arguments.remove(words[0])
        options.target = words[0]


def _parse_target(options: argparse.Namespace) -> Address:
    try:
        target = Address.parse(options.target)
    except AddressError as error:
        hint = "; write the TARGET before all arguments for Locust" if options.locust_arguments else ""
        raise AddressError(f"{error}{hint}") from None
    check_target(target)
    return target


def _file(options: argparse.Namespace) -> str:
    exchange = _exchange(options)
    if options.file is not None:
        if exchange:
            flags = ", ".join(map(_flag, exchange))
            raise ConfigError(f"{flags}: with --file the locustfile makes the requests; leave this out")
        if not os.path.exists(options.file):
            raise ConfigError(f"--file: there is no file {options.file}")
        return str(options.file)
    if exchange:
        Exchange.of(exchange)
    return str(USERS / ("any_tcp_user.py" if exchange else "echo_user.py"))


def _exchange(options: argparse.Namespace) -> Mapping[str, str | bool]:
    """Return the given options of `EXCHANGE`."""
    values = {name: getattr(options, name) for name in EXCHANGE}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def _duration(options: argparse.Namespace) -> Iterator[str]:
    with naming("--rate"):
        stages = [] if options.rate is None else rate_stages(options.rate)
    lengths = [DEFAULT_TIME if length == math.inf else length for _, length in stages]
    seconds: float = math.ceil(sum(lengths) or DEFAULT_TIME)
    if options.time is not None:
        with naming("--time"):
            seconds = duration(options.time)
        if seconds < 1 or seconds % 1:
            raise ConfigError(f"--time: {options.time!r} is not a number of whole seconds, 1 or more")
    if not options.web:
        yield "--headless"
    if options.time is not None or not options.web:
        yield from ("--run-time", f"{seconds:.0f}s")


def _checked(arguments: list[str]) -> list[str]:
    """Return the arguments for Locust.

    Raises:
        ConfigError: one of them is a target.
    """
    words = list(arguments)
    if "--" in words:
        words.remove("--")
    for before, word in itertools.pairwise(["", *words]):
        name = word.partition("=")[0]
        if word.startswith("-H") or (name.startswith("--ho") and "--host".startswith(name)):  # --ho is a short form
            raise ConfigError(f"{word}: the TARGET is the server to test; leave this out")
        if (not before.startswith("-") or "=" in before) and _is_target(word):
            raise ConfigError(f"{word}: this is a second TARGET; give one")
    return words


def _is_target(word: str) -> bool:
    try:
        Address.parse(word)
    except AddressError:
        return False
    return True


def _flag(name: str) -> str:
    return f"--{name}".replace("_", "-")
