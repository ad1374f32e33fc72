"""`geventecho send`: send one message and print the reply."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from geventecho.address import DEFAULT_TARGET, Address
from geventecho.cli.arguments import add_command
from geventecho.cli.conversation import Conversation
from geventecho.cli.standard_io import Output, chunks_of
from geventecho.cli.tls import add_tls, tls_of, warn_of_no_protocol
from geventecho.client import Client, check_target, connect
from geventecho.errors import AddressError, GeventechoError, NetworkError, ReplyTooLong, UnexpectedReply
from geventecho.framing import DEFAULT_MAX_SIZE, LARGEST, Framing
from geventecho.net import PROXY_VERSIONS
from geventecho.options import (
    ENCODINGS,
    ENDS,
    GREETINGS,
    decode,
    from_options,
    naming,
    pattern,
    seconds_above_zero,
    whole_number,
)

if TYPE_CHECKING:
    from geventecho.cli.arguments import Commands, Parser
    from geventecho.options import End

__all__ = ["add_to", "run"]

DESCRIPTION = """\
Send a message, then FIN, and print the reply until the server closes. Without a MESSAGE, standard input is sent as it
comes. Input and output may have any size and any bytes; they are not held in memory.

A single argument is the TARGET if it is a valid target (host:port, tcp://host:port, unix:/path). Otherwise it is the
MESSAGE for the default target. An argument that only looks like a target, such as localhost:99999 or 127.0.0.1, is
refused: give both.

Exit codes: 0 the server closed (or the reply was complete), 1 a network failure, a timeout, or a reply that --expect
does not match, 2 usage error."""

EPILOG = """\
examples:
  geventecho send hello                            to tcp://127.0.0.1:8090
  geventecho send 192.0.2.7:7 hello
  geventecho send 192.0.2.7:7 <picture.png >same.png
  geventecho send 127.0.0.1:6379 'PING\\r\\n' --reply-until '\\r\\n' --expect '^\\+PONG'
  geventecho send mail.example:25 'NOOP\\r\\n' --greeting-until '\\r\\n' --reply-until '\\r\\n'
  geventecho send tls://www.example:443 'HEAD / HTTP/1.0\\r\\n\\r\\n'
  geventecho send 127.0.0.1:5432 0000000804d2162f --encoding hex --reply-exactly 1"""

# "close" is the default.
ENDS_OF_REPLIES: Final = ("until", "exactly", "length_prefix", "quiet", "none")
# Text that begins with a scheme or ends with a port, and the host name that every machine has.
LOOKS_LIKE_TARGET: Final = re.compile(r"(tcp|tls|unix|fd):|\S*://|\S+:\d+\Z|localhost\Z", re.IGNORECASE)


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "send",
        summary="send one message and print the reply",
        description=DESCRIPTION,
        epilog=EPILOG,
        run=run,
    )
    parser.add_argument(
        "first",
        metavar="TARGET",
        nargs="?",
        help=f"address to connect to, on the command line only (default {DEFAULT_TARGET})",
    )
    parser.add_argument("second", metavar="MESSAGE", nargs="?", help="message to send (default: standard input)")
    parser.add_argument(
        "--encoding", choices=ENCODINGS, default="escapes",
        help="encoding of MESSAGE: text with C escapes, text without escapes, hex or base64 (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds_above_zero, default=5.0,
        help="time limit for connecting, TLS handshake included. After that, give up when no byte was sent or received "
        "for this long; waits for standard input and output do not count. With a --reply option it is the time limit "
        "of the whole exchange (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--proxy-protocol", choices=PROXY_VERSIONS,
        help="begin the connection with a PROXY header of this version, which names this end as the client",
    )  # fmt: skip
    _add_ends(parser)
    add_tls(parser)


def _add_ends(parser: Parser) -> None:
    reply = parser.add_argument_group(
        "end of the reply (default: when the server closes)",
        f"After the reply the client closes at once, and sends no FIN before.\n"
        f"Standard input may have at most {DEFAULT_MAX_SIZE // 2**20} MiB.",
    )
    for name in ENDS_OF_REPLIES:
        _add_end(reply, f"--reply-{name}", ENDS[name])
    reply.add_argument(
        "--reply-max", metavar="BYTES", type=whole_number(1, LARGEST), default=DEFAULT_MAX_SIZE,
        help="fail when the reply is longer; has no effect with --reply-exactly (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--expect", metavar="REGEX", help="exit with 1 unless this matches somewhere in the reply")
    greeting = parser.add_argument_group(
        "end of the server's greeting (default: the server does not speak first)",
        "The client reads the greeting before it sends the message, and does not print it.",
    )
    for name in GREETINGS:
        _add_end(greeting, f"--greeting-{name}", ENDS[name])


def _add_end(group: argparse._ArgumentGroup, flag: str, end: End) -> None:
    flag = flag.replace("_", "-")
    if end.metavar:
        group.add_argument(flag, metavar=end.metavar, type=end.parse, help=end.help)
    else:
        group.add_argument(flag, action="store_true", help=end.help)


def run(options: argparse.Namespace) -> int:
    """Send, print, and return the exit code.

    Raises:
        AddressError, ConfigError: an argument is wrong.
        NetworkError: the exchange failed; the bytes that had come are printed.
    """
    target, message = _positionals(options.first, options.second, options.encoding)
    check_target(target)
    tls = tls_of(options, target)
    ends = {name: getattr(options, f"reply_{name}") for name in ENDS_OF_REPLIES}
    framing = from_options(max_size=options.reply_max, **ends)
    greetings = {name: getattr(options, f"greeting_{name}") for name in GREETINGS}
    greeting = from_options(option="--greeting-", **greetings)
    with naming("--expect"):
        expect = None if options.expect is None else pattern(options.expect)
    if sys.stdout is None:
        raise GeventechoError("standard output is closed")
    output = Output()
    if message is not None:
        chunks = iter((message,))
    else:
        chunks = chunks_of(sys.stdin.fileno()) if sys.stdin is not None else iter(())
    try:
        with connect(target, timeout=options.timeout, proxy_protocol=options.proxy_protocol, tls=tls) as client:
            warn_of_no_protocol(options, client)
            if greeting is not None:
                client.receive(greeting)
            if framing is None:
                reply = _converse(client, chunks, output, options.timeout, options.reply_max if expect else None)
            else:
                reply = _request(client, chunks, output, framing)
        if expect is not None and not expect.search(reply):
            raise UnexpectedReply(f"the reply does not match {options.expect!r}", address=target, phase="read")
    except GeventechoError:
        output.end_line_for_errors()
        raise
    return 0


def _positionals(first: str | None, second: str | None, encoding: str) -> tuple[Address, bytes | None]:
    if first is None:
        return Address.parse(DEFAULT_TARGET), None
    if second is not None:
        return Address.parse(first), _message(second, encoding)
    try:
        return Address.parse(first), None
    except AddressError as error:
        if LOOKS_LIKE_TARGET.match(first) or _is_ip_address(first):
            raise AddressError(f"{error}. If this is the message, give the target before it") from None
    return Address.parse(DEFAULT_TARGET), _message(first, encoding)


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _message(text: str, encoding: str) -> bytes:
    with naming("MESSAGE"):
        return decode(text, encoding)


def _converse(client: Client, chunks: Iterator[bytes], output: Output, timeout: float, keep: int | None) -> bytes:
    reply = bytearray()
    for chunk in Conversation(client, chunks, timeout):
        output.write(chunk)
        if keep is not None:
            reply += chunk
            if len(reply) > keep:
                raise ReplyTooLong(address=client.target, limit=keep)
    return bytes(reply)


def _request(client: Client, chunks: Iterator[bytes], output: Output, framing: Framing) -> bytes:
    payload = bytearray()
    for chunk in chunks:
        payload += chunk
        if len(payload) > DEFAULT_MAX_SIZE:
            reason = f"standard input is longer than {DEFAULT_MAX_SIZE} bytes, too long to wait for one reply"
            raise GeventechoError(reason)
    try:
        reply = client.request(payload, framing)
    except NetworkError:
        with contextlib.suppress(NetworkError):
            output.write(client.recv(max(DEFAULT_MAX_SIZE, framing.max_size), timeout=0))  # the part that had come
        raise
    output.write(reply)
    return reply
