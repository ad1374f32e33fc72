"""The cooperative client: its calls switch greenlets instead of blocking."""

from __future__ import annotations

from geventecho.client.client import Client, Payload, connect
from geventecho.client.config import ClientConfig, check_timeout
from geventecho.client.dial import check_target
from geventecho.client.ping import DEFAULT_SIZE, MAX_SIZE, SAMPLES_NEEDED, Ping, Summary, pings
from geventecho.client.reply import SAMPLE_SIZE, with_sample
from geventecho.client.traffic import Traffic

__all__ = [
    "DEFAULT_SIZE",
    "MAX_SIZE",
    "SAMPLES_NEEDED",
    "SAMPLE_SIZE",
    "Client",
    "ClientConfig",
    "Payload",
    "Ping",
    "Summary",
    "Traffic",
    "check_target",
    "check_timeout",
    "connect",
    "pings",
    "with_sample",
]
