"""The cooperative client: its calls switch greenlets instead of blocking."""

from __future__ import annotations

from geventecho.client.client import Client
from geventecho.client.config import ClientConfig, check_timeout
from geventecho.client.connecting import connect
from geventecho.client.dial import check_target
from geventecho.client.payload import Payload
from geventecho.client.ping import DEFAULT_SIZE, MAX_SIZE, SAMPLES_NEEDED, Ping, Summary, pings
from geventecho.client.reply import SAMPLE_SIZE, with_sample
from geventecho.client.tls import DEFAULT_TLS, Tls, TlsInfo, TlsLike, check_tls, context_of, is_insecure
from geventecho.client.traffic import Traffic

__all__ = [
    "DEFAULT_SIZE",
    "DEFAULT_TLS",
    "MAX_SIZE",
    "SAMPLES_NEEDED",
    "SAMPLE_SIZE",
    "Client",
    "ClientConfig",
    "Payload",
    "Ping",
    "Summary",
    "Tls",
    "TlsInfo",
    "TlsLike",
    "Traffic",
    "check_target",
    "check_timeout",
    "check_tls",
    "connect",
    "context_of",
    "is_insecure",
    "pings",
    "with_sample",
]
