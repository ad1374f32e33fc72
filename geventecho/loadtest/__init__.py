"""TCP load tests in Locust: subclass `TcpUser`, write tasks, run `locust -f`.

An import of this package imports Locust, which monkey-patches the process, and adds listeners to Locust's events. It
changes nothing else. The other changes are made at Locust's `init` event, and only if a `TcpUser` is among the user
classes of the run. A program that uses Locust as a library calls `install` for them.
"""

from __future__ import annotations

from geventecho.loadtest.measure import Account, Failed, account_of
from geventecho.loadtest.run import install, listen, result_of
from geventecho.loadtest.settings import option_check
from geventecho.loadtest.users import Caught, EchoUser, Request, TcpSession, TcpUser

__all__ = [
    "Account",
    "Caught",
    "EchoUser",
    "Failed",
    "Request",
    "TcpSession",
    "TcpUser",
    "account_of",
    "install",
    "option_check",
    "result_of",
]

listen()
