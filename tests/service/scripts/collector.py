"""`geventecho serve` that makes many objects at SIGUSR2, and prints how often the collector ran, by generation."""

from __future__ import annotations

import gc
import json
import signal
import sys

import gevent

from geventecho.cli.commands import main


def make_objects() -> None:
    passes = [0, 0, 0]

    def count(phase: str, info: dict[str, int]) -> None:
        passes[info["generation"]] += phase == "stop"

    gc.callbacks.append(count)
    kept: list[list[object]] = []
    kept.extend([] for _ in range(200_000))
    gc.callbacks.remove(count)
    print(json.dumps(passes), flush=True)


gevent.signal_handler(signal.SIGUSR2, make_objects)
sys.exit(main(["serve", *sys.argv[1:]]))
