"""Payloads: how they are written, and where a user's come from."""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from geventecho.errors import ConfigError
from geventecho.options.encodings import ENCODINGS, decode
from geventecho.payloads import Fixed, Lines, RandomBytes, Source, Template, sizes
from tests.support.properties import given, st


def take(source: Source, user: int, number: int) -> list[bytes]:
    return list(islice(source.payloads(user), number))


class TestDecode:
    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ("plain", b"plain"),
            (r"\r\n\t\a\b\f\v\e\0", b"\r\n\t\a\b\f\v\x1b\0"),
            (r"\\ \" \' \?", b"\\ \" ' ?"),
            (r"\\n", rb"\n"),
            (r"\x00\xfF\x7fg", b"\0\xff\x7fg"),
            (r"\1\12\123\1234\377", b"\1\12\123\1234\377"),
            (r"\u20ac\U0001f600", "€😀".encode()),
            ("€", "€".encode()),
            ("", b""),
        ],
    )
    def test_escapes(self, text: str, data: bytes) -> None:
        assert decode(text) == data

    @pytest.mark.parametrize("text", ["\\", r"\q", r"\x1", r"\xg0", r"\u12", r"\ud800", r"\U00110000", r"\400", "\\\n"])
    def test_what_is_no_escape_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is not an escape; write"):
            decode(f"before {text}")

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_text_is_taken_as_it_stands(self, text: str) -> None:
        assert decode(text, "text") == text.encode()

    @given(st.binary())
    def test_every_encoding_can_write_any_bytes(self, data: bytes) -> None:
        assert decode("".join(f"\\x{byte:02x}" for byte in data), "escapes") == data
        assert decode(data.hex(" "), "hex") == data
        assert decode(data.hex().upper(), "hex") == data
        assert decode(base64.b64encode(data).decode(), "base64") == data

    def test_base64_may_be_wrapped(self) -> None:
        assert decode("aGVs\n bG8=\n", "base64") == b"hello"

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [("0", "hex"), ("xy", "hex"), ("a", "base64"), ("aGVsbG8", "base64"), ("a€==", "base64"), ("x", "rot13")],
    )
    def test_nonsense_is_refused(self, text: str, encoding: str) -> None:
        with pytest.raises(ConfigError):
            decode(text, encoding)

    def test_the_first_encoding_is_the_default(self) -> None:
        assert decode(r"\n") == decode(r"\n", ENCODINGS[0]) == b"\n"


class TestSizes:
    @pytest.mark.parametrize("text", ["0", "1024", "1073741824"])
    def test_one_size(self, text: str) -> None:
        assert {sizes(text)(Random(1)) for _ in range(10)} == {int(text)}

    def test_a_range(self) -> None:
        random, draw = Random(1), sizes("3-7")
        seen = Counter(draw(random) for _ in range(5000))
        assert sorted(seen) == [3, 4, 5, 6, 7]
        assert all(800 < found < 1200 for found in seen.values())

    def test_weights(self) -> None:
        random, draw = Random(1), sizes("64:7,576:4,1500")
        seen = Counter(draw(random) for _ in range(12_000))
        assert sorted(seen) == [64, 576, 1500]
        for size, weight in ((64, 7), (576, 4), (1500, 1)):
            assert seen[size] == pytest.approx(1000 * weight, rel=0.15)

    @pytest.mark.parametrize(
        "text",
        ["", "x", "-1", "7-3", "1-", "1073741825", "1-1073741825", "1:0", "1:1,", "1:-1", "1.5"]
        + [form.format("9" * 5000) for form in ("{}", "1-{}", "1:{}")],
        ids=lambda text: text[:12],
    )
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="distribution of sizes"):
            sizes(text)


class TestSources:
    def test_fixed(self) -> None:
        assert take(Fixed(b"ping"), 0, 3) == take(Fixed(b"ping"), 1, 3) == [b"ping"] * 3

    def test_random_can_be_repeated(self) -> None:
        source = RandomBytes("10-20", seed=1)
        assert take(source, 3, 5) == take(source, 3, 5) == take(RandomBytes("10-20", seed=1), 3, 5)
        assert take(source, 3, 5) != take(RandomBytes("10-20", seed=2), 3, 5)

    def test_random_payloads_are_all_different(self) -> None:
        source = RandomBytes("16")
        seen = [payload for user in range(50) for payload in take(source, user, 50)]
        assert {len(payload) for payload in seen} == {16}
        assert len(set(seen)) == 2500

    def test_lines_in_turn_from_a_different_one_for_each_user(self) -> None:
        source = Lines([b"a", b"b", b"c"], b"\r\n")
        assert take(source, 0, 4) == [b"a\r\n", b"b\r\n", b"c\r\n", b"a\r\n"]
        assert take(source, 4, 2) == [b"b\r\n", b"c\r\n"]

    def test_lines_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "lines"
        path.write_bytes(b"GET a\r\n\n\xff\x00 b\nlast")
        assert take(Lines.of_file(path), 0, 3) == [b"GET a\n", b"\xff\x00 b\n", b"last\n"]
        assert take(Lines.of_file(path, b""), 0, 1) == [b"GET a"]

    def test_a_file_without_lines_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_bytes(b"\n\n")
        for name, words in (("empty", "has no lines"), ("missing", "cannot be read"), (".", "cannot be read")):
            with pytest.raises(ConfigError, match=words):
                Lines.of_file(tmp_path / name)
        with pytest.raises(ConfigError):
            Lines([])

    def test_a_template(self) -> None:
        source = Template(b"{user}:{message:04d}:{message:x} {other} {user:>3}\xff")
        assert take(source, 7, 2) == [b"7:0001:1 {other}   7\xff", b"7:0002:2 {other}   7\xff"]
        assert take(source, 8, 1) == [b"8:0001:1 {other}   8\xff"]

    def test_a_template_may_be_json(self) -> None:
        payload = take(Template(b'{"user": {user}, "n": [{message}], "empty": {}}'), 3, 2)[1]
        assert json.loads(payload) == {"user": 3, "n": [2], "empty": {}}

    def test_a_template_without_fields(self) -> None:
        assert take(Template(b"{ping}"), 3, 2) == [b"{ping}"] * 2

    def test_a_template_at_its_edges(self) -> None:
        assert take(Template(b"{user}{message}"), 1, 2) == [b"11", b"12"]
        assert take(Template(b""), 1, 2) == [b"", b""]

    @pytest.mark.parametrize("text",
        [b"{user:s}", b"{message:q}", b"{user:.2}", b"{user:c}", b"{user:e}", b"{message:99999999999}", b"{user:01001}",
         b"{user:,x}", b"{user:\xff}"],
    )  # fmt: skip
    def test_a_format_that_is_none_for_numbers_is_refused(self, text: bytes) -> None:
        with pytest.raises(ConfigError, match=r"is not a format|cannot be formatted"):
            Template(text)

    def test_formats_fit_any_number(self) -> None:
        source = Template(b"{user:#x} {user:+,d} {user:X} {user:o} {user:b} {user:*^9} {user:1000}")
        (payload,) = take(source, 2_000_000, 1)
        assert payload.startswith(b"0x1e8480 +2,000,000 1E8480 7502200 111101000010010000000 *2000000* ")
        assert payload.endswith(b" 2000000")
        assert len(payload.split(b"*")[-1]) == 1001
