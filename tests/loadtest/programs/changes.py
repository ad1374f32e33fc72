"""Prints the changes that geventecho.loadtest makes at its import, or at Locust's `init` event. Needs its own process.

    python changes.py import|init tcp|http

The second argument says whether a `TcpUser` is among the user classes of the run.
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

# A locustfile: its import registers its options.
LOCUSTFILE = "geventecho.loadtest.users.any_tcp_user"


def import_all(package: ModuleType) -> None:
    """Import the modules of a package. Modules of Locust that need a missing package are left out."""
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
    """The contents of the lists, sets and dicts among the attributes."""
    return {
        name: list(value.items()) if isinstance(value, dict) else list(value)
        for name, value in found.items()
        if isinstance(value, list | set | dict) and not name.endswith(("__dict__", "__builtins__", "._abc_impl"))
    }


def listeners() -> dict[str, int]:
    """The number of listeners of each of Locust's events."""
    return {name: len(hook._handlers) for name, hook in vars(locust.events).items() if isinstance(hook, EventHook)}


def process() -> dict[str, Any]:
    """The other state of the process that an import could change."""
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
