"""The comparison as a program, with failing peers and scenarios, missing toolchains, and interrupts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bench import machine
from bench.contenders import BenchError
from bench.load.compare import LOCKSTEP, LoadBench
from bench.rounds import chosen
from bench.run import main
from bench.scenarios import FULL
from tests.support import ROOT
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="server and driver need a core each")


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    make = ["make", "-C", str(ROOT / "bench"), "build/driver", "build/c_epoll"]
    subprocess.run(make, check=True, capture_output=True, timeout=6 * PATIENCE)


def compare(
    output: Path, *arguments: str, script: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One short comparison in a process of its own, by `bench.run` or by a script that runs it."""
    short = ["quick", "--rounds", "1", "--duration", "0.1", "--warmup", "0", "--repeats", "0", "--output", str(output)]
    return subprocess.run(
        [sys.executable, "-m", f"tests.bench.scripts.{script}" if script else "bench.run", *short, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=6 * PATIENCE,
    )


def test_a_short_comparison_prints_a_table(tmp_path: Path) -> None:
    done = compare(tmp_path, "--scenario", "echo-1024-100", "--peer", "C epoll")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^bench: about \d+ min: echo-1024-100$", done.stdout, re.MULTILINE)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert any(line.startswith("| geventecho | ") for line in rows)
    assert any(line.startswith("| C epoll | ") for line in rows)
    assert "against C epoll" in done.stdout
    # Ours, C, ours: the ratio is taken between neighbours.
    raw = json.loads((tmp_path / "raw.json").read_text())
    assert [run["contender"] for run in raw["runs"]] == ["geventecho", "C epoll", "geventecho"]
    assert all(0 <= run["raw"]["steal"] <= run["raw"]["taken"] <= 100 for run in raw["runs"])
    assert {"congestion control", "somaxconn", "kernel", "processor", "steal"} <= raw["machine"].keys()
    has_plot = (tmp_path / "echo-1024-100.svg").exists()
    assert has_plot is ("(echo-1024-100.svg)" in done.stdout)
    assert has_plot is not ("bench: no plots: matplotlib is not installed\n" in done.stdout)


@pytest.mark.long
def test_a_missing_toolchain_is_reported_in_one_line(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("setpriv", "taskset", "git", "cc"):
        (tools / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    scenario = ("--scenario", "echo-1024-100", "--peer", "Node pipe", "--peer", "C epoll")
    done = compare(tmp_path / "out", *scenario, environment={"PATH": str(tools)})
    assert done.returncode == 0, done.stderr
    assert "bench: left out: Node pipe (Node is not installed)\n" in done.stdout
    assert "| Node pipe |" not in done.stdout
    assert "| C epoll |" in done.stdout
    assert "- left out: Node pipe (Node is not installed)\n" in (tmp_path / "out" / "tables.md").read_text()


def test_a_compiler_is_needed_only_to_compile() -> None:
    """Programs that are built already need no compiler; otherwise a line names the compiler, and no program is lost."""
    make = ["make", "-C", str(ROOT / "bench"), "CC=no-such-cc", "build/driver"]
    done = subprocess.run(make, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*make, "-B"], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 2
    assert "bench: the load driver needs a C compiler (CC=no-such-cc)\n" in done.stderr
    assert (ROOT / "bench" / "build" / "driver").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rounds", "-1"), "--rounds: '-1': give a whole number from 1 to 100"),
        (("--rounds", "1.5"), "--rounds: '1.5': give a whole number from 1 to 100"),
        (("--duration", "0"), "--duration: '0': give a number from 0.01 to 30"),
        (("--duration", "nan"), "--duration: 'nan': give a number from 0.01 to 30"),
        (("--warmup", "-1"), "--warmup: '-1': give a number from 0 to 30"),
        (("--repeats", "many"), "--repeats: 'many': give a whole number from 0 to 10000"),
        (("--server-cpu", "9999"), "--server-cpu: '9999': this process may run on "),
        (("--peer", "nobody"), "--peer: invalid choice: 'nobody'"),
        (("--scenario", "none"), "--scenario: invalid choice: 'none'"),
        (("--output", "/dev/null/results"), "--output: "),
    ],
)
def test_wrong_use_exits_2_before_anything_runs(
    tmp_path: Path, arguments: tuple[str, str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quick", "--output", str(tmp_path / "out"), "--scenario", "echo-64-10", *arguments])
    assert ended.value.code == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_one_core_for_both_is_refused(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    done = compare(tmp_path, "--server-cpu", core, "--driver-cpu", core)
    assert done.returncode == 2
    assert "server and driver must have different cores" in done.stderr


def test_a_chosen_peer_takes_part_in_every_scenario() -> None:
    """It also takes part in scenarios that usually leave it out."""
    few = next(scenario for scenario in FULL if scenario.peers == ("uvloop Protocol", "C epoll"))
    assert [peer.name for peer in chosen(few, ["asyncio streams"])] == ["asyncio streams"]
    assert {peer.name for peer in chosen(few, [])} <= {"uvloop Protocol", "C epoll"}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("60.00%  [kernel.kallsyms]\n40.00%  python3.11", "| kernel | "),
        ("100.00%  python3.11", "Not measured: perf sees nothing of the kernel"),
        ("", "Not measured: perf took no samples: no permission"),
    ],
    ids=["kernel and interpreter", "no kernel", "no samples"],
)
@pytest.mark.long
def test_a_profile_without_the_kernel_is_not_shown(tmp_path: Path, report: str, expected: str) -> None:
    """Without access to the kernel's symbols, the kernel's time would count as the interpreter's."""
    perf = tmp_path / "perf"
    perf.write_text(f"#!/bin/sh\ncase $1 in record) echo no permission >&2;; report) echo '{report}';; esac\n")
    perf.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = compare(tmp_path / "out", "--scenario", "profile", script="profile_of_two", environment=path)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert ("| µs a message, 100 connections | geventecho | C epoll |" in done.stdout) is ("kernel" in report)


@pytest.mark.long
def test_a_failing_peer_is_left_out_and_reported(tmp_path: Path) -> None:
    done = compare(
        tmp_path,
        "--scenario",
        "echo-1024-100",
        "--peer",
        "zeros",
        "--peer",
        "C epoll",
        script="with_zeros",
    )
    assert done.returncode == 0, done.stderr
    assert "zeros is left out of this scenario: connection" in done.stdout
    assert "| zeros |" not in done.stdout
    assert "| C epoll |" in done.stdout


def test_a_scenario_that_fails_does_not_end_the_comparison(tmp_path: Path) -> None:
    """Ours fails in the first: the failure is recorded, the next scenario runs, and the exit status is 1."""
    few = ("--scenario", "echo-64-100", "--scenario", "echo-1024-100", "--peer", "C epoll")
    done = compare(tmp_path, *few, script="failing_scenario")
    assert done.returncode == 1
    assert "bench: not measured: echo-64-100\n" in done.stderr
    assert "Traceback" not in done.stderr
    tables = (tmp_path / "tables.md").read_text()
    assert "## echo-64-100: not measured\n\nBenchError: as the test asks\n" in tables
    assert "| C epoll |" in tables


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(number, marks=pytest.mark.long) for number in (signal.SIGTERM, signal.SIGKILL))],
)
def test_an_interrupt_leaves_results_and_no_process(tmp_path: Path, number: signal.Signals) -> None:
    few = ["--scenario", "echo-1024-10", "--scenario", "echo-1024-100", "--peer", "C epoll", "--rounds", "1"]
    command = [
        sys.executable,
        "-m",
        "bench.run",
        "quick",
        *few,
        "--duration",
        "0.3",
        "--warmup",
        "0",
        "--repeats",
        "0",
        "--output",
        str(tmp_path),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        tables = tmp_path / "tables.md"
        wait_until(tables.exists, 6 * PATIENCE, "the first scenario's table")
        wait_until(lambda: len(_session(process.pid)) == 3, 6 * PATIENCE, "a server and a driver")
        process.send_signal(number)
        _, errors = process.communicate(timeout=6 * PATIENCE)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert "Traceback" not in errors
    wait_until(lambda: not _session(process.pid), goal="the end of its processes")
    assert "10 connections" in tables.read_text()


def _session(leader: int) -> list[int]:
    """Processes of a session that have not ended (proc(5): state and session)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == leader and fields[0] not in {"Z", "X"}:
            found.append(int(path.parent.name))
    return found


def test_users_with_think_times_have_a_median_for_each_quarter(tmp_path: Path) -> None:
    """The scenario is a short form of the minute in `make bench`."""
    task = replace(LOCKSTEP, users=5, spawn_rate=5, think_time=0.05, settle=0.1, window=8 * UNIT)
    server_cpu, locust_cpu = sorted(os.sched_getaffinity(0))[:2]
    (run,) = LoadBench(server_cpu, locust_cpu, tmp_path / "errors").measure(task, 1)
    marks = run.raw["marks"]
    requests = [marks[name]["requests"] for name in ("begin", "1", "2", "3", "4")]
    assert all(later > earlier for earlier, later in pairwise(requests))
    assert marks["end"] == marks["4"]
    assert all(0 < run.figures[f"p50_{quarter}"] < 1e6 for quarter in (1, 2, 3, 4))
    assert run.figures["growth"] == run.figures["p50_4"] / run.figures["p50_1"]


def test_the_network_of_a_comparison_has_loopback_and_reno() -> None:
    command = [sys.executable, "-m", "tests.bench.scripts.separate_network"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    error, names, control, moved = json.loads(done.stdout)
    if error is not None:
        pytest.skip(error)
    assert moved
    assert "lo" in names
    assert not {name for name in names if name.startswith(("eth", "en", "wl"))}
    assert control == "reno"


def test_threads_of_one_core_are_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    """On many machines CPUs 0 and 1 share a core, and would slow each other."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr(machine, "share_a_core", lambda one, other: one // 2 == other // 2)
    assert machine.cores(None, None) == (0, 2)
    assert machine.cores(3, None) == (3, 0)
    assert machine.cores(None, 0) == (1, 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {4, 5})
    assert machine.cores(None, None) == (4, 5)  # there is no other core
    with pytest.raises(BenchError, match="different"):
        machine.cores(4, 4)
