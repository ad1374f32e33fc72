"""The outputs and the callbacks that the processes of a service share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from geventecho.address import Address
from geventecho.service.lines import LineWriter
from geventecho.service.logs import LogHandler
from geventecho.service.metrics import Metrics

__all__ = ["Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """The outputs of a service, and its callbacks at the start.

    Attributes:
        output: takes the lines with the counters and the report of the stop.
        log: its dropped lines are counted.
        on_bound: is called with the addresses once they are bound, before a connection is accepted.
        on_listening: is called once all processes listen, with the addresses, the number of processes, and the largest
            number of connections of each process.
        metrics: the listener for scrapers, which all processes share; None without metrics.
    """

    output: LineWriter
    log: LogHandler
    on_bound: Callable[[Sequence[Address]], object]
    on_listening: Callable[[Sequence[Address], int, int], object]
    metrics: Metrics | None = None
