"""Measurement: the times of each operation, and one count of it."""

from __future__ import annotations

from geventecho.loadtest.measure.account import ABORTS, Account, Failed, account_of, leaves_task
from geventecho.loadtest.measure.arrivals import Arrivals, stages_after
from geventecho.loadtest.measure.health import health_of
from geventecho.loadtest.measure.latencies import Sample, latencies_of
from geventecho.loadtest.measure.precision import keep_microseconds
from geventecho.loadtest.measure.reporter import RECEIVE, SEND, TCP, TRANSACTION, Reporter
from geventecho.loadtest.measure.samples import kind_and_sample
from geventecho.loadtest.measure.seconds import SECONDS, second_of, seconds_now

__all__ = [
    "ABORTS",
    "RECEIVE",
    "SECONDS",
    "SEND",
    "TCP",
    "TRANSACTION",
    "Account",
    "Arrivals",
    "Failed",
    "Reporter",
    "Sample",
    "account_of",
    "health_of",
    "keep_microseconds",
    "kind_and_sample",
    "latencies_of",
    "leaves_task",
    "second_of",
    "seconds_now",
    "stages_after",
]
