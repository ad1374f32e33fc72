"""Ping: the series, its summary, and the command."""

from __future__ import annotations

import json
import math
import re
import signal
import socket
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

import gevent
import pytest

from geventecho.client import Client, Payload, Tls
from geventecho.client.ping import SAMPLES_NEEDED, SURELY_LOST, Ping, Summary, pings
from geventecho.errors import AddressError, ConfigError, ConnectRefused
from tests.support import peers
from tests.support.clients import SLACK
from tests.support.commands import SECONDS, handles_signal, run_here, started, usage_error
from tests.support.timing import UNIT, wait_until

ANSWER = re.compile(r"64 bytes from tcp://127\.0\.0\.1:\d+: seq=(\d+) time=(\d+\.\d) us")
NAMES = ("min", "avg", "p50", "p99", "p99.9", "max", "mdev")
TIMES = re.compile("/".join(NAMES) + " = " + "/".join([r"([\d.]+|-)"] * len(NAMES)) + " us")


def times(line: str) -> dict[str, float]:
    """The times of the summary's line, by name; a dash is NaN."""
    match = TIMES.fullmatch(line)
    assert match is not None, line
    return {name: math.nan if text == "-" else float(text) for name, text in zip(NAMES, match.groups(), strict=True)}


@contextmanager
def never_replies() -> Iterator[str]:
    """The target of a peer that accepts and stays silent."""
    with peers.never_replies() as peer:
        yield peer.target


