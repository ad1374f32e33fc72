"""An error has no reference cycle: the objects of its callers are freed with it, and its chain of causes ends."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from geventecho.client.client import Client
from geventecho.client.connecting import connect
from geventecho.errors import NetworkError, ReplyError
from geventecho.framing import Exactly, LengthPrefixed, Until, UntilQuiet
from tests.support import peers
from tests.support.clients import MIB
from tests.support.timing import UNIT


def echo_after_close(client: Client) -> None:
    client.close()
    client.echo(b"x")


FAILURES: dict[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[Client], object]]] = {
    "refused": (peers.refuses, lambda _: None),
    "connect timeout": (peers.never_accepts, lambda _: None),
    "no such socket": (lambda: nullcontext("unix:/no/such/socket"), lambda _: None),
    "reset": (lambda: peers.resets_after(0), lambda client: client.echo(b"x")),
    "read timeout": (peers.never_replies, lambda client: client.echo(b"x")),
    "nothing received": (peers.never_replies, lambda client: client.recv()),
    "write timeout": (peers.never_reads, lambda client: client.send(bytes(64 * MIB))),
    "neither direction": (peers.never_reads, lambda client: client.echo(bytes(64 * MIB), timeout=UNIT)),
    "short reply": (lambda: peers.replies_short(1), lambda client: client.request(b"xyz", Exactly(3))),
    "corrupt reply": (lambda: peers.corrupts(99_999), lambda client: client.echo(bytes(100_000))),
    "reply too long": (peers.echoes, lambda client: client.request(bytes(99), Until(b"\n", max_size=9))),
    "never quiet": (peers.never_replies, lambda client: client.request(b"x", UntilQuiet(UNIT))),
    "closed locally": (peers.echoes, echo_after_close),
}


class Held:
    """Stands for an object in the frame of a caller, such as a payload."""


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_nothing_to_the_cycle_collector(failure: str) -> None:
    make, use = FAILURES[failure]

    def fail(target: str) -> weakref.ref[Held]:
        held = Held()
        try:
            with connect(target, timeout=UNIT) as client:
                use(client)
        except NetworkError as error:
            cause: BaseException | None = error
            for _ in range(5):
                cause = cause and cause.__cause__
            assert cause is None, "the chain of causes ends"
        else:
            raise AssertionError("the call did not fail")
        return weakref.ref(held)

    with make() as peer:
        assert fail(getattr(peer, "target", peer))() is None


@pytest.mark.parametrize(
    ("make", "use", "sample"),
    [
        (peers.echoes, lambda client: client.request(b"\xffabc", LengthPrefixed(">b")), b"\xffabc"),
        (peers.echoes, lambda client: client.request(b"x" * 99, Until(b"\n", max_size=98)), b"x" * 80),
        (lambda: peers.replies_short(2), lambda client: client.request(b"xyz", Exactly(3)), b"xy"),
        (lambda: peers.replies_short(2), lambda client: client.echo(b"xyz"), b"xy"),
        (lambda: peers.corrupts(2), lambda client: client.echo(bytes(100)), bytes(2) + b"\x01" + bytes(77)),
        (lambda: peers.corrupts(99_999), lambda client: client.echo(bytes(100_000)), b"\x01"),
        (peers.echoes, lambda client: (client.request(b"ab", Exactly(1)), client.echo(b"c")), b"b"),
    ],
    ids=["malformed", "too long", "short", "short echo", "corrupt", "corrupt at the end", "unsolicited"],
)
def test_a_wrong_reply_shows_its_first_bytes(
    make: Callable[[], Any], use: Callable[[Client], object], sample: bytes
) -> None:
    with make() as peer, connect(peer.target, timeout=20 * UNIT) as client, pytest.raises(ReplyError) as caught:
        use(client)
    assert caught.value.sample == sample
