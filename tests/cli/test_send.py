"""`geventecho send`: messages, arguments, and framings of the reply."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import tempfile
import time

import pytest

from tests.support import peers
from tests.support.clients import MIB
from tests.support.commands import COMMAND, SECONDS, environment, failed, send, started, usage_error
from tests.support.servers import resident
from tests.support.timing import UNIT

EVERY_BYTE = bytes(range(256))


class TestMessages:
    def test_a_message_comes_back(self, echo_peer: peers.Peer) -> None:
        done = send(echo_peer.target, "hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")

    @pytest.mark.parametrize("size", [0, 1, 65536, 3 * MIB])
    def test_standard_input_comes_back(self, echo_peer: peers.Peer, size: int) -> None:
        given = random.Random(size).randbytes(size)
        done = send(echo_peer.target, given=given)
        assert (done.returncode, done.stdout == given, done.stderr) == (0, True, b"")

    @pytest.mark.parametrize(
        ("options", "message", "sent"),
        [
            ([], r"PING\r\n", b"PING\r\n"),
            ([], r"\x00\xff\0\t\\ \033 \u20ac", b"\x00\xff\0\t\\ \x1b \xe2\x82\xac"),
            ([], "snö ☃", "snö ☃".encode()),
            (["--encoding", "text"], r"C:\new\x", rb"C:\new\x"),
            (["--encoding", "hex"], "00 ff 0D0a", b"\x00\xff\r\n"),
            (["--encoding", "base64"], base64.b64encode(EVERY_BYTE).decode(), EVERY_BYTE),
        ],
    )
    def test_an_encoding_decodes_the_message(
        self, echo_peer: peers.Peer, options: list[str], message: str, sent: bytes
    ) -> None:
        assert send(echo_peer.target, message, *options).stdout == sent

    def test_any_bytes_of_an_argument_are_sent(self, echo_peer: peers.Peer) -> None:
        given = bytes(byte for byte in EVERY_BYTE[1:] if byte != ord("\\"))
        done = subprocess.run(
            [*map(os.fsencode, COMMAND), b"send", echo_peer.target.encode(), b"x" + given],
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env=environment(),
        )
        assert (done.stdout, done.stderr) == (b"x" + given, b"")

    def test_standard_input_is_streamed_in_flat_memory_and_full_duplex(self, echo_peer: peers.Peer) -> None:
        # A process that keeps the 96 MiB exceeds the limit; one that sends all before it reads does not end.
        block = random.Random(5).randbytes(MIB)
        most = 0
        with started(["send", echo_peer.target]) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for _ in range(96):
                process.stdin.write(block)
                process.stdin.flush()
                assert process.stdout.read(MIB) == block
                most = max(most, resident(process.pid))
            process.stdin.close()
            assert process.stdout.read() == b""
            assert process.wait(SECONDS) == 0
        assert most < 60 * MIB

    def test_a_slow_standard_input_is_no_timeout(self, echo_peer: peers.Peer) -> None:
        process = started(["send", echo_peer.target, "--timeout", str(UNIT)])
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
            time.sleep(3 * UNIT)
        assert process.communicate(timeout=SECONDS) == (b"", b"")
        assert process.returncode == 0

    def test_a_slow_reader_of_the_output_is_no_timeout(self, echo_peer: peers.Peer) -> None:
        given = random.Random(6).randbytes(24 * MIB)
        with tempfile.TemporaryFile() as source:
            source.write(given)
            source.seek(0)
            process = subprocess.Popen(
                [*COMMAND, "send", echo_peer.target, "--timeout", str(2 * UNIT)],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
            )
            assert process.stdout is not None
            first = process.stdout.read(100)
            time.sleep(6 * UNIT)
            out = process.stdout.read()
            process.communicate()
        assert (process.wait(SECONDS), first + out == given) == (0, True)


class TestPositionals:
    """A single argument is a target or a message; default_port/default_target.py has the case of no target."""

    def test_a_single_argument_that_is_a_target_is_the_target(self, echo_peer: peers.Peer) -> None:
        assert send(echo_peer.target, given=b"from stdin").stdout == b"from stdin"
        assert send(f"127.0.0.1:{echo_peer.port}", given=b"from stdin").stdout == b"from stdin"

    @pytest.mark.parametrize(
        "argument",
        [
            "localhost:99999",
            "tcp://localhost",
            "unix:relative",
            "udp://127.0.0.1:1",
            "::1:8090",
            "fd:x",
            "TCP://localhost",
            "127.0.0.1",
            "::1",
            "[::1]",
            "LocalHost",
        ],
    )
    def test_a_single_argument_that_resembles_a_target_is_refused(self, argument: str) -> None:
        assert "If this is the message, give the target before it" in usage_error("send", argument)

    def test_any_argument_after_a_target_is_the_message(self, echo_peer: peers.Peer) -> None:
        assert send(echo_peer.target, "tcp://localhost").stdout == b"tcp://localhost"
        assert send(echo_peer.target, echo_peer.target).stdout == echo_peer.target.encode()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["nowhere", "hello"], "the port is missing"),
            (["127.0.0.1:1", "--timeout", "1", "a", "b"], "unrecognized arguments: a b"),
            (["127.0.0.1:1", "a", "--timeout", "1", "b"], "unrecognized arguments: b"),
            (["127.0.0.1:1", "--nonsense", "a"], "unrecognized arguments: --nonsense a"),
            (["127.0.0.1:1", "--timeout", "1", "-x"], "unrecognized arguments: -x"),
            (["127.0.0.1:1", r"\q"], r"MESSAGE: '\q' is not an escape"),
            (["127.0.0.1:1", "0g", "--encoding", "hex"], "not hexadecimal"),
            (["127.0.0.1:1", "a", "--encoding", "base64"], "not base64"),
            (["127.0.0.1:1", "x", "--expect", "("], "--expect: "),
            (["127.0.0.1:1", "x", "--expect", "(" * 6000], "--expect: "),
            (["127.0.0.1:1", "x", "--expect", "a{99999999999999}"], "--expect: "),
            (["127.0.0.1:1", "x", "--reply-until", r"\q"], "--reply-until: "),
            (["127.0.0.1:1", "x", "--reply-length-prefix", ">99999999999I"], "--reply-length-prefix: "),
            (["127.0.0.1:1", "x", "--reply-length-prefix", "\udcff"], "--reply-length-prefix: "),
            (["127.0.0.1:1", "x", "--reply-exactly", "99999999999999999999"], "0 to 1073741824"),
            (["127.0.0.1:1", "x", "--reply-none", "--reply-exactly", "1"], "one way"),
            (["127.0.0.1:1", "x", "--reply-length-prefix", ">f"], "not one integer"),
            (["127.0.0.1:1", "x", "--reply-exactly", "-1"], "0 to 1073741824"),
            (["127.0.0.1:1", "x", "--timeout", "0"], "it must be above 0 seconds"),
        ],
    )
    def test_wrong_arguments_are_a_usage_error(self, arguments: list[str], words: str) -> None:
        assert words in usage_error("send", *arguments)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["TARGET", "--reply-exactly", "3", "a c"],
            ["--encoding", "text", "TARGET", "--reply-exactly", "3", "a c"],
            ["TARGET", "--reply-exactly=3", "--", "a c"],
            ["TARGET", "--", "a c"],
        ],
    )
    def test_options_may_stand_anywhere(self, echo_peer: peers.Peer, arguments: list[str]) -> None:
        done = send(*(echo_peer.target if argument == "TARGET" else argument for argument in arguments))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"a c", b"")

    def test_a_message_after_two_dashes_may_begin_with_a_dash(self, echo_peer: peers.Peer) -> None:
        assert send(echo_peer.target, "--reply-exactly", "2", "--", "-x").stdout == b"-x"


class TestReplies:
    @pytest.mark.parametrize("end", [["--greeting-until", r"\r\n"], ["--greeting-exactly", "21"]])
    def test_a_greeting_is_read_first(self, end: list[str]) -> None:
        with peers.greets(UNIT / 4) as peer:
            done = send(peer.target, r"NOOP\r\n", *end, "--reply-until", r"\r\n", "--expect", "^250 OK")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"250 OK\r\n", b"")

    @pytest.mark.parametrize(
        ("options", "message", "reply"),
        [
            (["--reply-until", r"\r\n"], r"one\r\ntwo\r\n", b"one\r\n"),
            (["--reply-exactly", "3"], "abcdef", b"abc"),
            (["--reply-exactly", "0"], "abcdef", b""),
            (["--reply-length-prefix", ">H"], r"\0\2hi, more", b"\0\2hi"),
            (["--reply-length-prefix", ">H,1,self"], r"X\0\4hi, more", b"X\0\4hi"),
            (["--reply-quiet", "0.05"], "all of it", b"all of it"),
            (["--reply-none"], "no answer", b""),
        ],
    )
    def test_a_framing_ends_the_reply(
        self, echo_peer: peers.Peer, options: list[str], message: str, reply: bytes
    ) -> None:
        done = send(echo_peer.target, message, *options)
        assert (done.returncode, done.stdout, done.stderr) == (0, reply, b"")

    def test_standard_input_may_have_a_framed_reply(self, echo_peer: peers.Peer) -> None:
        done = send(echo_peer.target, "--reply-until", r"\n", given=b"abc\ndef")
        assert (done.returncode, done.stdout) == (0, b"abc\n")

    @pytest.mark.parametrize("options", [[], ["--reply-until", r"\r\n"]])
    def test_a_reply_that_does_not_match_is_a_failure(self, echo_peer: peers.Peer, options: list[str]) -> None:
        message = r"+PONG\r\n"
        assert send(echo_peer.target, message, "--expect", r"^\+PONG", *options).returncode == 0
        done = send(echo_peer.target, message, "--expect", r"^-ERR", *options)
        failed(done, "does not match '^-ERR'")
        assert done.stdout == b"+PONG\r\n", "the reply is printed too"

    @pytest.mark.parametrize("options", [["--expect", "x"], ["--reply-until", r"\n"], ["--reply-quiet", "0.5"]])
    def test_a_reply_longer_than_reply_max_is_a_failure(self, echo_peer: peers.Peer, options: list[str]) -> None:
        given = b"x" * 99_999 + b"\n"
        done = send(echo_peer.target, *options, "--reply-max", "100000", given=given)
        assert (done.returncode, done.stdout, done.stderr) == (0, given, b"")
        failed(
            send(echo_peer.target, *options, "--reply-max", "99999", given=given),
            "longer than 99999 bytes",
            "--reply-max",
        )

    def test_an_empty_reply_does_not_match_a_pattern_of_one_byte(self, echo_peer: peers.Peer) -> None:
        failed(send(echo_peer.target, "--expect", "."), "does not match")
