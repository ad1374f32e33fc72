"""AnyTcpUser: load-tests any TCP server, without code. `geventecho load` uses this module as its locustfile.

An import of this module registers its options: --tcp-send, --tcp-reply-until and so on. So `users/__init__.py` does not
import it.
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
GREETING_WAIT: Final = 0.2
"""Seconds to wait for a greeting of the server."""


class AnyTcpUser(TcpUser):
    """A client that connects, then repeatedly sends a request, checks the reply and waits.

    With a greeting option the user reads the server's greeting after each connect, in a separate row. Without a
    greeting option the client must speak first: the first connection of each user waits for 0.2 s before the first
    request, and fails as *unread greeting* if the server sends something.
    """

    host = "tcp://127.0.0.1:8090"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.exchange = Exchange.of(options_of(environment), OPTION)
        self.messages = self.exchange.message.payloads(self.number)
        self.has_no_greeting = False

    def on_connect(self) -> None:
        """Read the greeting, or check that the server sends none."""
        if self.exchange.greeting is not None:
            self.client.receive(self.exchange.greeting, name="greeting")
            account_of(self.environment).connected += 1  # a run with only greetings has no answered request
        elif not self.has_no_greeting:
            self.client.expect_silence(GREETING_WAIT)
            self.has_no_greeting = True

    @task
    def ask(self) -> None:
        """Send a request, and check the reply."""
        how = self.exchange
        self.client.request(next(self.messages), how.reply, name=how.name, expect=how.expect)


def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    """Add the options to Locust's parser. They are also fields of the web UI."""
    for name, (metavar, text) in EXCHANGE.items():
        flag, how = option(name), f"{text[0].upper()}{text[1:]}."
        variable = f"GEVENTECHO_LOADTEST_{name.upper()}"
        if not metavar:
            parser.add_argument(flag, action="store_true", help=how, env_var=variable)
        elif name == "encoding":
            parser.add_argument(flag, choices=ENCODINGS, default=ENCODINGS[0], help=how, env_var=variable)
        else:
            # The default is an empty text, not None: the web UI keeps the type of a field's current value.
            parser.add_argument(flag, metavar=metavar, default="", help=how, env_var=variable)


locust.events.init_command_line_parser.add_listener(add_options)
option_check(lambda options: Exchange.of(options, OPTION), fixed=[PREFIX + name for name in EXCHANGE])
