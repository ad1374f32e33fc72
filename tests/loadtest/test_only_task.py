"""A user with one task: a loop of its own, which must do what Locust's does."""

from __future__ import annotations

from pathlib import Path

from tests.support import peers
from tests.support.locust_script import SLEEPS, assert_clean, run_users
from tests.support.timing import UNIT


def test_an_only_task_is_left_when_something_else_is_up(tmp_path: Path) -> None:
    """Other tasks given at run time, one scheduled by hand, an error, rescheduling, and a wait_time that fails."""
    text = """
import logging
from locust.exception import RescheduleTask
logging.getLogger("locust.user.task").disabled = True  # the two errors, with their tracebacks
class User(BusyUser):
    turns = 0
    def wait_time(self):
        if self.turns == 40:
            self.turns += 1
            raise ValueError("no time")
        return 0
    @locust.task
    def echo(self):
        self.client.echo(self.next_payload())
        self.turns += 1
        if self.turns == 10:
            self._taskset_instance.schedule_task(other)
        elif self.turns == 20:
            raise RescheduleTask
        elif self.turns == 30:
            raise ValueError("of the task")
        elif self.turns == 50:
            self.tasks = [other]
def other(user):
    user.client.echo(user.next_payload(), name="other")
    others.append(user.turns)
    if user.turns >= 50:
        user.tasks = type(user).tasks
        user.turns += 1
others = []
run = Run(User, target, 1)
run.wait(lambda: run.count("echo") >= 200)
result = run.finish()
result["others"] = others
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["errors"] == {}
    assert result["exceptions"] == ["ValueError('of the task')", "ValueError('no time')"]
    assert result["others"] == [10, 50]


def test_an_only_task_ends_where_locust_ends_it(tmp_path: Path) -> None:
    text = f"""
class User(BusyUser):
    @locust.task
    def echo(self):
        self.client.echo(self.next_payload())
        done[self.number] = "task"
        self.client.echo(self.next_payload(), name="second")
        done[self.number] = "end"
    def on_stop(self):
        stopped.append(done[self.number])
done, stopped = {{}}, []
run = Run(User, target, 10, stop_timeout={10 * UNIT})
run.wait(lambda: run.count("second") >= 500)
result = run.finish()
result["stopped"] = stopped
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert (result["errors"], result["exceptions"]) == ({}, [])
    assert result["account"]["aborted"] == 0
    assert result["stopped"] == ["end"] * 10


def test_what_a_plugin_replaced_of_locust_s_loop_is_called(tmp_path: Path) -> None:
    """A limit of iterations is put around execute_task, by locust-plugins and others; waits are changed in `wait`."""
    text = """
from locust.exception import StopUser
from locust.user.task import DefaultTaskSet, TaskSet
def limited(self, task, original=DefaultTaskSet.execute_task):
    if len(begun) == 50:
        raise StopUser
    begun.append(task)
    original(self, task)
def counted(self, original=TaskSet.wait):
    waits.append(self)
    original(self)
begun, waits, results = [], [], []
usual = DefaultTaskSet.execute_task
DefaultTaskSet.execute_task = limited
run = Run(EchoUser, target, 5)
run.wait(lambda: len(begun) == 50 and run.runner.user_count == 0)
results.append(run.finish())
DefaultTaskSet.execute_task = usual
TaskSet.wait = counted
run = Run(EchoUser, target, 1)
run.wait(lambda: len(waits) >= 100)
results.append(run.finish())
answer(results)
"""
    with peers.echoes() as peer:
        limited, counted = run_users(text, peer.target, tmp_path)
    assert_clean(limited)
    assert_clean(counted)
    assert limited["rows"]["echo"] == [50, 0]


def test_a_wait_time_that_waits_ends_with_its_user(tmp_path: Path) -> None:
    text = f"""
class User(BusyUser):
    def wait_time(self):
        waiting.append(self.number)
        gevent.sleep({60 * UNIT})
        return 0
    @locust.task
    def echo(self):
        self.client.echo(self.next_payload())
waiting = []
run = Run(User, target, 3, stop_timeout={30 * UNIT})
run.wait(lambda: len(waiting) == 3)
answer(run.finish())
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["rows"]["echo"] == [3, 0]
    assert result["stop_seconds"] < 10 * UNIT


def test_the_old_ways_to_say_how_long_to_wait_are_kept(tmp_path: Path) -> None:
    text = f"""{SLEEPS}
class User(EchoUser):
    wait_time = None
    min_wait = max_wait = 5  # milliseconds
run = Run(User, target, 2)
run.wait(lambda: run.count("echo") >= 10)
result = run.finish()
result["seconds"] = sorted(set(sleeps))
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["exceptions"] == []
    assert result["seconds"] == [0.005]


def test_another_only_task_takes_over_in_the_same_list(tmp_path: Path) -> None:
    text = """
class User(EchoUser):
    tasks = []
def first(user):
    user.client.echo(user.next_payload(), name="first")
    User.tasks[0] = second
def second(user):
    user.client.echo(user.next_payload(), name="second")
User.tasks[:] = [first]
run = Run(User, target, 1)
run.wait(lambda: run.count("second") >= 10)
answer(run.finish())
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["rows"]["first"] == [1, 0]


def test_a_single_user_runs_under_locust_s_debugger_entry(tmp_path: Path) -> None:
    text = """
from locust.env import Environment
from locust.exception import StopUser
class User(BusyUser):
    host = target
    @locust.task
    def echo(self):
        self.client.echo(self.next_payload())
        raise StopUser
environment = Environment(user_classes=[User])
events = []
environment.events.request.add_listener(lambda name, exception, **_: events.append([name, exception]))
user = User(environment)
user.run()  # all that locust.run_single_user does
answer(events)
"""
    with peers.echoes() as peer:
        assert run_users(text, peer.target, tmp_path) == [["connect", None], ["echo", None]]
