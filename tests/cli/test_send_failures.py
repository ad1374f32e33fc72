"""Failures of `geventecho send`: exit codes and lines."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.support import peers
from tests.support.clients import MIB, SLACK
from tests.support.commands import COMMAND, SECONDS, environment, failed, send, started
from tests.support.timing import UNIT, wait_until


class TestFailures:
    def test_a_refused_connect_is_named(self) -> None:
        with peers.refuses() as target:
            failed(send(target, "hello"), f"connect {target}: refused")

    def test_a_connect_without_an_answer_is_named(self) -> None:
        with peers.never_accepts() as target:
            failed(send(target, "hello", "--timeout", str(UNIT)), f"connect {target}: no answer within")

    @pytest.mark.parametrize("options", [[], ["--reply-exactly", "5"]])
    def test_a_peer_that_never_replies_is_a_failure_after_the_timeout(self, options: list[str]) -> None:
        with peers.never_replies() as peer:
            began = time.monotonic()
            failed(send(peer.target, "hello", "--timeout", str(3 * UNIT), *options), f"read {peer.target}", "within")
            assert 3 * UNIT <= time.monotonic() - began <= 3 * UNIT + SLACK

    def test_a_peer_that_never_reads_is_named(self) -> None:
        with peers.never_reads() as peer:
            done = send(peer.target, "--timeout", str(3 * UNIT), given=bytes(32 * MIB))
            failed(done, f"write {peer.target}: the peer took nothing")

    @pytest.mark.parametrize("options", [[], ["--reply-exactly", "100"]])
    def test_a_reset_is_named_with_the_target(self, options: list[str]) -> None:
        with peers.resets_after(0) as peer:
            failed(send(peer.target, "hello", *options), peer.target, "reset")

    @pytest.mark.parametrize("options", [["--reply-exactly", "11"], ["--reply-until", r"\n"]])
    def test_a_short_reply_is_printed(self, options: list[str]) -> None:
        with peers.replies_short(5) as peer:
            done = send(peer.target, "hello world", *options)
        failed(done, "the peer closed after 5")
        assert done.stdout == b"hello"

    def test_the_bytes_before_a_timeout_are_printed(self, echo_peer: peers.Peer) -> None:
        done = send(echo_peer.target, "hello", "--reply-exactly", "11", "--timeout", str(2 * UNIT))
        failed(done, "5 bytes of it came")
        assert done.stdout == b"hello"

    def test_a_flood_is_printed_until_standard_output_is_closed(self) -> None:
        with peers.floods() as peer:
            process = started(["send", peer.target, "go"])
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(MIB) == b"x" * MIB
            process.stdout.close()
            assert process.wait(SECONDS) == 1
            assert process.stderr.read() == b"geventecho send: standard output cannot be written: Broken pipe\n"
            process.communicate()

    def test_ctrl_c_ends_send_with_130_and_no_line(self, echo_peer: peers.Peer) -> None:
        with started(["send", echo_peer.target]) as process:
            wait_until(lambda: echo_peer.open)
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 130
            assert process.stderr is not None
            assert process.stderr.read() == b""

    @pytest.mark.parametrize(
        ("closed", "code", "out", "err"),
        [("<&-", 0, b"", b""), (">&-", 1, b"", b"geventecho send: standard output is closed\n")],
    )
    def test_a_closed_standard_input_is_empty_and_a_closed_standard_output_is_a_failure(
        self, echo_peer: peers.Peer, closed: str, code: int, out: bytes, err: bytes
    ) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {closed}', "sh", *COMMAND, "send", echo_peer.target],
            input=b"unread",
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env=environment(),
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, out, err)

    def test_a_close_before_all_is_sent_is_a_failure(self) -> None:
        with peers.closes_after(5) as peer:
            process = started(["send", peer.target])
            assert process.stdin is not None
            process.stdin.write(b"hello")
            process.stdin.flush()
            wait_until(lambda: process.poll() is not None)
            out, err = process.communicate()
        assert (process.returncode, out) == (1, b"hello")
        assert b"the peer closed before all of the message was sent" in err

    def test_a_standard_input_that_cannot_be_read_is_a_failure(self, echo_peer: peers.Peer) -> None:
        write_only = os.open(os.devnull, os.O_WRONLY)
        try:
            done = subprocess.run(
                [*COMMAND, "send", echo_peer.target],
                stdin=write_only,
                capture_output=True,
                timeout=SECONDS,
                check=False,
                env=environment(),
            )
        finally:
            os.close(write_only)
        failed(done, "standard input cannot be read")

    def test_a_standard_output_that_cannot_be_written_is_a_failure(self, echo_peer: peers.Peer) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*COMMAND, "send", echo_peer.target, "hello"],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=SECONDS,
                check=False,
                env=environment(),
            )
        failed(done, "standard output cannot be written: No space left on device")

    @pytest.mark.parametrize("message", ["hello", "hello\n"])
    def test_the_error_has_a_line_of_its_own_on_a_terminal(self, echo_peer: peers.Peer, message: str) -> None:
        arguments = [*COMMAND, "send", echo_peer.target, message, "--expect", "nothing like it"]
        terminal, inner = os.openpty()
        with subprocess.Popen(arguments, stdin=inner, stdout=inner, stderr=inner, env=environment()) as process:
            os.close(inner)
            assert process.wait(SECONDS) == 1
        shown = os.read(terminal, 65536)
        os.close(terminal)
        assert shown.startswith(b"hello\r\ngeventecho send: read ")
        assert shown.count(b"\r\n") == 2
