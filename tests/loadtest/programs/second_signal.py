"""A launcher that gets SIGTERM while it waits, at its end, for its own server."""

from __future__ import annotations

import os
import signal
import sys

import gevent

from geventecho.loadtest.run.launch import OwnServer

print(OwnServer().target)
gevent.signal_handler(signal.SIGTERM, sys.exit, 1)  # as Locust does
os.kill(os.getpid(), signal.SIGTERM)  # gevent handles it in the next turn of the event loop, which is in that wait
sys.exit(3)
