"""Locust users with one TCP connection each."""

from __future__ import annotations

from geventecho.loadtest.users.pipeline import Request
from geventecho.loadtest.users.response_block import Caught
from geventecho.loadtest.users.session import TcpSession
from geventecho.loadtest.users.task_loop import install as install_task_loop
from geventecho.loadtest.users.tcp_user import TcpUser

__all__ = ["Caught", "Request", "TcpSession", "TcpUser", "install_task_loop"]
