"""Framings of one's own: callables, parsers, subclasses, and what is refused of them."""

from __future__ import annotations

import pytest

from geventecho.client.reply import ReplyReader
from geventecho.errors import ReplyError
from geventecho.framing import (
    Framing,
    Parser,
    as_framing,
)
from tests.support.replies import PEER, read


def test_a_callable_is_fed_each_byte_once() -> None:
    seen: list[bytes] = []

    def ends(chunk: bytes) -> bool:
        seen.append(chunk)
        return chunk.endswith(b"!")

    assert read(as_framing(ends), [b"a", b"bc", b"d!", b"e"])[:2] == (b"abcd!", b"e")
    assert seen == [b"a", b"bc", b"d!"]


def test_a_callable_may_ask_for_more_than_the_chunk_holds() -> None:
    calls: list[bytes] = []

    def four_more(chunk: bytes) -> int:
        calls.append(chunk)
        return 4

    assert read(as_framing(four_more), [b"a", b"b", b"cdef"])[:2] == (b"abcd", b"ef")
    assert calls == [b"a"]


def test_a_callable_may_end_the_reply_before_the_chunk() -> None:
    assert read(as_framing(lambda chunk: 0 if chunk == b"next" else None), [b"a", b"next"])[:2] == (b"a", b"next")


def test_a_subclass_starts_afresh_with_each_reply() -> None:
    class Lines(Framing):
        """Three lines."""

        def parser(self) -> Parser:
            left = 3

            def parse(chunk: bytes) -> int | None:
                nonlocal left
                for at, byte in enumerate(chunk, 1):
                    left -= byte == 0x0A
                    if not left:
                        return at
                return None

            return parse

    framing = Lines()
    for _ in range(2):
        assert read(framing, [b"1\n2", b"\n3\n4\n"])[:2] == (b"1\n2\n3\n", b"4\n")


def test_a_parser_that_refuses_makes_a_reply_error() -> None:
    def refuse(chunk: bytes) -> None:
        raise ValueError("no such tag")

    with pytest.raises(ReplyError, match="malformed: no such tag"):
        ReplyReader(as_framing(refuse), PEER).feed(b"x")


@pytest.mark.parametrize("verdict", ["x", -1, 1.5])
def test_a_callable_that_returns_nonsense_is_told_so(verdict: object) -> None:
    with pytest.raises(TypeError, match="give None, True or a number of bytes"):
        ReplyReader(as_framing(lambda chunk: verdict)).feed(b"x")  # type: ignore[arg-type,return-value]
