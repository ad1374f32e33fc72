"""The task loop's short way for users that have let the others run: nobody starves, nobody is harder to stop."""

from __future__ import annotations

from pathlib import Path

from tests.support import peers
from tests.support.locust_script import SLEEPS, assert_clean, run_users
from tests.support.timing import UNIT


def test_a_user_that_waited_for_its_reply_does_not_sleep_as_well(tmp_path: Path) -> None:
    text = f"""{SLEEPS}
run = Run(EchoUser, target, 20)
run.wait(lambda: run.count("echo") >= 2000)
result = run.finish()
result["slept"] = len(sleeps)
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["errors"] == {}
    assert result["slept"] <= 200


def test_flat_out_users_have_equal_shares(tmp_path: Path) -> None:
    text = """
class User(BusyUser):
    done = 0
    @locust.task
    def echo(self):
        self.client.echo(self.next_payload())
        self.done += 1
        users[self.number] = self.done
users = {}
run = Run(User, target, 20)
run.wait(lambda: run.count("echo") >= 4000)
result = run.finish()
result["shares"] = sorted(users.values())
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert len(result["shares"]) == 20
    assert result["shares"][0] >= result["shares"][-1] / 4


def test_a_task_that_never_waits_lets_the_others_run(tmp_path: Path) -> None:
    """It does not wait for anything, nor does a send of a few bytes: each still yields between tasks."""
    text = f"""{SLEEPS}
class Spinner(BusyUser):
    @locust.task
    def spin(self):
        spun.append(self.number)
class Sender(BusyUser):
    @locust.task
    def send(self):
        self.client.send(b"x")
spun = []
for user, done in ((Spinner, lambda: len(spun) >= 200), (Sender, lambda: run.count("send") >= 200)):
    run = Run(user, target, 3)
    run.wait(done)
    result = run.finish()
result["slept"] = len(sleeps)
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["errors"] == {}
    assert result["slept"] >= 200


def test_locust_s_own_users_sleep_as_ever(tmp_path: Path) -> None:
    text = f"""{SLEEPS}
class Other(locust.User):
    wait_time = locust.constant(0)
    @locust.task
    def turn(self):
        gevent.sleep(0.001)
        turns.append(self)
turns = []
run = Run(Other, target, 3)
run.wait(lambda: len(turns) >= 30)
run.finish()
answer([len(turns), len(sleeps)])
"""
    turns, slept = run_users(text, "tcp://127.0.0.1:1", tmp_path)
    assert turns - 3 <= slept <= turns


def test_a_wait_of_some_seconds_is_kept(tmp_path: Path) -> None:
    text = f"""{SLEEPS}
EchoUser.wait_time = locust.constant({UNIT / 10})
run = Run(EchoUser, target, 2)
run.wait(lambda: run.count("echo") >= 10)
result = run.finish()
result["seconds"] = sorted(set(sleeps))
result["slept"] = len(sleeps)
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["seconds"] == [UNIT / 10]
    assert result["slept"] >= 8


def test_locust_s_ways_out_of_a_task_still_work(tmp_path: Path) -> None:
    """Weights, a nested task set that interrupts, rescheduling, StopUser, and a graceful stop with on_stop."""
    text = f"""
from locust.exception import RescheduleTask, RescheduleTaskImmediately, StopUser
class User(BusyUser):
    def on_stop(self):
        stopped.append(self.number)
    @locust.task(30)
    def echo(self):
        self.client.echo(self.next_payload())
        seen.append("echo")
    @locust.task(10)
    def again(self):
        self.client.echo(self.next_payload(), name="again")
        seen.append("again")
        raise RescheduleTask if len(seen) % 2 else RescheduleTaskImmediately
    @locust.task(10)
    class Inner(locust.TaskSet):
        @locust.task
        def inside(self):
            self.client.echo(self.user.next_payload(), name="inside")
            seen.append("inside")
            self.interrupt()
class Leaver(BusyUser):
    @locust.task
    def leave(self):
        self.client.echo(self.next_payload())
        raise StopUser
    def on_stop(self):
        stopped.append(self.number)
seen, stopped = [], []
run = Run(User, target, 10, stop_timeout={10 * UNIT})
run.wait(lambda: len(seen) >= 2000)
result = run.finish()
result["seen"] = {{name: seen.count(name) / len(seen) for name in set(seen)}}
result["stopped"] = len(stopped)
stopped.clear()
leavers = Run(Leaver, target, 4)
leavers.wait(lambda: len(stopped) == 4)
result["left"] = leavers.finish()
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    left = result.pop("left")
    for run in (result, left):
        assert_clean(run)
        assert (run["errors"], run["exceptions"]) == ({}, [])
    assert left["rows"]["echo"] == [4, 0]
    assert result["stopped"] == 10
    assert result["account"]["aborted"] == 0, "each user ended between two tasks"
    assert 0.5 < result["seen"]["echo"] < 0.7
    assert 0.1 < result["seen"]["inside"] < 0.3
    assert 0.1 < result["seen"]["again"] < 0.3
