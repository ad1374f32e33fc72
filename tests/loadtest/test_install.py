"""Locust as a library: a TcpUser on Locust as it is, and with what `install` adds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import peers
from tests.support.locust_process import ROOT, environment
from tests.support.locust_script import assert_clean, run_users
from tests.support.timing import SCALE

SCRIPTS = Path(__file__).parent / "scripts"


def run_script(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / name), *arguments],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60 * SCALE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_tcp_user_works_on_locust_as_it_is_and_install_adds_to_it(tmp_path: Path) -> None:
    text = """
import gc, resource
from locust import stats
from locust.stats import StatsEntry
from geventecho.loadtest import install
resource.setrlimit(resource.RLIMIT_NOFILE, (500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
def about(run):
    total = run.environment.stats.total
    return {
        "times": sorted(total.response_times)[0] if total.response_times else None,
        "bucket": stats.bucket_response_time(0.1234),
        "shown": StatsEntry.to_dict.__module__,
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 500,
        "frozen": gc.get_freeze_count() > frozen,
        "listeners": {name: len(getattr(run.environment.events, name)._handlers)
            for name in ("quit", "quitting", "test_start")},
    }
frozen = gc.get_freeze_count()
answers = []
for installed in (False, True):
    run = Run(EchoUser, target, 3, heard=False)
    before = about(run)
    if installed:
        for _ in range(3):  # once is enough, and twice does no harm
            install(run.environment)
    run.wait(lambda: run.environment.stats.total.num_requests >= 100)
    found = about(run)
    answers.append([before, found, run.finish()])
    run.environment.events.quit.fire(exit_code=0)
answer(answers)
"""
    with peers.echoes() as peer:
        (_, stock, first), (before, installed, second) = run_users(text, peer.target, tmp_path)
    for result in (first, second):
        account, rows = result["account"], result["rows"]
        assert account["ok"] == rows["echo"][0] + rows["connect"][0] >= 100
        assert result["errors"] == {}
        assert (result["sockets_left"], result["users_left"], result["greenlets_left"]) == (0, 0, 0)
    assert stock["listeners"] == {"quit": 0, "quitting": 0, "test_start": 1}
    assert (stock["bucket"], stock["shown"], stock["limit"], stock["frozen"]) == (0, "locust.stats", False, False)
    assert before["bucket"] == 0
    assert installed["listeners"] == {"quit": 1, "quitting": 2, "test_start": 2}
    assert (installed["bucket"], installed["limit"]) == (0.123, True)
    assert installed["shown"].startswith("geventecho.")


def test_install_does_what_it_can_and_a_second_call_the_rest(tmp_path: Path) -> None:
    """Before there is a runner, then with one, then with a web UI, whose form it guards from then on."""
    text = """
import urllib.request, urllib.error
from locust.env import Environment
from geventecho.loadtest import install
environment = Environment(user_classes=[EchoUser], host=target)
counts = []
def count():
    counts.append([len(getattr(environment.events, name)._handlers) for name in ("quit", "quitting")])
install(environment)
count()
runner = environment.create_local_runner()
install(environment)
count()
web_ui = environment.create_web_ui("127.0.0.1", 0)
install(environment)
install(environment)
count()
while web_ui.server is None or not web_ui.server.started:
    gevent.sleep(0.01)
def status(headers):
    request = urllib.request.Request(f"http://127.0.0.1:{web_ui.server.server_port}/", headers=headers)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
statuses = [status({}), status({"Host": "evil.example"})]
runner.start(2, spawn_rate=2)
while environment.stats.total.num_requests < 10:
    gevent.sleep(0.01)
runner.quit()
web_ui.stop()
answer([counts, statuses])
"""
    with peers.echoes() as peer:
        counts, statuses = run_users(text, peer.target, tmp_path)
    assert counts == [[0, 0], [1, 2], [1, 2]]
    assert statuses == [200, 421]


def test_install_without_a_tcp_user_does_nothing(tmp_path: Path) -> None:
    text = """
from locust import stats
from locust.env import Environment
from geventecho.loadtest import install
class Web(locust.HttpUser):
    host = "http://127.0.0.1:1"
environment = Environment(user_classes=[Web])
environment.create_local_runner()
install(environment)
answer([stats.bucket_response_time(0.1234), len(environment.events.quit._handlers)])
"""
    assert run_users(text, "", tmp_path) == [0, 0]


def test_a_single_user_runs_under_locust_s_debugger_entry() -> None:
    with peers.echoes() as peer:
        printed = run_script("single_user.py", peer.target)
    rows = [line.split() for line in printed.splitlines() if line.startswith("TCP")]
    assert [row[1] for row in rows] == ["connect", "echo", "second"]
    assert printed.splitlines()[-1] == "stopped"


def test_web_users_keep_their_results_beside_a_tcp_user() -> None:
    with peers.echoes() as peer:
        found: dict[str, Any] = {
            mode: json.loads(run_script("mixed.py", mode, peer.target)) for mode in ("stock", "alone", "beside")
        }
    assert found["stock"]["rows"] == {"/": [32, 0, 3200, 0, 32], "/missing": [8, 8, 800, 0, 8]}
    assert found["stock"]["loops"] == ["DefaultTaskSet"]
    assert found["alone"] == found["beside"] == found["stock"]


def test_a_failure_in_the_tester_s_own_code_shows_where(tmp_path: Path) -> None:
    """The page *Exceptions* and the log show the traceback of what an `expect` function raised."""
    text = """
import io, logging
from geventecho.framing import Exactly
log = io.StringIO()
logging.getLogger("locust.user.task").addHandler(logging.StreamHandler(log))
logging.getLogger("locust.user.task").propagate = False
def last_field(reply):
    return reply.split(b",")[7]
class User(BusyUser):
    @locust.task
    def ask(self):
        self.client.request(b"a,b", Exactly(3), expect=last_field)
run = Run(User, target, 1)
run.environment.events.user_error.add_listener(
    lambda user_instance, exception, tb, **_: run.runner.log_exception("local", str(exception),
        "".join(__import__("traceback").format_tb(tb))))
run.wait(lambda: run.count("request", failed=True) >= 3)
(kept,) = [error.error for error in run.environment.stats.errors.values()]
page = [row["traceback"] for row in run.runner.exceptions.values()]
result = run.finish()
result["page"] = page
result["log"] = "last_field" in log.getvalue() and "IndexError" in log.getvalue()
result["kept"] = [repr(kept), kept.error.__traceback__ is None, repr(kept.error)]
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert len(result["page"]) == 1
    assert "in last_field" in result["page"][0]
    assert result["log"]
    assert result["kept"] == [
        "IndexError: list index out of range", True, "IndexError('list index out of range')"
    ]  # fmt: skip
