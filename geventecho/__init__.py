"""A TCP echo server and cooperative client on gevent, and TCP load tests in Locust.

    from geventecho import EchoServer, connect

    with EchoServer("127.0.0.1:0") as server, connect(server.address) as client:
        client.echo(b"hello")

Importing it patches nothing: it uses gevent.socket by name. Only `geventecho.loadtest` imports Locust, which patches.
"""

from geventecho._version import __version__
from geventecho.address import Address
from geventecho.client import Client, ClientConfig, connect
from geventecho.errors import (
    AddressError,
    ClosedByPeer,
    ClosedLocally,
    ConfigError,
    ConnectError,
    ConnectRefused,
    ConnectReset,
    ConnectTimeout,
    ConnectUnreachable,
    CorruptReply,
    GeventechoError,
    ListenError,
    NetworkError,
    OutOfResources,
    PeerReset,
    ReadTimeout,
    ReplyError,
    ReplyTooLong,
    ResolveError,
    ServerStateError,
    ShortReply,
    UnexpectedReply,
    UnsolicitedData,
    WriteTimeout,
)
from geventecho.framing import Exactly, Framing, LengthPrefixed, NoReply, Parser, Until, UntilClosed, UntilQuiet
from geventecho.server import (
    ConnectionInfo,
    EchoServer,
    Ended,
    Ending,
    Refusal,
    ServerConfig,
    ServerHooks,
    ServerState,
    StopReport,
    TcpServer,
)

__all__ = [
    "Address",
    "AddressError",
    "Client",
    "ClientConfig",
    "ClosedByPeer",
    "ClosedLocally",
    "ConfigError",
    "ConnectError",
    "ConnectRefused",
    "ConnectReset",
    "ConnectTimeout",
    "ConnectUnreachable",
    "ConnectionInfo",
    "CorruptReply",
    "EchoServer",
    "Ended",
    "Ending",
    "Exactly",
    "Framing",
    "GeventechoError",
    "LengthPrefixed",
    "ListenError",
    "NetworkError",
    "NoReply",
    "OutOfResources",
    "Parser",
    "PeerReset",
    "ReadTimeout",
    "Refusal",
    "ReplyError",
    "ReplyTooLong",
    "ResolveError",
    "ServerConfig",
    "ServerHooks",
    "ServerState",
    "ServerStateError",
    "ShortReply",
    "StopReport",
    "TcpServer",
    "UnexpectedReply",
    "UnsolicitedData",
    "Until",
    "UntilClosed",
    "UntilQuiet",
    "WriteTimeout",
    "__version__",
    "connect",
]
