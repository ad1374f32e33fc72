"""Both ends of a load test, one account: the test's own count beside the counters of the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["ClientEnd", "ServerAccount", "ServerEnd", "compare_ends"]

CAUSES: Final = (
    "possible causes: other clients of the server, such as health checks; a restart of the server; a proxy before it; "
    "metrics of another server"
)


@dataclass(frozen=True, slots=True)
class ClientEnd:
    """The test's own count, of the whole test and all processes.

    Attributes:
        connections: that were established.
        given_up: connects that the test ended before it had an answer. The server may have accepted some of them.
        bytes_sent, bytes_received: of all connections, without PROXY headers; through TLS those of the messages alone.
        bytes_under_way: sent and not answered on connections that the test itself closed, because an operation was
            aborted, failed or expected no reply, or that the server refused. Some of them may not have come to the
            server, and others not back.
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
        accepted: connections.
        bytes_received, bytes_sent, bytes_discarded, bytes_lost: received = sent + discarded + lost.
        open: connections that are open, or by how many there are more.
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
        url: of the server's metrics.
        unknown: why there is none, or none yet; "" where there is one.
        client: None while the account is unknown.
        server: from the start of the test to its end; None while it is unknown, or where the counters began anew.
        statements: the equations between both ends, with "!=" in place of "=" where they do not hold.
        findings: sentences on each difference, with both numbers. The last one names possible causes. Empty where there
            is none.
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
        url: of the server's metrics.
        client: the test's count.
        before, after: the server's counters at the start and at the end of the test.
        is_restarted: whether the server says that it was started in between.
    """
    grown = {name: getattr(after, name) - getattr(before, name) for name in ServerEnd.__dataclass_fields__}
    if is_restarted or grown["accepted"] < 0 or grown["bytes_received"] < 0:
        then, now = (f"{end.accepted} connections and {end.bytes_received} bytes" for end in (before, after))
        restart = (
            f"the server's counters went backwards or began anew during the test: {then} at the start, {now} at the "
            "end; it was restarted, or another server answers there"
        )
        return ServerAccount(url, restart, client, findings=(restart,))
    server = ServerEnd(**grown)
    statements, findings = zip(*_equations(client, server), strict=True)
    differences = [finding for finding in findings if finding]
    if server.open > 0:
        differences.append(f"connections open at the server: {server.open} more than at the start")
    if differences:
        differences.append(CAUSES)
    return ServerAccount(url, "", client, server, statements, tuple(differences))


def _equations(client: ClientEnd, server: ServerEnd) -> Iterator[tuple[str, str]]:
    """Yield each equation as a statement, and what differs in it: "" where it holds."""
    unsent, unread = client.bytes_sent - server.bytes_received, server.bytes_sent - client.bytes_received
    if not (unsent >= 0 <= unread and unsent + unread <= client.bytes_under_way):
        unsent = unread = 0  # not the bytes under way
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
        else f"the server received {received} bytes, but {parts}: {_apart(received, settled)}",
    )
    yield _equation("bytes", ("received", client.bytes_received), unread, "under way", ("sent", server.bytes_sent))
    yield _equation("connections", ("made", client.connections), given_up, "given up", ("accepted", server.accepted))


def _equation(what: str, ours: tuple[str, int], more: int, why: str, theirs: tuple[str, int]) -> tuple[str, str]:
    """Our number, plus what explains a difference, is the server's."""
    (did, mine), (server_did, others) = ours, theirs
    is_equal = mine + more == others
    term = f" {'+' if more > 0 else '-'} {why} {abs(more)}" if more else ""
    statement = f"{what} {did} {mine}{term} {'=' if is_equal else '!='} {server_did} by the server {others}"
    if is_equal:
        return statement, ""
    return statement, f"the test {did} {mine} {what}, and the server {server_did} {others}: {_apart(mine, others)}"


def _apart(number: int, other: int) -> str:
    return f"{abs(other - number)} {'more' if other > number else 'fewer'}"
