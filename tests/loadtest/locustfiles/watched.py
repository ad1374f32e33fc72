"""EchoUser of counting.py. A worker checks its master after $PATIENCE seconds without a heartbeat.

SIGUSR1 holds the hub for $BUSY seconds.
"""

from __future__ import annotations

import os
import signal

import gevent
from gevent import monkey

from geventecho.loadtest.run import master_watch
from tests.loadtest.locustfiles.counting import EchoUser

__all__ = ["EchoUser"]

master_watch.HEARTBEAT_TIMEOUT = int(os.environ["PATIENCE"])  # type: ignore[misc]
gevent.signal_handler(signal.SIGUSR1, monkey.get_original("time", "sleep"), float(os.environ["BUSY"]))
