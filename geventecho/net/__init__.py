"""Kernel facilities that client and server share: waits, deadlines, TCP_INFO, errno, descriptors, TLS output."""

from __future__ import annotations

from geventecho.net.accept_queue import QueueDrops
from geventecho.net.deadline import Deadline
from geventecho.net.descriptors import descriptor_capacity, grow_descriptor_table, raise_descriptor_limit
from geventecho.net.failures import is_broken, translate_connect, translate_io
from geventecho.net.instant_timer import InstantTimer
from geventecho.net.linger import abort, drop_at_close, linger_time, never_linger
from geventecho.net.parent import die_with_parent, outlive_parent
from geventecho.net.proxy_header import (
    LONGEST_PROXY_HEADER,
    PROXY_VERSIONS,
    MalformedHeader,
    ProxyHeader,
    ProxyVersion,
    make_proxy_header,
    parse_proxy_header,
)
from geventecho.net.stamps import CLOCK, STAMP_SPACE, StampClock, stamp_arrivals
from geventecho.net.tcp_info import local_liveness, path_quality, tcp_liveness, undelivered, unread, unsent
from geventecho.net.tls_outbox import TLS_RECORD, TlsOutbox
from geventecho.net.wait import EXPIRED, QUIET, READY, check_free, make_timer, wait_ready, woken_by

__all__ = [
    "CLOCK",
    "EXPIRED",
    "LONGEST_PROXY_HEADER",
    "PROXY_VERSIONS",
    "QUIET",
    "READY",
    "STAMP_SPACE",
    "TLS_RECORD",
    "Deadline",
    "InstantTimer",
    "MalformedHeader",
    "ProxyHeader",
    "ProxyVersion",
    "QueueDrops",
    "StampClock",
    "TlsOutbox",
    "abort",
    "check_free",
    "descriptor_capacity",
    "die_with_parent",
    "drop_at_close",
    "grow_descriptor_table",
    "is_broken",
    "linger_time",
    "local_liveness",
    "make_proxy_header",
    "make_timer",
    "never_linger",
    "outlive_parent",
    "parse_proxy_header",
    "path_quality",
    "raise_descriptor_limit",
    "stamp_arrivals",
    "tcp_liveness",
    "translate_connect",
    "translate_io",
    "undelivered",
    "unread",
    "unsent",
    "wait_ready",
    "woken_by",
]
