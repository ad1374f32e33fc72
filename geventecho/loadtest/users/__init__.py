"""Locust users with one TCP connection each."""

from __future__ import annotations

from geventecho.loadtest.users.echo_user import EchoUser
from geventecho.loadtest.users.pipeline import Request
from geventecho.loadtest.users.planner import Planner, planner_of
from geventecho.loadtest.users.response_block import Caught
from geventecho.loadtest.users.session import TcpSession
from geventecho.loadtest.users.spawning import SPAWNED_USERS
from geventecho.loadtest.users.tcp_user import TcpUser, tcp_users_of

__all__ = [
    "SPAWNED_USERS",
    "Caught",
    "EchoUser",
    "Planner",
    "Request",
    "TcpSession",
    "TcpUser",
    "planner_of",
    "tcp_users_of",
]
