"""The scenarios: each has arguments for the driver, and the peers for which it is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

__all__ = ["FULL", "IDLE_CONNECTIONS", "QUICK", "TLS", "Scenario"]

Kind = Literal["echo", "churn", "flood", "burst", "idle"]

IDLE_CONNECTIONS: Final = 15_000


@dataclass(frozen=True)
class Scenario:
    """One scenario.

    Attributes:
        name: its file name, and its name for `--scenario`.
        title: its heading.
        kind: selects the columns of its table.
        arguments: for the driver; duration and warm-up are added.
        peers: names of its peers; None for all.
        rounds: the turns of each contender.
        most_rounds: limits the rounds that a user asks for.
        stretch: the length of its window, as a multiple of the usual one.
        overhead: seconds of a run besides its window and warm-up, for the estimate of the whole time.
        tls: whether it runs through TLS.
    """

    name: str
    title: str
    kind: Kind
    arguments: tuple[str, ...]
    peers: tuple[str, ...] | None = None
    rounds: int = 3
    most_rounds: int = 100
    stretch: float = 1.0
    overhead: float = 0.3
    tls: bool = False


MAIN_PEERS: Final = ("gevent recv/sendall", "uvloop Protocol", "Node pipe", "C epoll")
FASTEST: Final = ("uvloop Protocol", "C epoll")


def _echo(size: int, connections: int, peers: tuple[str, ...] | None = None) -> Scenario:
    label = f"{size // 1024} KiB" if size >= 1024 else f"{size} B"
    return Scenario(
        f"echo-{size}-{connections}",
        f"Echo, {label}, {connections:,} connections",
        "echo",
        ("--size", str(size), "--connections", str(connections)),
        peers,
        stretch=2.0 if connections >= 10_000 else 1.0,  # each of them should have several turns
        overhead=0.3 + connections / 6000,
    )


PIPELINED: Final = Scenario(
    "pipelined",
    "Pipelined, 64 B, 100 connections, 16 messages in flight on each",
    "echo",
    ("--mode", "pipelined", "--size", "64", "--connections", "100", "--depth", "16"),
)
CHURN: Final = Scenario(
    "churn",
    "Connect, echo 64 B, close; 50 at a time",
    "churn",
    ("--mode", "churn", "--size", "64", "--connections", "50"),
)
FLOOD: Final = Scenario(
    "flood",
    "One flooder that sends without waiting, and a neighbour with 500 messages a second",
    "flood",
    ("--mode", "paced", "--size", "1024", "--connections", "1", "--rate", "500", "--flooders", "1"),
)
BURST: Final = Scenario(
    "burst",
    "10,000 connects at once beside 50 connections with 2,000 messages a second",
    "burst",
    ("--mode", "burst", "--size", "64", "--connections", "50", "--rate", "2000", "--burst", "10000"),
    overhead=2.2,
)
IDLE: Final = Scenario(
    "idle",
    f"Memory of {IDLE_CONNECTIONS:,} idle connections",
    "idle",
    (),
    most_rounds=1,  # memory hardly varies
    overhead=3.5,
)

FULL: Final = (
    *(_echo(1024, connections) for connections in (10, 100, 1000, 10000)),
    *(_echo(size, 100) for size in (64, 16384, 102400)),
    *(
        _echo(size, connections, FASTEST if connections > 10 else MAIN_PEERS)
        for size in (64, 16384, 102400)
        for connections in (10, 1000, 10000)
    ),
    PIPELINED,
    CHURN,
    FLOOD,
    BURST,
    IDLE,
)

QUICK: Final = (
    replace(_echo(1024, 100), rounds=2),
    replace(_echo(1024, 1000, MAIN_PEERS), rounds=2),
    *(replace(_echo(1024, connections, MAIN_PEERS), rounds=1) for connections in (10, 10000)),
    *(replace(_echo(size, 100, FASTEST), rounds=1) for size in (64, 16384)),
    replace(_echo(102400, 10, FASTEST), rounds=2),
    replace(PIPELINED, peers=MAIN_PEERS, rounds=1),
    replace(CHURN, peers=MAIN_PEERS, rounds=1),
    replace(FLOOD, peers=("gevent recv/sendall", "uvloop Protocol"), rounds=1),
    replace(BURST, peers=FASTEST, rounds=1),
    replace(IDLE, peers=("gevent recv/sendall", "uvloop Protocol")),
)


def _secure(scenario: Scenario) -> Scenario:
    return replace(scenario, name=f"tls-{scenario.name}", title=f"{scenario.title}, TLS 1.3", rounds=5, tls=True)


HANDSHAKES: Final = Scenario(
    "tls-handshakes",
    "Connect, TLS 1.3 handshake, echo 1 B, close; 50 at a time",
    "churn",
    ("--mode", "churn", "--size", "1", "--connections", "50"),
    rounds=5,
    tls=True,
)
TLS: Final = (
    *(_secure(_echo(size, 100)) for size in (1024, 16384)),
    HANDSHAKES,
    replace(
        HANDSHAKES,
        name="tls-resumed",
        title="The same with resumed sessions",
        arguments=(*HANDSHAKES.arguments, "--resume"),
    ),
)
