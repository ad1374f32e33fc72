"""Imports the modules in its arguments; prints the effects on the process."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import threading

from gevent import monkey


def main() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    modules = ("socket", "ssl", "threading", "time", "os", "select", "subprocess", "signal")
    print(
        [name for name in modules if monkey.is_module_patched(name)],
        logging.root.handlers,
        "locust" in sys.modules,
        threading.active_count(),
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    )


if __name__ == "__main__":
    main()
