"""A TCP echo server and cooperative client on gevent, and TCP load tests in Locust.

    from geventecho import EchoServer, connect

    with EchoServer("127.0.0.1:0") as server, connect(server.address) as client:
        client.echo(b"hello")

Importing the package patches nothing: it uses gevent.socket by name. Only `geventecho.loadtest` imports Locust, which
monkey-patches. A name is imported at its first use, so that the command line can prepare for signals before gevent is
imported.
"""

from geventecho._version import __version__

TYPE_CHECKING = False  # not from typing: its import takes longer than everything else here
if TYPE_CHECKING:
    from geventecho.address import Address
    from geventecho.client import Client, ClientConfig, Tls, TlsInfo, connect
    from geventecho.errors import (
        AddressError,
        CertificateExpired,
        CertificateNotYetValid,
        CertificateRefused,
        CertificateRequired,
        ClientCertificateRefused,
        ClosedByPeer,
        ClosedLocally,
        ConcurrentUse,
        ConfigError,
        ConnectError,
        ConnectRefused,
        ConnectReset,
        ConnectTimeout,
        ConnectUnreachable,
        CorruptReply,
        GeventechoError,
        HandshakeClosed,
        HandshakeTimeout,
        ListenError,
        NetworkError,
        NoCommonAlpn,
        NoCommonProtocol,
        NoSuchSocket,
        NotTls,
        OutOfResources,
        PeerReset,
        PlainBeforeTls,
        ReadTimeout,
        ReplyError,
        ReplyTooLong,
        ResolveError,
        ServerStateError,
        ShortReply,
        TlsError,
        TornStream,
        Truncated,
        UnexpectedReply,
        UnknownAuthority,
        UnreadGreeting,
        UnsolicitedData,
        WriteTimeout,
        WrongHostName,
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
    "CertificateExpired",
    "CertificateNotYetValid",
    "CertificateRefused",
    "CertificateRequired",
    "Client",
    "ClientCertificateRefused",
    "ClientConfig",
    "ClosedByPeer",
    "ClosedLocally",
    "ConcurrentUse",
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
    "HandshakeClosed",
    "HandshakeTimeout",
    "LengthPrefixed",
    "ListenError",
    "NetworkError",
    "NoCommonAlpn",
    "NoCommonProtocol",
    "NoReply",
    "NoSuchSocket",
    "NotTls",
    "OutOfResources",
    "Parser",
    "PeerReset",
    "PlainBeforeTls",
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
    "Tls",
    "TlsError",
    "TlsInfo",
    "TornStream",
    "Truncated",
    "UnexpectedReply",
    "UnknownAuthority",
    "UnreadGreeting",
    "UnsolicitedData",
    "Until",
    "UntilClosed",
    "UntilQuiet",
    "WriteTimeout",
    "WrongHostName",
    "__version__",
    "connect",
]

MODULES = ("address", "client", "errors", "framing", "server")
"""The modules that define the names of `__all__`."""

if not TYPE_CHECKING:  # A type checker would accept any name of the package.

    def __getattr__(name: str) -> object:
        """Import one of `MODULES`, or a name of `__all__` from one of them (PEP 562)."""
        import importlib  # noqa: PLC0415

        if name in MODULES:
            return importlib.import_module(f"geventecho.{name}")
        if name in __all__:
            for submodule in MODULES:
                module = importlib.import_module(f"geventecho.{submodule}")
                if name in module.__all__:
                    return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