@pytest.mark.usefixtures("no_leaks")
class TestSeries:
    def test_every_echo_is_answered(self, echo_peer: peers.Peer) -> None:
        summary = Summary()
        for ping in pings(echo_peer.target, count=5, interval=0, size=100):
            summary.add(ping)
            assert ping.error is None
            assert ping.size == 100
            assert ping.seconds is not None
            assert 0 < ping.seconds < 5
        assert (summary.sent, summary.lost, summary.lost_percent, summary.latency.count) == (5, 0, 0.0, 5)
        assert echo_peer.accepted == 1, "one connection for all of them"

    def test_a_time_ends_with_the_arrival_and_not_with_the_read(
        self, echo_peer: peers.Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        echo, held = Client.echo, UNIT / 3

        def read_late(client: Client, payload: Payload, *, timeout: Any) -> Payload:
            gevent.get_hub().loop.run_callback(time.sleep, held)  # once the echo waits; the peer answers meanwhile
            return echo(client, payload, timeout=timeout)

        monkeypatch.setattr(Client, "echo", read_late)
        seconds = [ping.seconds or math.inf for ping in pings(echo_peer.target, count=5, interval=0)]
        assert statistics.median(seconds) < held / 2

    def test_the_payloads_differ(self) -> None:
        seen: list[bytes] = []

        def record(connection: socket.socket) -> None:
            while chunk := connection.recv(100):
                seen.append(chunk)
                connection.sendall(chunk)

        for size in (1, 8, 64):
            seen.clear()
            with peers.Peer(record) as peer:
                list(pings(peer.target, count=20, interval=0, size=size))
            assert [len(payload) for payload in seen] == [size] * 20
            assert len(set(seen)) == 20

    @pytest.mark.alone
    def test_the_interval_does_not_drift(self, echo_peer: peers.Peer) -> None:
        began = time.monotonic()
        arrivals = []
        for _ in pings(echo_peer.target, count=6, interval=UNIT):
            arrivals.append(time.monotonic() - began)
            time.sleep(UNIT / 3)  # the caller's own time is no part of the interval
        for sequence, arrival in enumerate(arrivals):
            assert sequence * UNIT <= arrival < sequence * UNIT + UNIT / 2

    @pytest.mark.alone
    def test_pings_due_in_an_outage_are_left_out(self) -> None:
        with peers.never_replies() as peer:
            began = time.monotonic()
            times = []
            for ping in pings(peer.target, count=3, interval=UNIT, timeout=2.5 * UNIT):
                assert ping.error is not None
                assert ping.error.kind == "read timeout"
                times.append(time.monotonic() - began)
        # Due at 0, 3 and 6 units: the pings that are due while another one is under way are left out.
        assert [round(time / UNIT, 1) for time in times] == pytest.approx([2.5, 5.5, 8.5], abs=0.5)

    def test_a_lost_echo_costs_the_connection(self) -> None:
        with peers.corrupts(150) as peer:
            found = [ping.error.kind if ping.error else "" for ping in pings(peer.target, count=5, interval=0)]
            assert found == ["", "", "corrupt reply", "", ""]
            assert peer.accepted == 2

    @pytest.mark.parametrize(
        ("peer", "kind"),
        [
            (peers.never_replies(), "read timeout"),
            (peers.replies_short(10), "short reply"),
            (peers.corrupts(7), "corrupt reply"),
            (peers.resets_after(5), "reset"),
        ],
    )
    def test_each_failure_has_its_name(self, peer: peers.Peer, kind: str) -> None:
        summary = Summary()
        began = time.monotonic()
        with peer:
            for ping in pings(peer.target, count=2, interval=0, timeout=UNIT):
                summary.add(ping)
        assert dict(summary.losses) == {kind: 2}
        assert (summary.sent, summary.lost, summary.lost_percent, summary.latency.count) == (2, 2, 100.0, 0)
        assert time.monotonic() - began < 2 * UNIT + SLACK

    def test_a_series_goes_on_when_the_server_is_back(self) -> None:
        with peers.echoes() as peer:
            series = pings(peer.target, interval=0)
            assert next(series).error is None
        assert [type(ping.error) for ping in islice(series, 2)][1] is ConnectRefused
        with peers.echoes(port=peer.port):
            assert next(series).error is None
            assert isinstance(series, Generator)
            series.close()

    def test_a_series_ends_at_the_deadline(self, echo_peer: peers.Peer) -> None:
        began = time.monotonic()
        found = list(pings(echo_peer.target, interval=0, deadline=2 * UNIT))
        assert 2 * UNIT <= time.monotonic() - began < 2 * UNIT + SLACK
        assert all(ping.error is None for ping in found), "the ping that the deadline cuts off is left out"
        assert len(found) > 2

    @pytest.mark.parametrize("timeout", [None, 60.0])
    @pytest.mark.parametrize("silent", [never_replies, peers.never_accepts])
    def test_silence_until_the_deadline_is_a_loss(
        self, silent: Callable[[], AbstractContextManager[str]], timeout: float | None
    ) -> None:
        with silent() as target:
            began = time.monotonic()
            (ping,) = pings(target, timeout=timeout, deadline=2 * UNIT)
            assert 2 * UNIT <= time.monotonic() - began < 2 * UNIT + SLACK
        assert ping.error is not None
        assert ping.error.kind in ("read timeout", "connect timeout")

    def test_a_server_that_falls_silent_before_the_deadline_is_a_loss(self) -> None:
        def once(connection: socket.socket) -> None:
            connection.sendall(connection.recv(100))
            connection.recv(1000)
            connection.recv(1000)

        with peers.Peer(once) as peer:
            first, second = pings(peer.target, interval=0, deadline=SURELY_LOST + 2 * UNIT)
        assert first.error is None
        assert second.error is not None
        assert second.error.kind == "read timeout"

    def test_mdev_is_the_population_standard_deviation(self) -> None:
        summary = Summary()
        assert summary.mdev is None
        times = [0.0001, 0.00025, 0.0009, 0.0001]
        for number, seconds in enumerate(times):
            summary.add(Ping(number, 64, seconds=seconds))
        assert summary.mdev == pytest.approx(statistics.pstdev(times), rel=1e-9)

    def test_mdev_of_long_times_that_differ_by_little(self) -> None:
        summary = Summary()
        for number in range(1000):
            summary.add(Ping(number, 64, seconds=3600 + 1e-9 * (number % 2)))
        assert summary.mdev == pytest.approx(0.5e-9)

    @pytest.mark.parametrize(("percent", "needed"), SAMPLES_NEEDED.items())
    def test_a_percentile_needs_enough_answers(self, percent: float, needed: int) -> None:
        assert (percent / 100) ** needed <= 0.025 < (percent / 100) ** (needed - 1)
        summary = Summary()
        for number in range(needed):
            assert summary.percentile(percent) is None
            summary.add(Ping(number, 64, seconds=0.001))
        assert summary.percentile(percent) == pytest.approx(0.001, rel=0.01)

    def test_a_wrong_argument_is_refused_before_the_first_echo(self) -> None:
        with pytest.raises(ConfigError):
            pings(size=0)
        with pytest.raises(ConfigError):
            pings("tls://127.0.0.1:1", tls=Tls(ca="/no"))
        with pytest.raises(AddressError):
            pings("nowhere")


class TestCommand:
    def test_each_echo_is_a_line_and_the_summary_follows(self, echo_peer: peers.Peer) -> None:
        done = run_here(["ping", echo_peer.target, "-c", "3", "-i", "0.01"])
        lines = done.stdout.decode().splitlines()
        assert (done.returncode, done.stderr) == (0, b"")
        assert [match[1] for line in lines[:3] if (match := ANSWER.fullmatch(line))] == ["1", "2", "3"]
        assert lines[3:6] == ["", f"--- {echo_peer.target} echo statistics ---", "3 sent, 3 answered, 0 lost (0%)"]
        found = times(lines[6])
        assert found["min"] <= found["p50"] <= found["max"]
        assert found["min"] <= found["avg"] <= found["max"]
        assert found["mdev"] <= (found["max"] - found["min"]) / 2, "no distribution in this range has more"
        assert math.isnan(found["p99"])
        assert math.isnan(found["p99.9"])
        assert lines[7:] == [], "no line explains a dash: --help does"

    def test_a_percentile_with_enough_answers_is_printed(self, echo_peer: peers.Peer) -> None:
        done = run_here(["ping", echo_peer.target, "-c", "368", "-i", "0", "-q"])
        lines = done.stdout.decode().splitlines()
        assert len(lines) == 4
        assert times(lines[3])["p99"] > 0
        assert math.isnan(times(lines[3])["p99.9"])
        done = run_here(["ping", echo_peer.target, "-c", "3688", "-i", "0", "--json", "-q"])
        (line,) = done.stdout.splitlines()
        found = json.loads(line)
        assert found["min_us"] <= found["p50_us"] <= found["p99_us"] <= found["p99.9_us"] <= found["max_us"]

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_quiet_prints_only_the_summary(self, options: list[str]) -> None:
        with peers.refuses() as target:
            done = run_here(["ping", target, "-c", "2", "-i", "0", "--quiet", *options])
        assert (done.returncode, done.stderr) == (1, b"")
        assert b"seq" not in done.stdout
        assert b"2 sent, 0 answered, 2 lost" in done.stdout or json.loads(done.stdout)["losses"] == {"refused": 2}

    def test_the_deadline_ends_the_run(self, echo_peer: peers.Peer) -> None:
        process = started(["ping", echo_peer.target, "-i", str(UNIT), "-w", str(5.5 * UNIT), "--json"])
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        began = time.monotonic()
        out, err = process.communicate(timeout=SECONDS)
        assert time.monotonic() - began < 5.5 * UNIT + SLACK
        assert (process.returncode, err, first["seq"]) == (0, b"", 1)
        *echoes, summary = map(json.loads, out.splitlines())
        assert summary["sent"] == summary["answered"] == 1 + len(echoes)
        assert 3 <= summary["sent"] <= 6

    def test_a_count_that_the_deadline_cuts_short_exits_with_1(self, echo_peer: peers.Peer) -> None:
        done = run_here(["ping", echo_peer.target, "-c", "1000", "-i", str(UNIT), "-w", str(2 * UNIT)])
        assert done.returncode == 1
        assert b" 0 lost (0%)" in done.stdout

    def test_a_ping_that_the_deadline_ends_is_a_loss(self) -> None:
        with peers.never_replies() as peer:
            done = run_here(["ping", peer.target, "-w", "0.7", "--json"])
        lost, summary = map(json.loads, done.stdout.splitlines())
        assert (done.returncode, done.stderr) == (1, b"")
        assert (lost["type"], lost["kind"]) == ("lost", "read timeout")
        assert lost["reason"].endswith(": not answered before the deadline of 0.7 s")
        assert (summary["sent"], summary["lost"]) == (1, 1)

    def test_a_refused_connect_is_a_loss(self) -> None:
        with peers.refuses() as target:
            done = run_here(["ping", target, "-c", "2", "-i", "0"])
        lines = done.stdout.decode().splitlines()
        assert (done.returncode, done.stderr) == (1, b"")
        reason = f"lost: refused: connect {target}: refused: nobody listens there; is the server running?"
        assert lines[:2] == [f"seq=1 {reason}", f"seq=2 {reason}"]
        assert lines[4:] == ["2 sent, 0 answered, 2 lost (100%)", "lost: refused 2"]

    def test_one_loss_among_answers_exits_with_1(self) -> None:
        with peers.corrupts(70) as peer:
            done = run_here(["ping", peer.target, "-c", "2", "-i", "0", "--json"])
        assert done.returncode == 1
        first, second, summary = map(json.loads, done.stdout.splitlines())
        assert first["type"] == "echo"
        assert first["time_us"] > 0
        assert {name: second[name] for name in ("type", "seq", "bytes", "kind")} == {
            "type": "lost",
            "seq": 2,
            "bytes": 64,
            "kind": "corrupt reply",
        }
        assert "offset 6" in second["reason"]
        assert (summary["sent"], summary["answered"], summary["lost"], summary["lost_percent"]) == (2, 1, 1, 50.0)
        assert summary["losses"] == {"corrupt reply": 1}

    def test_json_has_each_echo_and_the_summary(self, echo_peer: peers.Peer) -> None:
        done = run_here(["ping", echo_peer.target, "-c", "4", "-i", "0", "-s", "2000", "--json"])
        *echoes, summary = map(json.loads, done.stdout.splitlines())
        assert (done.returncode, done.stderr) == (0, b"")
        assert [echo["seq"] for echo in echoes] == [1, 2, 3, 4]
        times = sorted(echo["time_us"] for echo in echoes)
        assert summary["type"] == "summary"
        assert (summary["target"], summary["bytes"]) == (echo_peer.target, 2000)
        assert summary["min_us"] == pytest.approx(times[0], abs=0.1)
        assert summary["max_us"] == pytest.approx(times[-1], abs=0.1)
        assert summary["avg_us"] == pytest.approx(sum(times) / 4, abs=0.2)
        assert summary["p50_us"] == pytest.approx(times[1], rel=0.01, abs=0.1)
        assert summary["mdev_us"] == pytest.approx(statistics.pstdev(times), abs=0.2)
        assert (summary["p99_us"], summary["p99.9_us"]) == (None, None), "four answers are too few"

    def test_missing_times_are_null(self) -> None:
        with peers.refuses() as target:
            done = run_here(["ping", target, "-c", "1", "--json"])
        summary = json.loads(done.stdout.splitlines()[-1])
        assert [summary[f"{name}_us"] for name in NAMES] == [None] * len(NAMES)

    @pytest.mark.parametrize("options", [[], ["--json"]])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_prints_the_summary(
        self, echo_peer: peers.Peer, options: list[str], number: signal.Signals
    ) -> None:
        process = started(["ping", echo_peer.target, "-i", "0.01", *options])
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (0, b"")
        if options:
            assert json.loads(out.splitlines()[-1])["lost"] == 0
        else:
            assert b" 0 lost (0%)\nmin/avg/" in out

    def test_ctrl_c_before_the_first_answer_is_a_loss(self) -> None:
        with peers.never_replies() as peer:
            process = started(["ping", peer.target, "--timeout", "60"])
            wait_until(lambda: peer.open)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (1, b"")
        assert b"seq=1 lost: read timeout: " in out
        assert b"1 sent, 0 answered, 1 lost (100%)\nlost: read timeout 1\n" in out

    def test_ctrl_c_during_the_connect_is_a_loss(self) -> None:
        with peers.never_accepts() as target:
            process = started(["ping", target, "--timeout", "60", "--json"])
            wait_until(lambda: handles_signal(process, signal.SIGTERM))
            time.sleep(UNIT)  # nothing shows that the connect has begun
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (1, b"")
        assert json.loads(out.splitlines()[-1])["losses"] == {"connect timeout": 1}

    def test_a_signal_at_the_connect_is_not_lost_and_leaks_no_socket(self, echo_peer: peers.Peer) -> None:
        for number in range(3):
            process = started(["ping", echo_peer.target, "-q", "-i", "0"])
            wait_until(lambda: echo_peer.open)
            time.sleep(number / 1000)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=SECONDS)
            assert (process.returncode, err) in ((0, b""), (1, b""))
            assert b" sent, " in out
            wait_until(lambda: not echo_peer.open)

    def test_a_closed_standard_output_is_one_line(self, echo_peer: peers.Peer) -> None:
        process = started(["ping", echo_peer.target, "-i", "0"])
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=SECONDS) == 1
        assert process.stderr.read() == b"geventecho ping: standard output cannot be written: Broken pipe\n"
        process.communicate()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["nowhere"], "the port is missing"),
            (["-c", "0"], "1 or more"),
            (["-i", "-1"], "0 or more"),
            (["-s", "0"], "whole number of 1 to 268435456"),
            (["-s", "99999999999999"], "whole number of 1 to 268435456"),
            (["--timeout", "0"], "above 0"),
            (["-w", "0"], "above 0"),
            (["--nonsense"], "unrecognized arguments"),
            (["--cuont", "5"], "unrecognized arguments: --cuont"),
        ],
    )
    def test_wrong_arguments_are_a_usage_error(self, arguments: list[str], words: str) -> None:
        assert words in usage_error("ping", *arguments)

    def test_the_environment_sets_options(self, echo_peer: peers.Peer) -> None:
        names = {"GEVENTECHO_PING_COUNT": "2", "GEVENTECHO_PING_INTERVAL": "0", "GEVENTECHO_PING_SIZE": "10"}
        done = run_here(["ping", echo_peer.target], names=names)
        assert done.stdout.count(b"10 bytes from ") == 2

    def test_help_shows_the_json(self) -> None:
        done = run_here(["ping", "--help"])
        assert done.returncode == 0
        assert b"p99 needs 368 answers, p99.9 3688." in done.stdout
        assert b'{"type": "echo", "seq": 1, "bytes": 64, "time_us": 84.1}' in done.stdout
