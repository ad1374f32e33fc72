"""TCP load tests in Locust: subclass `TcpUser`, write tasks, run `locust -f`.

Importing it imports Locust, which monkey-patches the process, and listens to Locust's events; it changes nothing else.
The other changes are made at Locust's `init` event, and only if a `TcpUser` is among the user classes of the run. For a
program that uses Locust as a library `install` makes them.
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
