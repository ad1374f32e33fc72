"""The account of both ends of a load test: the test's own counts beside the counters of the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["ClientEnd", "ServerAccount", "ServerEnd", "compare_ends"]

CAUSES: Final = (
    "possible causes: other clients of the server, such as health checks; a restart of the server; a proxy in front of "
    "the server; metrics of another server"
)


@dataclass(frozen=True, slots=True)
class ClientEnd:
    """The test's own counts, over the whole test and all processes.

    Attributes:
        connections: established connections.
        given_up: connects that the test ended before an answer came. The server may have accepted some of them.
        bytes_sent, bytes_received: bytes of all connections, without PROXY headers and without the overhead of TLS.
        bytes_under_way: unanswered bytes on two kinds of connections. The test closed some connections itself, because
            an operation was aborted, failed or expected no reply. The server refused the others. Some of these bytes
            may not have reached the server, and the echo of others may not have come back.
    """

    connections: int
    given_up: int
    bytes_sent: int
    bytes_received: int
    bytes_under_way: int


@dataclass(frozen=True, slots=True)
class ServerEnd:
    """The server's counters at one moment, or by how much they grew.

    Attributes:
        accepted: accepted connections.
        bytes_received, bytes_sent, bytes_discarded, bytes_lost: received = sent + discarded + lost.
        open: open connections, or their increase.
    """

    accepted: int
    bytes_received: int
    bytes_sent: int
    bytes_discarded: int
    bytes_lost: int
    open: int


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The account of both ends.

    Attributes:
        url: the URL of the server's metrics.
        unknown: why there is no account, or not yet; "" if there is an account.
        client: the test's counts; None while the account is unknown.
        server: the growth of the server's counters from the start of the test to its end; None while it is unknown, or
            if the counters were reset.
        statements: the equations between both ends. An equation that does not hold has "!=" in place of "=".
        findings: a sentence on each difference, with both numbers, then a sentence with possible causes. Empty without
            a difference.
    """

    url: str
    unknown: str = ""
    client: ClientEnd | None = None
    server: ServerEnd | None = None
    statements: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


def compare_ends(
    url: str, client: ClientEnd, before: ServerEnd, after: ServerEnd, *, is_restarted: bool = False
) -> ServerAccount:
    """Compare the test's count with the counters of the server.

    Args:
        url: the URL of the server's metrics.
        client: the test's counts.
        before, after: the server's counters at the start and at the end of the test.
        is_restarted: whether the start time in the metrics has changed.
    """
    grown = {name: getattr(after, name) - getattr(before, name) for name in ServerEnd.__dataclass_fields__}
    if is_restarted or grown["accepted"] < 0 or grown["bytes_received"] < 0:
        then, now = (f"{end.accepted} connections and {end.bytes_received} bytes" for end in (before, after))
        restart = (
            f"the server's counters decreased or were reset during the test: {then} at the start, {now} at the end; "
            "the server was restarted, or another server answers at this URL"
        )
        return ServerAccount(url, restart, client, findings=(restart,))
    server = ServerEnd(**grown)
    statements, findings = zip(*_equations(client, server), strict=True)
    differences = [finding for finding in findings if finding]
    if server.open > 0:
        differences.append(f"the server has {server.open} more open connections than at the start")
    if differences:
        differences.append(CAUSES)
    return ServerAccount(url, "", client, server, statements, tuple(differences))


def _equations(client: ClientEnd, server: ServerEnd) -> Iterator[tuple[str, str]]:
    """Yield each equation as a statement, with a sentence on its difference: "" if the equation holds."""
    unsent, unread = client.bytes_sent - server.bytes_received, server.bytes_sent - client.bytes_received
    if not (unsent >= 0 <= unread and unsent + unread <= client.bytes_under_way):
        unsent = unread = 0  # the bytes under way do not explain the differences
    given_up = server.accepted - client.connections
    if not 0 <= given_up <= client.given_up:
        given_up = 0
    yield _equation("bytes", ("sent", client.bytes_sent), -unsent, "under way", ("received", server.bytes_received))
    received, settled = server.bytes_received, server.bytes_sent + server.bytes_discarded + server.bytes_lost
    parts = f"echoed {server.bytes_sent} + discarded {server.bytes_discarded} + lost {server.bytes_lost}"
    yield (
        f"bytes received by the server {received} {'=' if settled == received else '!='} {parts}",
        ""
        if settled == received
        else f"the server received {received} bytes, but {parts}: {_difference(received, settled)}",
    )
    yield _equation("bytes", ("received", client.bytes_received), unread, "under way", ("sent", server.bytes_sent))
    yield _equation("connections", ("made", client.connections), given_up, "given up", ("accepted", server.accepted))


def _equation(counted: str, ours: tuple[str, int], more: int, why: str, theirs: tuple[str, int]) -> tuple[str, str]:
    """The statement and the finding of an equation: our number and an explained difference are the server's number."""
    (did, mine), (server_did, others) = ours, theirs
    is_equal = mine + more == others
    term = f" {'+' if more > 0 else '-'} {why} {abs(more)}" if more else ""
    statement = f"{counted} {did} {mine}{term} {'=' if is_equal else '!='} {server_did} by the server {others}"
    if is_equal:
        return statement, ""
    finding = f"the test {did} {mine} {counted}, and the server {server_did} {others}: {_difference(mine, others)}"
    return statement, finding


def _difference(number: int, other: int) -> str:
    return f"{abs(other - number)} {'more' if other > number else 'fewer'}"
