r"""Load-tests any TCP server, without code: options give the request, the end of its reply and the expected reply.

    locust -f loadtests/any_tcp.py --host tcp://127.0.0.1:6379 --send 'PING\r\n' --reply-until '\r\n' --expect '^\+PONG'

The same options are fields of the web UI.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locust import events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from geventecho.errors import ConfigError
from geventecho.framing import LARGEST, Framing
from geventecho.loadtest import TcpUser, option_check
from geventecho.options import ENCODINGS, LENGTH_PREFIX_FORM, decode, from_options, naming, pattern, whole_number
from geventecho.payloads import Template

TEXTS = {
    "send": "What each request sends, with C escapes; {user} is the user's number, {message} that of the request",
    "reply_until": "The reply ends with this delimiter, with C escapes",
    "reply_exactly": "The reply has this many bytes",
    "reply_length_prefix": f"The reply begins with its length: {LENGTH_PREFIX_FORM}, such as >I",
    "reply_quiet": "The reply ends when nothing more has come for this many seconds",
    "reply_max": "Bytes the reply may have; without it 65536, or 16777216 with --reply-length-prefix",
    "expect": "A regular expression that must be found in the reply",
}
SWITCHES = {
    "reply_close": "The reply ends when the server closes; the next request makes a new connection",
    "reply_none": "There is no reply",
}


def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    # Empty texts and not None: the web UI gives a field's value the type it has now.
    for name, help_text in TEXTS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="TEXT",
            default="",
            help=f"{help_text}.",
            env_var=f"GEVENTECHO_LOADTEST_{name.upper()}",
        )
    for name, help_text in SWITCHES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=f"{help_text}.")
    parser.add_argument("--encoding", choices=ENCODINGS, default="escapes", help="How --send is written.")
    parser.add_argument("--request-name", metavar="NAME", default="request", help="The row that requests are shown in.")


events.init_command_line_parser.add_listener(add_options)


@dataclass(frozen=True)
class Exchange:
    """A request and its reply, as the options describe them."""

    message: Template
    reply: Framing
    expect: re.Pattern[bytes] | None
    name: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Exchange":
        given = {name: value or None for name, value in options.items()}
        if given["send"] is None:
            raise ConfigError(r"--send: say what to send, such as 'PING\r\n'")
        if given["encoding"] not in ENCODINGS:
            raise ConfigError(f"--encoding: {given['encoding']!r} is not one of {', '.join(ENCODINGS)}")
        with naming("--reply-max"):
            reply_max = whole_number(1, LARGEST)(given["reply_max"]) if given["reply_max"] else None
        reply = from_options(
            until=given["reply_until"],
            exactly=_number("--reply-exactly", int, given["reply_exactly"]),
            length_prefix=given["reply_length_prefix"],
            quiet=_number("--reply-quiet", float, given["reply_quiet"]),
            close=bool(given["reply_close"]),
            none=bool(given["reply_none"]),
            max_size=reply_max,
        )
        if reply is None:
            raise ConfigError("say where the reply ends: give one of the reply options, such as --reply-until '\\r\\n'")
        with naming("--expect"):
            expect = pattern(given["expect"]) if given["expect"] else None
        with naming("--send"):
            message = Template(decode(given["send"], given["encoding"]))
        return cls(message, reply, expect, given["request_name"] or "request")


def _number(option: str, kind: type[int] | type[float], text: str | None) -> Any:
    try:
        return None if text is None else kind(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is not a number") from None


option_check(Exchange.of, fixed=[*TEXTS, *SWITCHES, "encoding", "request_name"])


class AnyTcpUser(TcpUser):
    """One client: connects, then sends the message, checks the reply, waits --tcp-think-time, and so on."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.exchange = Exchange.of(vars(environment.parsed_options))
        self.messages = self.exchange.message.payloads(self.number)

    @task
    def ask(self) -> None:
        how = self.exchange
        self.client.request(next(self.messages), how.reply, name=how.name, expect=how.expect)
