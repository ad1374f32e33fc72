"""Signals at several workers in bursts and at bad moments, and workers that cannot be forked."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import gevent
import pytest

from tests.support.commands import environment
from tests.support.servers import ping, serve
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.watch import send_until_full
from tests.support.workers import count_now, worker_of, workers


def test_no_signal_at_the_start_writes_a_line_before_the_first_one() -> None:
    arguments = [sys.executable, "-m", "geventecho", "serve", "--port", "0", "--workers", "3"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        try:
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
            while not children.read_text():
                assert server.poll() is None
            for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGHUP):
                server.send_signal(number)
            assert server.stdout is not None
            assert server.stdout.readline().startswith("listening on ")
        finally:
            server.kill()


def test_a_stop_in_a_reload_prints_no_line_of_the_new_workers() -> None:
    with serve("--workers", "3") as server:
        with server.connect() as client:
            ping(client)
            server.signal(signal.SIGHUP)
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
        assert server.lines[-1] == "stopped: drained 1, cut 0, bytes lost 0"
        assert server.errors == ""


def test_a_second_signal_at_once_is_not_lost() -> None:
    with serve("--workers", "2", "--drain-idle", "60") as server, server.connect() as client:
        ping(client)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            server.signal(number)
        assert server.wait() in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_a_second_signal_reports_the_undelivered_bytes() -> None:
    with serve("--workers", "2", "--drain-idle", "60") as server, server.connect() as client:
        send_until_full(client)
        server.signal()
        gevent.sleep(UNIT)
        server.signal()
        assert server.wait() == 128 + signal.SIGTERM
        found = re.fullmatch(r"stopped: drained 0, cut 1, bytes lost (\d+)", server.lines[-1])
        assert found, server.lines
        assert int(found[1]) > 0
        counts = dict(word.split("=") for word in server.lines[-2].split()[1:])
        assert int(counts["bytes_received"]) == int(counts["bytes_sent"]) + int(found[1])


def test_a_worker_that_another_process_drains_is_replaced_at_once() -> None:
    with serve("--workers", "1", "--drain-idle", "60") as server, server.connect() as client:
        ping(client)
        (drained,) = workers(server)
        os.kill(drained, signal.SIGTERM)
        wait_until(lambda: "drains and is replaced" in server.errors)
        with server.connect() as fresh:
            ping(fresh)
        ping(client)
        assert workers(server)[0] == drained
        assert count_now(server)["restarts"] == 1
        client.close()
        wait_until(lambda: drained not in workers(server))
        assert "has ended" not in server.errors
        assert server.stop() == 0


@pytest.mark.long
def test_a_series_of_sigusr1_does_not_delay_a_stop() -> None:
    """A stopped worker does not answer, and the arbiter does not wait for it at each signal."""
    with serve("--workers", "2", "--drain-timeout", "0") as server:
        os.kill(workers(server)[0], signal.SIGSTOP)
        for _ in range(40):
            server.signal(signal.SIGUSR1)
            gevent.sleep(UNIT / 20)
        server.signal()
        assert server.wait(7 * 10 * UNIT) == 0  # 40 times 0.25 s would be 10 s


def test_a_worker_that_cannot_be_forked_ends_the_first_start() -> None:
    program = (
        "import errno, os, sys; from geventecho.cli.commands import main\n"
        "fork, forks = os.fork, []\n"
        "def limited():\n"
        "    forks.append(1)\n"
        "    if len(forks) > 1: raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "    return fork()\n"
        "os.fork = limited\n"
        "sys.exit(main(['serve', '--port', '0', '--workers', '3']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env=environment(), timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"\S+ ERROR geventecho.workers: no worker is started: Resource .*\n", done.stderr), done.stderr


def test_a_reload_without_a_free_descriptor_keeps_the_old_workers() -> None:
    with serve("--workers", "2") as server:
        before = workers(server)
        highest = max(int(name) for name in os.listdir(f"/proc/{server.pid}/fd"))
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        server.signal(signal.SIGHUP)
        wait_until(lambda: "the reload failed" in server.errors)
        assert "no worker is started: Too many open files" in server.errors
        assert workers(server) == before
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        server.signal(signal.SIGHUP)
        wait_until(lambda: any("reloaded" in line for line in server.lines))
        assert server.stop() == 0
        assert "Traceback" not in server.errors


def test_variables_that_gunicorn_reads_change_nothing() -> None:
    names = {"PORT": "none", "WEB_CONCURRENCY": "many", "FORWARDED_ALLOW_IPS": "all", "GUNICORN_CMD_ARGS": "--bogus"}
    with serve("--workers", "2", env=environment(**names)) as server:
        assert len(workers(server)) == 2
        assert server.stop() == 0
        assert server.errors == ""


def test_kills_of_workers_that_start_are_no_crash_loop_while_another_one_serves() -> None:
    with serve("--workers", "2") as server, server.connect() as client:
        ping(client)
        kept = worker_of(server, client)
        victims = set(workers(server)) - {kept}
        for _ in range(12):
            (victim,) = victims
            os.kill(victim, signal.SIGKILL)
            while not (
                victims := set(workers(server)) - {kept, victim}
            ):  # no pause: the next worker must not listen yet
                assert server.popen.poll() is None
        ping(client)
        assert count_now(server)["restarts"] == 12
        client.close()
        assert server.stop() == 0


def test_a_line_that_was_held_back_is_written_by_one_process() -> None:
    """The log holds the second line of a kind back for a second; a worker that is forked meanwhile has a copy of it."""
    with serve("--workers", "1") as server:
        for _ in range(3):
            (victim,) = workers(server)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: workers(server) not in ([], [victim]))  # type: ignore[misc]
        server.signal(signal.SIGHUP)  # the worker ends in order
        wait_until(lambda: any("reloaded" in line for line in server.lines))
        assert server.stop() == 0
        lines = [line.partition("geventecho.workers: ")[2] for line in server.errors.splitlines()]
        assert any("SIGKILL" in line for line in lines), lines
        assert len(set(lines)) == len(lines), lines
