"""Options of the command line and of load tests: the types of their values, and the options that both have."""

from __future__ import annotations

from geventecho.options.encodings import ENCODINGS, decode
from geventecho.options.exchange import EXCHANGE, GREETINGS, TYPED, Exchange
from geventecho.options.framing import ENDS, LENGTH_PREFIX_FORM, End, from_options, naming, pattern
from geventecho.options.tls import INSECURE, TLS, add_tls_arguments, naming_tls, tls_values
from geventecho.options.types import (
    duration,
    file_mode,
    limit,
    metrics_target,
    metrics_url,
    one_of,
    protocols,
    rate_stages,
    seconds,
    seconds_above_zero,
    target,
    whole_number,
)

__all__ = [
    "ENCODINGS",
    "ENDS",
    "EXCHANGE",
    "GREETINGS",
    "INSECURE",
    "LENGTH_PREFIX_FORM",
    "TLS",
    "TYPED",
    "End",
    "Exchange",
    "add_tls_arguments",
    "decode",
    "duration",
    "file_mode",
    "from_options",
    "limit",
    "metrics_target",
    "metrics_url",
    "naming",
    "naming_tls",
    "one_of",
    "pattern",
    "protocols",
    "rate_stages",
    "seconds",
    "seconds_above_zero",
    "target",
    "tls_values",
    "whole_number",
]
