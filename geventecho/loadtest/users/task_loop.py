"""The task loop of a `TcpUser`: Locust's own, with two savings.

After each task Locust lets a user wait, if only for 0 seconds, by gevent's sleep: all other greenlets run. A task that
waited for a reply has let them run already. The second sleep was an eighth of the cost of a flat-out user.

Between two tasks Locust makes nine calls. A user with one task needs none of them but two; the others were a tenth.
"""

from __future__ import annotations

import gevent
from gevent import get_hub
from locust import User
from locust.exception import RescheduleTaskImmediately

from geventecho.loadtest.locust_internals import DefaultTaskSet, begin_wait, end_wait, queue_of, repeat_task

__all__ = ["TaskLoop"]


class TaskLoop(DefaultTaskSet):  # type: ignore[misc]  # which a new Locust may lack
    """Executes the tasks of `User.tasks`."""

    def __init__(self, parent: User) -> None:
        super().__init__(parent)
        self.turn = -1  # of the event loop, when this user last let the others run

    def wait(self) -> None:
        """Wait as `wait_time` says. A wait of 0 seconds is over if the event loop has turned since the last one.

        While a greenlet runs, the event loop stands still. If it has turned, every greenlet that was ready has run.
        """
        user = self.user
        begin_wait(user)
        seconds = self.wait_time()  # may itself wait
        loop = get_hub().loop
        if seconds > 0 or self.turn == loop.iteration:
            gevent.sleep(seconds)
        self.turn = loop.iteration
        end_wait(user)

    def execute_next_task(self) -> None:
        """Execute the next task; a user's only one again and again, until there is something else to do.

        An exception of a task or a wait ends this. Locust's loop, which called it, handles the exception as always.
        """
        user, tasks = self.user, self.user.tasks
        task = queue_of(self).popleft()
        # A nested TaskSet has `tasks`. A class with min_wait and max_wait has no `wait_time`.
        if len(tasks) != 1 or tasks[0] is not task or hasattr(task, "tasks") or user.wait_time is None:
            self.execute_task(task)
            return
        repeat_task(self, user, task)
        raise RescheduleTaskImmediately
