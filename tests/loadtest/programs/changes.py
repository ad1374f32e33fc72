"""Prints what geventecho.loadtest changes: at its import, or at Locust's `init` event. Runs in a process of its own.

    python changes.py import|init HOST_OF_USERS

The second argument is "tcp" or "http": which class is among the user classes of the run.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import pkgutil
import resource
import signal
import sys
from types import ModuleType
from typing import Any

import locust
from locust.env import Environment
from locust.event import EventHook

# It is a locustfile: to import it means to register its options.
LOCUSTFILE = "geventecho.loadtest.users.any_tcp_user"


def import_all(package: ModuleType) -> None:
    """Import every module of a package that can be imported here; some of Locust's need more packages."""
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__") and found.name != LOCUSTFILE:
            try:
                importlib.import_module(found.name)
            except ImportError:
                assert package is locust, found.name


def attributes() -> dict[str, Any]:
    """Every attribute of every module of Locust and of every class in it, by its name."""
    found: dict[str, Any] = {}
    for module_name, module in sorted(sys.modules.items()):
        if module_name != "locust" and not module_name.startswith("locust."):
            continue
        for name, value in vars(module).items():
            found[f"{module_name}.{name}"] = value
            if inspect.isclass(value) and value.__module__.startswith("locust"):
                for attribute, inner in vars(value).items():
                    found[f"{value.__module__}.{value.__qualname__}.{attribute}"] = inner
    return found


def contents(found: dict[str, Any]) -> dict[str, list[Any]]:
    """What the lists, sets and dicts among them contain."""
    return {
        name: list(value.items()) if isinstance(value, dict) else list(value)
        for name, value in found.items()
        if isinstance(value, list | set | dict) and not name.endswith(("__dict__", "__builtins__", "._abc_impl"))
    }


def listeners() -> dict[str, int]:
    """How many listeners each of Locust's events has."""
    return {name: len(hook._handlers) for name, hook in vars(locust.events).items() if isinstance(hook, EventHook)}


def process() -> dict[str, Any]:
    """What else of the process could change."""
    return {
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
        "frozen": gc.get_freeze_count(),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "signals": {number.name: str(signal.getsignal(number)) for number in signal.valid_signals()
                    if isinstance(number, signal.Signals)},
        "atexit": atexit._ncallbacks(),
        "excepthook": repr(sys.excepthook),
    }  # fmt: skip


def main() -> None:
    moment, kind = sys.argv[1:]
    import_all(locust)
    if moment == "init":
        import_all(importlib.import_module("geventecho.loadtest"))
    before, contained, heard, about = attributes(), contents(attributes()), listeners(), process()
    if moment == "import":
        import_all(importlib.import_module("geventecho.loadtest"))
    else:
        from geventecho.loadtest import TcpUser

        class Web(locust.HttpUser):
            host = "http://127.0.0.1:1"

        class Tcp(TcpUser):
            host = "tcp://127.0.0.1:1"

        environment = Environment(user_classes=[Web, Tcp] if kind == "tcp" else [Web], events=locust.events)
        runner = environment.create_local_runner()
        heard = listeners()
        locust.events.init.fire(environment=environment, runner=runner, web_ui=None)
    after = attributes()
    contained_after = contents(after)
    answer = {
        "attributes": len(before),
        "changed": sorted(name for name, value in before.items() if after.get(name, before) is not value),
        "new": sorted(after.keys() - before.keys()),
        "contents": sorted(name for name, value in contained.items() if contained_after[name] != value),
        "listeners": {name: count - heard[name] for name, count in listeners().items() if count != heard[name]},
        "process": sorted(name for name, value in process().items() if about[name] != value),
    }
    print(json.dumps(answer))


main()
