"""The times and bytes of operations, by row and second."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_script import run_script, run_users
from tests.support.timing import UNIT

MICROSECONDS = 1e6
ALL_TIMES = ("response", "service", "generator_delay", "read_delay", "first_byte")


def counts(row: dict[str, Any], times: str = "times") -> list[int]:
    """The number of measurements of each time."""
    return [row[times][name][0] for name in ALL_TIMES]


class CountingPeer(peers.Peer):
    """Echoes each chunk and counts the bytes. It cuts the reply to `1234567890` short by five bytes, and closes."""

    def __init__(self) -> None:
        self.received = self.sent = 0
        self.lock = threading.Lock()
        super().__init__(self.serve)

    def serve(self, connection: socket.socket) -> None:
        while data := connection.recv(peers.CHUNK):
            with self.lock:
                self.received += len(data)
            is_cut = b"1234567890" in data
            reply = data[:-5] if is_cut else data
            connection.sendall(reply)
            with self.lock:
                self.sent += len(reply)
            if is_cut:
                return


def test_each_echo_has_its_times_and_bytes() -> None:
    with peers.echoes() as peer:
        result = run_users("latencies.echoes", peer.target)
    row = result["measured"]["echo"]
    ok = result["account"]["ok"] - 3
    assert row["ok"] == result["rows"]["echo"][0] == ok
    assert counts(row)[:3] == [ok] * 3
    assert 0.9 * ok <= counts(row)[3] <= ok, "the kernel begins to stamp a moment after the first connect"
    assert counts(row)[4] <= 0.1 * ok
    assert counts(row, "failed_times") == [0] * 5
    times = row["times"]
    assert 0 < times["service"][1] <= times["response"][1]
    assert times["read_delay"][1] >= 0
    assert times["response"][2] == pytest.approx(times["service"][2] + times["generator_delay"][2], abs=0.01)
    assert row["bytes_sent"] - row["bytes_received"] in (0, 1000, 2000, 3000), "an aborted echo for each user"
    assert times["response"][3] == pytest.approx(result["longest"]["echo"], abs=0.01), "Locust's time ends at arrival"
    assert counts(result["measured"]["connect"]) == [3, 0, 0, 0, 0]


def test_the_bytes_equal_those_of_the_server_and_failures_have_their_own_times() -> None:
    with CountingPeer() as peer:
        result = run_users("latencies.failures", peer.target)
    rows = result["measured"]
    assert sum(row["bytes_sent"] for row in rows.values()) == peer.received
    assert sum(row["bytes_received"] for row in rows.values()) == peer.sent
    for name, (requests, failures) in result["rows"].items():
        row = rows[name]
        assert [row["ok"], row["failed"]] == [requests - failures, failures]
        assert row["times"]["response"][0] == row["ok"]
        assert row["failed_times"]["response"][0] == row["failed"]
    for name in ("half", "all", "caught", "cut"):
        assert counts(rows[name])[:4] == [0, 0, 0, 0]
        failed = rows[name]["failed"]
        assert counts(rows[name], "failed_times")[:3] == [failed] * 3
        assert failed > 0
    assert rows["one"]["bytes_sent"] >= 3 * rows["one"]["ok"] > 0
    assert rows["inner"]["bytes_received"] == 5 * rows["inner"]["ok"]


def test_an_aborted_operation_has_bytes_and_no_times() -> None:
    with peers.echoes() as peer:
        row = run_users("latencies.aborted", peer.target)["measured"]["left"]
    assert (row["bytes_sent"], row["bytes_received"]) == (5, 5)
    assert (row["ok"], row["failed"]) == (0, 0)
    assert counts(row) == counts(row, "failed_times") == [0] * 5


def test_rows_without_a_send_have_response_times_only() -> None:
    def pushes(connection: socket.socket) -> None:
        while number := connection.recv(1):
            connection.sendall(b"".join(b"event %d\n" % count for count in range(int(number))))

    with peers.Peer(pushes) as peer:
        result = run_users("latencies.without_a_send", peer.target)
    rows = result["measured"]
    for name in ("connect", "event", "waited", "whole"):
        count = rows[name]["ok"]
        assert counts(rows[name])[:3] == [count, 0, 0]
    for name in ("subscribe", "unanswered"):
        count = rows[name]["ok"]
        assert counts(rows[name]) == [count, count, count, 0, 0]
    assert rows["event"]["times"]["response"][3] == 0, "both events arrived before the call"
    assert rows["whole"]["times"]["response"][1] >= 0.2 * UNIT * MICROSECONDS


def test_a_reply_in_two_pieces_has_a_first_byte() -> None:
    gap = UNIT
    with peers.replies_with(b"12345678", pieces=2, pause=gap) as peer:
        row = run_users("latencies.pieces", peer.target)["measured"]["split"]
    assert row["ok"] - 2 <= counts(row)[4] <= row["ok"], "a client that does not run in the gap reads both at once"
    service, first_byte = row["times"]["service"], row["times"]["first_byte"]
    between = service[2] - first_byte[2]
    assert 0.98 * gap * MICROSECONDS <= between <= (gap + UNIT) * MICROSECONDS


def test_each_request_of_a_pipeline_has_its_own_send_and_the_arrival_of_its_reply() -> None:
    def answers_two(connection: socket.socket) -> None:
        while connection.recv(1) and connection.recv(1):
            connection.sendall(b"12")

    with peers.Peer(answers_two) as peer:
        rows = run_users("latencies.pipelined", peer.target)["measured"]
    early, late = rows["early"]["times"]["service"], rows["late"]["times"]["service"]
    assert early[1] >= UNIT * MICROSECONDS
    assert late[2] <= early[2] - 0.9 * UNIT * MICROSECONDS
    assert counts(rows["early"])[4] == counts(rows["late"])[4] == 0


def test_the_read_delay_is_not_part_of_the_response_time() -> None:
    with peers.echoes() as peer:
        result = run_users("latencies.arrivals_while_blocked", peer.target)
    times = result["measured"]["request"]["times"]
    held = 0.5 * UNIT * MICROSECONDS
    assert times["read_delay"][2] >= 0.6 * held
    assert times["response"][2] <= 0.5 * held


def test_a_planned_task_is_measured_from_its_instant() -> None:
    with peers.echoes() as peer:
        result = run_users("latencies.planned", peer.target)
    times = result["measured"]["echo"]["times"]
    assert times["generator_delay"][3] >= 0.3 * UNIT * MICROSECONDS, "the hub was blocked"
    assert times["response"][2] == pytest.approx(times["service"][2] + times["generator_delay"][2], abs=0.01)
    assert times["service"][2] <= times["generator_delay"][2]


def test_a_stepped_clock_drops_arrivals_and_no_operation() -> None:
    with peers.echoes() as peer:
        result = run_users("latencies.stepped", peer.target)
    row = result["measured"]["echo"]
    assert row["ok"] == result["rows"]["echo"][0]
    assert row["failed"] == 0
    assert result["steps"] == 2
    assert row["clock_steps"] >= 2
    assert counts(row)[:3] == [row["ok"] - row["clock_steps"]] * 2 + [row["ok"]]
    assert row["times"]["service"][3] <= 10 * UNIT * MICROSECONDS


def test_a_unix_socket_has_no_read_delay(tmp_path: Path) -> None:
    target = str(tmp_path / "echo.sock")

    def serve() -> None:
        for _ in range(3):
            connection = listener.accept()[0]
            threading.Thread(target=echo, args=(connection,)).start()

    def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            while data := connection.recv(peers.CHUNK):
                connection.sendall(data)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(target)
        listener.listen()
        accepting = threading.Thread(target=serve, daemon=True)  # a failure leaves it in accept(2)
        accepting.start()
        result = run_users("latencies.echoes", f"unix:{target}")
        accepting.join()
    row = result["measured"]["echo"]
    assert counts(row) == [row["ok"], row["ok"], row["ok"], 0, 0]


def test_operations_are_counted_in_the_second_they_ended_in() -> None:
    taken, late, empty = run_script("latencies.seconds")
    assert taken == [[-1, 2, 1, 3], [0, 2, 0, 2], [1, 1, 0, 1], [5, 2, 0, 2]]
    assert late == [[0, 1, 0, 1]], "take() leaves out a later operation, although its iterator counts only now"
    assert empty == []


def test_locust_counts_operations_in_the_second_they_ended_in() -> None:
    assert run_script("latencies.stock_seconds") == [2, 1]


def test_counting_in_bulk_is_exact() -> None:
    assert run_script("latencies.bulk") == {
        "ok": True, "locust": [True] * 6, "bytes": [True, True], "times": [True] * 5, "failed": 0,
    }  # fmt: skip


def test_many_rows_are_counted_one_after_the_other() -> None:
    result = run_script("latencies.many_rows")
    assert result["ok"] == 200 * 100
    assert result["take"] <= result["count"] / 10, "no user runs during take(), so take() must be short"


def test_blocks_that_are_never_taken_are_bounded() -> None:
    result = run_script("latencies.blocks_not_taken")
    assert result["blocks"] <= 1024 + 64 + 2
    assert result["ok"] == 2000 * 128


def test_tasks_have_a_row_and_a_new_test_has_no_old_rows() -> None:
    result = run_script("latencies.task_rows")
    task = result["rows"]["User"]
    assert (task["ok"], task["failed"]) == (1, 1)
    assert task["times"]["response"][3] == 5.0
    assert task["failed_times"]["response"][3] == 7.0
    assert result["after"] == {}
