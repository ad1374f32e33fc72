"""The target, the command, the options, the failures and the machine of a run."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from functools import cache
from typing import Any, Final

import gevent
import locust
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from geventecho._version import __version__
from geventecho.loadtest.locust_internals import secret_options
from geventecho.loadtest.measure import Failed, kind_and_sample
from geventecho.loadtest.settings import CLASS_TYPES, RUN_TYPES, class_values, given, options_of
from geventecho.loadtest.users import TcpUser, tcp_users_of
from geventecho.options import TYPED
from geventecho.results import Failures

__all__ = [
    "TYPED_WORDS",
    "argv_of",
    "command_of",
    "failures_in",
    "machine",
    "others_in",
    "remember_secrets",
    "target_of",
]

MASK: Final = "***"
_parsers: Final[list[LocustArgumentParser]] = []
"""The last parser that Locust made. The locustfile may add options until this parser reads the command line."""

LONGEST_TEXT: Final = 200
"""The most characters in the text of a failure."""
# Locust's own options that affect the figures.
OPTIONS = ("spawn_rate", "run_time", "stop_timeout")


def _take_typed() -> list[str]:
    """Remove the typed command from the environment: processes that the test starts have other commands."""
    try:
        return shlex.split(os.environ.pop(TYPED, ""))
    except ValueError:
        return []  # `geventecho load` did not set it


TYPED_WORDS: Final = _take_typed()
"""The words of the command that started this one; empty without such a command."""


def target_of(environment: Environment) -> str:
    """The target, or the targets of the user classes."""
    hosts = {user_class.host for user_class in tcp_users_of(environment)}
    return environment.host or " or ".join(sorted(filter(None, hosts)))


def argv_of(environment: Environment) -> tuple[str, ...]:
    """The command of this run as it was typed; empty if a program uses Locust as a library."""
    if environment.events is not locust.events:
        return ()
    if TYPED_WORDS:
        return _without_secrets(TYPED_WORDS)
    interpreter, *arguments = sys.orig_argv
    if not arguments or arguments[0].startswith("-"):
        return _without_secrets([os.path.basename(interpreter), *arguments])
    return _without_secrets([os.path.basename(arguments[0]), *arguments[1:]])


def remember_secrets(parser: LocustArgumentParser) -> None:
    """Remember the parser, to know the secret options: the options that a locustfile adds with `is_secret`."""
    _parsers[:] = [parser]


def _without_secrets(words: list[str]) -> tuple[str, ...]:
    """The command with the values of secret options masked."""
    secrets = [name for parser in _parsers for name in secret_options(parser)]
    shown: list[str] = []
    for word in words:
        if shown and _names(shown[-1], secrets):
            word = MASK  # noqa: PLW2901
        elif "=" in word and _names(word.partition("=")[0], secrets):
            word = f"{word.partition('=')[0]}={MASK}"  # noqa: PLW2901
        elif len(word) > 2 and word[:2] in secrets:  # -pVALUE
            word = f"{word[:2]}{MASK}"  # noqa: PLW2901
        shown.append(word)
    return tuple(shown)


def _names(word: str, options: list[str]) -> bool:
    """Whether a word is one of the options, or the beginning of one."""
    return word in options or (len(word) > 2 and any(option.startswith(word) for option in options))


def command_of(environment: Environment, seed: int | None) -> dict[str, Any]:
    """The options that the figures depend on, by name.

    Args:
        environment: Locust's environment.
        seed: the seed of the arrivals; None without a plan.
    """
    options = options_of(environment)
    ours = tcp_users_of(environment)
    by_class: dict[str, Any] = class_values(ours)
    for name in CLASS_TYPES:
        if len({getattr(user_class, name) for user_class in ours}) == 1:
            by_class[name] = getattr(ours[0], name)
    rate = str(options.get("tcp_arrival_rate", "")).strip() or None
    return {
        "user_classes": ", ".join(sorted(user_class.__name__ for user_class in ours)),
        "shape_class": type(environment.shape_class).__name__ if environment.shape_class else None,
        "users": options.get("num_users"),
        **{name: options.get(name) for name in OPTIONS},
        **{name: by_class[name] if (value := given(options, name)) is None else value for name in CLASS_TYPES},
        **{name: given(options, name) for name in RUN_TYPES},
        "arrival_rate": rate,
        "arrivals": (given(options, "arrivals") or "even") if rate else None,
        "seed": seed,
    }


def others_in(environment: Environment) -> str:
    """The sentence that names the user classes whose operations a result leaves out."""
    others = sorted(found.__name__ for found in environment.user_classes if not issubclass(found, TcpUser))
    names = ", ".join(others) or "none"
    return f"this result has only operations of TcpUsers; other user classes of this run: {names}"


def failures_in(environment: Environment) -> tuple[Failures, ...]:
    """The failures of all users as Locust counts them, the most frequent first."""
    found = [
        Failures(error.method, error.name, kind, error.occurrences, sample or _text(error.error))
        for error in environment.stats.errors.values()
        for kind, sample in (kind_and_sample(error.error),)
    ]
    return tuple(sorted(found, key=lambda failures: (-failures.count, failures.type, failures.name, failures.kind)))


def _text(error: object) -> str:
    """The text of the first error of a kind, with its address and phase; "" if only the kind is known."""
    text = str(error.error) if isinstance(error, Failed) else ""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}\N{HORIZONTAL ELLIPSIS}"


@cache
def machine() -> dict[str, str | int | None]:
    """Versions and machine."""
    return {
        "geventecho": __version__,
        "python": platform.python_version(),
        "gevent": gevent.__version__,
        "locust": locust.__version__,
        "kernel": platform.release(),
        "machine": _processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)),
    }


def _processor() -> str:
    """The model of the processors; "" if the kernel does not give it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        return ""
    return lines[0] if lines else ""
