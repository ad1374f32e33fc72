"""Several processes on one listener: how they start, share, reload, are replaced, and stop."""

from __future__ import annotations

import os
import re
import signal
import socket as plain
import time
from pathlib import Path

import gevent
import pytest

from tests.support.commands import command
from tests.support.servers import Process, capacity, is_refused, ping, read_to_end, serve, time_until_refused
from tests.support.timing import UNIT, wait_until
from tests.support.watch import send_until_full
from tests.support.workers import count_now, open_sockets, without_module, worker_of, workers


def serve_two(*arguments: str) -> Process:
    return serve("--workers", "2", *arguments)


def ping_once(server: Process) -> None:
    with server.connect() as client:
        ping(client)


def test_two_processes_serve_one_listener() -> None:
    with serve_two() as server:
        assert capacity(server).startswith("capacity 2 x ")
        assert len(workers(server)) == 2
        clients = [server.connect() for _ in range(200)]
        for client in clients:
            ping(client)
        counts = count_now(server)
        assert (counts["accepted"], counts["open"], counts["bytes_sent"]) == (200, 200, 800)
        for client in clients:
            client.close()
        wait_until(lambda: count_now(server)["open"] == 0)
        counts = server.stop_and_count()
        assert (counts["accepted"], counts["ended_peer"], counts["bytes_received"]) == (200, 200, 800)
        assert server.lines[-1] == "stopped: drained 0, cut 0, bytes lost 0"
        assert server.errors == ""
        assert is_refused(server.address)


def test_a_full_worker_leaves_peers_to_another_one_that_has_room() -> None:
    with serve_two("--max-connections", "30") as server:
        for _ in range(3):
            clients = [server.connect() for _ in range(60)]
            for client in clients:
                ping(client)
            for client in clients:
                client.close()
            wait_until(lambda: count_now(server)["open"] == 0)
        assert "refused_full" not in server.stop_and_count()


def test_the_first_line_comes_when_all_workers_accept() -> None:
    with serve_two("--workers", "4") as server:
        assert len(workers(server)) == 4
        assert not is_refused(server.address)


def test_auto_is_one_process_for_each_core() -> None:
    with serve("--workers", "auto") as server:
        assert len(workers(server)) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_a_wrong_number_of_workers_is_a_usage_error(number: str) -> None:
    done = command(["serve", f"--workers={number}"])
    assert done.returncode == 2
    assert b"argument --workers" in done.stderr


def test_workers_without_gunicorn_say_how_to_install_it(tmp_path: Path) -> None:
    done = command(["serve", "--port", "0", "--workers", "2"], names=without_module("gunicorn", tmp_path))
    assert done.returncode == 2
    assert b"--workers needs gunicorn: pip install 'geventecho[workers]'" in done.stderr
    assert b"Traceback" not in done.stderr


def test_no_line_speaks_of_http_or_of_gunicorn() -> None:
    with serve_two("--log-level", "debug") as server:
        ping_once(server)
        server.signal(signal.SIGHUP)
        wait_until(lambda: any("reloaded" in line for line in server.lines))
        server.stop()
        text = (server.errors + "".join(server.lines)).lower()
    assert not re.search("http|wsgi|gunicorn|traceback", text), text


@pytest.mark.parametrize("target", ["unix", "abstract"])
def test_unix_sockets_are_shared_too(target: str, tmp_path: Path) -> None:
    path = tmp_path / "echo"
    where = f"unix:{path}" if target == "unix" else f"unix:@geventecho-{os.getpid()}"
    with serve_two("--listen", where) as server:
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            ping(client)
        server.signal(signal.SIGHUP)
        wait_until(lambda: any("reloaded" in line for line in server.lines))
        ping_once(server)
        for client in clients:
            client.close()
        assert server.stop() == 0
    assert not path.exists()


def test_a_listener_that_fails_is_named_and_no_target_is_printed() -> None:
    with plain.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command(["serve", "--workers", "2", "--listen", "127.0.0.1:0", "--listen", f"127.0.0.1:{port}"])
    assert done.returncode == 1
    assert f"127.0.0.1:{port}".encode() in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == b""


def test_a_killed_worker_costs_only_its_own_connections() -> None:
    with serve_two() as server:
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            ping(client)
        victim, other = workers(server)
        kept = {client for client in clients if worker_of(server, client) == other}
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        wait_until(lambda: len(set(workers(server)) - {victim}) == 2)
        assert time.monotonic() - began < 3 * UNIT
        for client in kept:
            ping(client)
        for client in set(clients) - kept:
            assert read_to_end(client) == b""
            client.close()
        counts = count_now(server)
        assert (counts["ended_killed"], counts["open"], counts["restarts"]) == (20 - len(kept), len(kept), 1)
        ping_once(server)
        for client in clients:
            client.close()
        assert server.stop() == 0
        assert "SIGKILL ended it" in server.errors


