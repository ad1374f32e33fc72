"""Framings: every cut of the stream gives the same reply and the same rest; limits; no quadratic cost."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from geventecho.client.reply import ReplyReader
from geventecho.errors import ConfigError, ReplyError, ReplyTooLong, ShortReply
from geventecho.framing import (
    DEFAULT_MAX_SIZE,
    LARGEST,
    OPEN_MAX_SIZE,
    Exactly,
    Framing,
    LengthPrefixed,
    NoReply,
    Parsed,
    Until,
    UntilClosed,
    UntilQuiet,
    as_framing,
)
from tests.support.properties import given, st
from tests.support.replies import PEER, read
from tests.support.timing import SCALE

MIB = 2**20


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(edges)]


cuts = st.lists(st.integers(min_value=0), max_size=8)


@given(st.binary(min_size=1, max_size=50), st.binary(max_size=20), cuts)
def test_exactly_is_the_same_however_it_is_cut(reply: bytes, rest: bytes, where: list[int]) -> None:
    assert read(Exactly(len(reply)), pieces(reply + rest, where))[:2] == (reply, rest)


@given(st.binary(min_size=1, max_size=4), st.binary(max_size=60), st.binary(max_size=20), cuts)
def test_until_is_the_same_however_it_is_cut(delimiter: bytes, body: bytes, rest: bytes, where: list[int]) -> None:
    stream = body + delimiter + rest
    end = stream.index(delimiter) + len(delimiter)
    assert read(Until(delimiter), pieces(stream, where))[:2] == (stream[:end], stream[end:])


@given(st.integers(min_value=1, max_value=6), st.integers(min_value=0, max_value=20))
def test_a_delimiter_that_begins_again_within_itself_is_found(repeats: int, before: int) -> None:
    delimiter = b"aab"
    stream = b"a" * before + b"aab" * repeats
    for cut in range(1, len(stream)):
        reply, rest, _ = read(Until(delimiter), [stream[:cut], stream[cut:]])
        assert reply == stream[: before + 3]
        assert reply + rest == stream


@given(
    st.sampled_from(["B", ">H", "<H", ">I", "<Q", ">i"]),
    st.integers(min_value=0, max_value=5),
    st.booleans(),
    st.binary(max_size=60),
    st.binary(max_size=20),
    cuts,
)
def test_length_prefixed_is_the_same_however_it_is_cut(
    layout: str, offset: int, includes_itself: bool, body: bytes, rest: bytes, where: list[int]
) -> None:
    size = struct.calcsize(layout)
    length = len(body) + (size if includes_itself else 0)
    reply = bytes(offset) + struct.pack(layout, length) + body
    framing = LengthPrefixed(layout, offset, includes_itself)
    assert read(framing, pieces(reply + rest, where))[:2] == (reply, rest)


@pytest.mark.parametrize(
    ("framing", "reply"),
    [
        (Exactly(12), b"twelve bytes"),
        (Until(b"\r\n\r\n"), b"HTTP/1.1 204\r\nA: b\r\n\r\n"),
        (LengthPrefixed(">I", 1, True), b"R\x00\x00\x00\x08\x00\x00\x00\x00"),
        (Parsed(lambda chunk: chunk.find(b";") + 1 or None), b"select 1;"),
    ],
)
def test_every_single_cut_and_every_byte_alone(framing: Framing, reply: bytes) -> None:
    stream = reply + b"next"
    for cut in range(1, len(stream)):
        assert read(framing, [stream[:cut], stream[cut:]])[:2] == (reply, b"next")
    assert read(framing, [bytes([byte]) for byte in stream])[:2] == (reply, b"next")
    assert read(framing, [stream]) == (reply, b"next", 1)


@pytest.mark.parametrize("framing", [Exactly(3), Until(b"\n"), LengthPrefixed("B"), Parsed(lambda chunk: True)])
def test_a_framing_serves_many_replies(framing: Framing) -> None:
    for _ in range(3):
        assert read(framing, [b"\x02a\n"])[0] == b"\x02a\n"


def test_no_reply_and_an_empty_one_are_complete_at_once() -> None:
    assert ReplyReader(NoReply()).complete
    assert ReplyReader(Exactly(0)).complete
    assert not ReplyReader(Exactly(1)).complete
    assert not ReplyReader(UntilClosed()).complete


# The peer's FIN.


def test_the_end_of_the_stream_ends_a_reply_until_closed() -> None:
    reader = ReplyReader(UntilClosed())
    assert not reader.feed(b"some")
    reader.end()
    assert (reader.complete, reader.data) == (True, b"some")
    empty = ReplyReader(UntilClosed())
    empty.end()
    assert (empty.complete, empty.data) == (True, b"")


def test_the_end_of_the_stream_ends_a_quiet_reply_that_has_begun() -> None:
    reader = ReplyReader(UntilQuiet(1))
    with pytest.raises(ShortReply):
        reader.end()
    reader.feed(b"x")
    reader.end()
    assert reader.data == b"x"


@pytest.mark.parametrize(
    ("framing", "chunks", "received", "expected"),
    [
        (Exactly(10), [b"abc"], 3, 10),
        (Exactly(10), [], 0, 10),
        (Until(b"\n"), [b"abc", b"d"], 4, None),
        (LengthPrefixed(">H"), [b"\x00\x09", b"abc"], 5, 11),
        (LengthPrefixed(">H"), [b"\x00"], 1, None),
        (Parsed(lambda chunk: None), [b"abc"], 3, None),
    ],
)
def test_elsewhere_it_cuts_the_reply_short(
    framing: Framing, chunks: list[bytes], received: int, expected: int | None
) -> None:
    reader = ReplyReader(framing, PEER)
    for chunk in chunks:
        assert not reader.feed(chunk)
    with pytest.raises(ShortReply) as caught:
        reader.end()
    assert (caught.value.received, caught.value.expected, caught.value.address) == (received, expected, PEER)
    assert reader.data == b"".join(chunks)


# Limits.


@pytest.mark.parametrize(
    "make",
    [
        lambda size: Until(b"\n", max_size=size),
        lambda size: UntilQuiet(1, max_size=size),
        lambda size: UntilClosed(max_size=size),
        lambda size: Parsed(lambda chunk: None, max_size=size),
    ],
)
def test_a_reply_beyond_its_limit_fails_at_once_and_one_at_its_limit_does_not(make: Callable[[int], Framing]) -> None:
    reader = ReplyReader(make(10), PEER)
    assert not reader.feed(b"12345")
    assert not reader.feed(b"67890")
    with pytest.raises(ReplyTooLong, match="longer than 10 bytes; a larger max_size, or --reply-max,") as caught:
        reader.feed(b"x")
    assert (caught.value.limit, caught.value.address) == (10, PEER)


def test_a_complete_reply_can_be_too_long_too() -> None:
    assert read(Until(b"\n", max_size=4), [b"abc\nrest"])[:2] == (b"abc\n", b"rest")
    with pytest.raises(ReplyTooLong):
        read(Until(b"\n", max_size=3), [b"abc\nrest"])
    with pytest.raises(ReplyTooLong):
        read(Until(b"\n", max_size=3), [b"ab", b"c\n"])


def test_a_length_beyond_the_limit_fails_with_its_header() -> None:
    with pytest.raises(ReplyTooLong):
        ReplyReader(LengthPrefixed(">I"), PEER).feed(b"\xff\xff\xff\xff")
    with pytest.raises(ReplyTooLong):
        ReplyReader(LengthPrefixed(">I", max_size=7), PEER).feed(b"\x00\x00\x00\x04")
    assert not ReplyReader(LengthPrefixed(">I", max_size=8), PEER).feed(b"\x00\x00\x00\x04")


def test_every_framing_has_a_limit() -> None:
    assert Exactly(5).max_size == 5
    assert NoReply().max_size == 0
    for framing in (LengthPrefixed(">I"), as_framing(lambda chunk: None)):
        assert framing.max_size == DEFAULT_MAX_SIZE
    for framing in (Until(b"x"), UntilQuiet(1), UntilClosed()):
        assert framing.max_size == OPEN_MAX_SIZE, "a reply without end is held by each of thousands of users"


@pytest.mark.parametrize(
    ("header", "includes_itself"), [(struct.pack(">i", -1), False), (struct.pack(">i", 3), True), (bytes(4), True)]
)
def test_a_length_that_cannot_be_is_malformed(header: bytes, includes_itself: bool) -> None:
    reader = ReplyReader(LengthPrefixed(">i", includes_itself=includes_itself), PEER)
    with pytest.raises(ReplyError, match="malformed: the length in its header is") as caught:
        reader.feed(header)
    assert caught.value.address == PEER


@pytest.mark.parametrize(
    "make",
    [
        lambda: Exactly(-1),
        lambda: Exactly(True),
        lambda: Exactly(LARGEST + 1),
        lambda: Exactly(1.5),  # type: ignore[arg-type]
        lambda: Until(b""),
        lambda: Until("text"),  # type: ignore[arg-type]
        lambda: Until(b"x", max_size=-1),
        lambda: LengthPrefixed("nonsense"),
        lambda: LengthPrefixed(">f"),
        lambda: LengthPrefixed(">HH"),
        lambda: LengthPrefixed(">4s"),
        lambda: LengthPrefixed("?"),
        lambda: LengthPrefixed(">H", -1),
        lambda: LengthPrefixed("\udcff"),
        lambda: LengthPrefixed(">99999999999I"),
        lambda: LengthPrefixed(">I", DEFAULT_MAX_SIZE - 3),
        lambda: UntilQuiet(0),
        lambda: UntilQuiet(float("nan")),
        lambda: UntilQuiet(float("inf")),
        lambda: as_framing(UntilClosed),  # type: ignore[arg-type]
        lambda: as_framing(b"\n"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_refused_where_it_is_written(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


# Cost.


def seconds_to_read(framing: Framing, reply: bytes, size: int) -> float:
    chunks = [reply[start : start + size] for start in range(0, len(reply), size)]
    began = time.process_time()
    assert read(framing, chunks)[0] == reply
    return time.process_time() - began


def replies(size: int) -> list[tuple[Framing, bytes]]:
    return [
        (Exactly(size), bytes(size)),
        (Until(b"\r\n\r\n", max_size=size), bytes(size - 4) + b"\r\n\r\n"),
        (LengthPrefixed(">I"), struct.pack(">I", size - 4) + bytes(size - 4)),
        (Parsed(lambda chunk: b"\1" in chunk), bytes(size - 1) + b"\1"),
    ]


@pytest.mark.parametrize(("framing", "reply"), replies(10 * MIB))
def test_ten_megabytes_in_usual_chunks_cost_next_to_nothing(framing: Framing, reply: bytes) -> None:
    assert seconds_to_read(framing, reply, 65536) < 1.0 * SCALE


@pytest.mark.parametrize(("framing", "reply"), replies(MIB))
def test_byte_by_byte_the_cost_is_not_quadratic(framing: Framing, reply: bytes) -> None:
    # A copy of all that has come for each byte would move half a terabyte.
    assert seconds_to_read(framing, reply, 1) < 10 * SCALE
