"""The task loop of a `TcpUser`: Locust's own, with two savings.

After each task Locust makes a user wait with gevent's sleep, also for 0 seconds: all other greenlets run. A task that
waited for a reply has already let them run. The second sleep was an eighth of the cost of a user without pauses.

Between two tasks Locust makes nine calls. A user with one task needs two of them; the others were a tenth of the cost.
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
        """Wait for `wait_time`. A wait of 0 seconds returns at once if the event loop has run since the last wait.

        The event loop stands still while a greenlet runs. After an iteration, every ready greenlet has run.
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

        An exception of a task or a wait ends this method, and Locust's loop handles it as always.
        """
        user, tasks = self.user, self.user.tasks
        task = queue_of(self).popleft()
        # A nested TaskSet has `tasks`. A class with min_wait and max_wait has no `wait_time`.
        if len(tasks) != 1 or tasks[0] is not task or hasattr(task, "tasks") or user.wait_time is None:
            self.execute_task(task)
            return
        repeat_task(self, user, task)
        raise RescheduleTaskImmediately
