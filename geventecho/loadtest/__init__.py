"""TCP load tests in Locust: subclass `TcpUser`, write tasks, run `locust -f`.

Importing it imports Locust, which monkey-patches the process; adds our arguments, checks and reporting to Locust; and
raises the soft descriptor limit to the hard one, since Locust itself stops at 10,000.
"""

from __future__ import annotations

from geventecho.loadtest.measure import Account, Failed, account_of
from geventecho.loadtest.run import install
from geventecho.loadtest.settings import option_check
from geventecho.loadtest.users import Caught, Request, TcpSession, TcpUser
from geventecho.net import raise_descriptor_limit

__all__ = ["Account", "Caught", "Failed", "Request", "TcpSession", "TcpUser", "account_of", "option_check"]

raise_descriptor_limit()
install()
