"""The server: a greenlet per connection, limits, an orderly end, counters."""

from __future__ import annotations

from geventecho.server.config import ServerConfig
from geventecho.server.connection import ConnectionInfo, Ended
from geventecho.server.counters import COUNTERS, Counters, Ending, Refusal
from geventecho.server.drain import StopReport
from geventecho.server.endpoints import Endpoints
from geventecho.server.hooks import ServerHooks
from geventecho.server.listener import listen
from geventecho.server.tcp_server import EchoServer, ServerState, TcpServer

__all__ = [
    "COUNTERS",
    "ConnectionInfo",
    "Counters",
    "EchoServer",
    "Ended",
    "Ending",
    "Endpoints",
    "Refusal",
    "ServerConfig",
    "ServerHooks",
    "ServerState",
    "StopReport",
    "TcpServer",
    "listen",
]
