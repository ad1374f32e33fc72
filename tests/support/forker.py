"""Calls functions of tests/loadtest/scripts, each in a fork of this process, which has imported Locust once.

An interpreter needs a second to import Locust; a fork does not. This process never runs a hub, so a fork inherits no
running greenlet. `locust_script.py` starts it and writes one job a line to its standard input, as JSON.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.support import harness

__all__ = ["harness"]


def call(function: str, arguments: list[Any], options: dict[str, Any], directory: str, seconds: float) -> None:
    """Call `module.function` of the scripts; its output and its result become files in `directory`."""
    log = os.open(Path(directory, "log"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.dump_traceback_later(seconds, exit=True)
    module, _, name = function.partition(".")
    script = importlib.import_module(f"tests.loadtest.scripts.{module}")
    Path(directory, "answer.json").write_text(json.dumps(getattr(script, name)(*arguments, **options)))


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            call(**json.loads(line))
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