def test_connects_in_the_queue_survive_the_death_of_a_worker() -> None:
    with serve("--workers", "1") as server:
        (victim,) = workers(server)
        os.kill(victim, signal.SIGSTOP)
        queued = [server.connect() for _ in range(20)]
        os.kill(victim, signal.SIGKILL)
        for client in queued:
            ping(client)
            client.close()
        assert server.stop_and_count()["accepted"] == 20


@pytest.mark.alone
def test_a_stopped_worker_is_replaced_within_5_seconds() -> None:
    with serve_two() as server:
        victim = workers(server)[0]
        began = time.monotonic()
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: victim not in workers(server) and len(workers(server)) == 2)
        assert time.monotonic() - began < 5
        ping_once(server)
        assert "is stuck" in server.errors
        assert server.stop() == 0


def test_sigttin_and_sigttou_change_the_number_of_workers() -> None:
    with serve_two() as server:
        server.signal(signal.SIGTTIN)
        wait_until(lambda: len(workers(server)) == 3)
        for number in (2, 1, 1):
            before = len(server.lines)
            server.signal(signal.SIGTTOU)
            wait_until(lambda before=before: len(server.lines) > before)  # type: ignore[misc]
            assert server.lines[-1] == f"workers: {number}"
        wait_until(lambda: len(workers(server)) == 1)
        ping_once(server)
        assert "stuck" not in server.errors
        assert server.stop() == 0


def test_sigusr2_is_refused_with_advice() -> None:
    with serve_two() as server:
        before = workers(server)
        server.signal(signal.SIGUSR2)
        wait_until(lambda: "SIGUSR2 is not supported: new code needs a restart" in server.errors)
        assert workers(server) == before
        assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_workers(number: int) -> None:
    with serve_two("--drain-idle", str(2 * UNIT)) as server:
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            ping(client)
        for pid in (server.pid, *workers(server)) if number == signal.SIGINT else (server.pid,):
            os.kill(pid, number)  # a terminal sends Ctrl-C to all of them
        for client in clients:
            assert read_to_end(client) == b""
            client.close()
        assert server.wait() == 0
        assert server.lines[-1] == "stopped: drained 20, cut 0, bytes lost 0"


def test_the_listener_is_closed_at_once_beside_a_stopped_worker() -> None:
    with serve_two("--drain-timeout", "0") as server:
        os.kill(workers(server)[0], signal.SIGSTOP)
        server.signal()
        time_until_refused(server.address, 10 * UNIT)
        assert server.wait() == 0
        assert "did not finish its drain" in server.errors


def test_a_second_signal_ends_all_workers_at_once() -> None:
    with serve_two("--drain-idle", "60") as server, server.connect() as client:
        ping(client)
        pids = workers(server)
        server.signal()
        time_until_refused(server.address)
        server.signal()
        assert server.wait() == 128 + signal.SIGTERM
        assert re.search(r"cut [1-9]\d*, bytes lost 0$", server.lines[-1])  # a probe may be among the cut connections
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_workers_end_when_the_arbiter_is_killed() -> None:
    with serve_two() as server:
        ping_once(server)
        pids = workers(server)
        os.kill(pids[0], signal.SIGSTOP)
        os.kill(server.pid, signal.SIGKILL)
        time_until_refused(server.address, 10 * UNIT)
        with serve("--listen", server.target):
            pass


def test_a_drain_that_ends_at_its_time_limit_reports_the_loss() -> None:
    """A peer never reads: its worker ends after the timeout, with the loss in the last line and in the exit code."""
    with serve_two("--drain-timeout", str(2 * UNIT)) as server:
        with server.connect() as client:
            send_until_full(client)
            server.signal()
            assert server.wait() == 3
        last = r"stopped: drained 0, cut 1, bytes lost [1-9]\d*(, bytes discarded \d+)?"
        assert re.fullmatch(last, server.lines[-1]), server.lines


def test_a_new_worker_inherits_no_descriptor_of_a_connection() -> None:
    with serve_two() as server:
        clients = [server.connect() for _ in range(40)]
        for client in clients:
            ping(client)
        server.signal(signal.SIGHUP)
        wait_until(lambda: any("reloaded" in line for line in server.lines))
        fresh = workers(server)[-2:]
        assert [open_sockets(pid) for pid in fresh] == [1, 1]
        for client in clients:
            client.close()
        assert server.stop() == 0


@pytest.mark.long
def test_ctrl_z_and_fg_end_no_worker() -> None:
    with serve_two() as server:
        client = server.connect()
        ping(client)
        pids = workers(server)
        for pid in (server.pid, *pids):
            os.kill(pid, signal.SIGSTOP)
        gevent.sleep(4)  # longer than a worker may be silent
        for pid in (server.pid, *pids):
            os.kill(pid, signal.SIGCONT)
        gevent.sleep(1)
        ping(client)
        assert workers(server) == pids
        client.close()
        assert server.stop() == 0
        assert server.errors == ""
