"""AnyTcpUser: load-tests any TCP server, without code. As a locustfile this module is the test of `geventecho load`.

Importing it registers its options: --tcp-send, --tcp-reply-until and so on. So `users/__init__.py` does not import it.
"""

from __future__ import annotations

from typing import Any, Final

import locust
from locust import task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from geventecho.loadtest.measure import account_of
from geventecho.loadtest.settings import PREFIX, option, option_check, options_of
from geventecho.loadtest.users.tcp_user import TcpUser
from geventecho.options import ENCODINGS, EXCHANGE, Exchange

__all__ = ["AnyTcpUser"]

OPTION: Final = "--tcp-"
SILENCE: Final = 0.2
"""Seconds to wait for a server that speaks first."""


class AnyTcpUser(TcpUser):
    """One client: connects, then sends the request, checks the reply, waits, and so on.

    With a greeting option it reads the server's greeting after each connect, in its own row. Without one the client
    must speak first: the first connection of each user waits for 0.2 s before the first request, and fails as *unread
    greeting* if the server sends something.
    """

    host = "tcp://127.0.0.1:8090"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.exchange = Exchange.of(options_of(environment), OPTION)
        self.messages = self.exchange.message.payloads(self.number)
        self.waits_to_be_asked = False

    def on_connect(self) -> None:
        """Read the greeting, or make sure that there is none."""
        if self.exchange.greeting is not None:
            self.client.receive(self.exchange.greeting, name="greeting")
            account_of(self.environment).connected += 1  # a run with greetings alone has no answered request
        elif not self.waits_to_be_asked:
            self.client.expect_silence(SILENCE)
            self.waits_to_be_asked = True

    @task
    def ask(self) -> None:
        """Send a request, and check the reply."""
        how = self.exchange
        self.client.request(next(self.messages), how.reply, name=how.name, expect=how.expect)


def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    """Add the options to Locust's parser; they are fields of the web UI, too."""
    for name, (metavar, text) in EXCHANGE.items():
        flag, how = option(name), f"{text[0].upper()}{text[1:]}."
        variable = f"GEVENTECHO_LOADTEST_{name.upper()}"
        if not metavar:
            parser.add_argument(flag, action="store_true", help=how, env_var=variable)
        elif name == "encoding":
            parser.add_argument(flag, choices=ENCODINGS, default=ENCODINGS[0], help=how, env_var=variable)
        else:
            # Empty text and not None: the web UI gives a field's value the type it has now.
            parser.add_argument(flag, metavar=metavar, default="", help=how, env_var=variable)


locust.events.init_command_line_parser.add_listener(add_options)
option_check(lambda options: Exchange.of(options, OPTION), fixed=[PREFIX + name for name in EXCHANGE])
