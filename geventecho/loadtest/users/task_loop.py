"""The task loop of a `TcpUser`: Locust's loop with two optimisations.

After each task Locust calls gevent's sleep, even for 0 seconds, so that all other greenlets run. If the task waited for
a reply, they have already run. The needless sleep was an eighth of the cost of a user without pauses.

Between two tasks Locust makes nine calls. A user with one task needs two of them. The others were a tenth of the cost.
"""

from __future__ import annotations

import gevent
from gevent import get_hub
from locust import User
from locust.exception import RescheduleTaskImmediately

from geventecho.loadtest.locust_internals import DefaultTaskSet, begin_wait, end_wait, queue_of, repeat_task

__all__ = ["TaskLoop"]


class TaskLoop(DefaultTaskSet):  # type: ignore[misc]  # a new Locust may lack this class
    """Executes the tasks of `User.tasks`."""

    def __init__(self, parent: User) -> None:
        super().__init__(parent)
        self.last_iteration = -1  # the iteration of the event loop in which this user last returned from a wait

    def wait(self) -> None:
        """Wait for `wait_time`. A wait of 0 seconds returns at once if the event loop has run since the last wait.

        The iteration of the event loop does not change while a greenlet runs. When it changes, every ready greenlet has
        run.
        """
        user = self.user
        begin_wait(user)
        seconds = self.wait_time()  # may itself wait
        loop = get_hub().loop
        if seconds > 0 or self.last_iteration == loop.iteration:
            gevent.sleep(seconds)
        self.last_iteration = loop.iteration
        end_wait(user)

    def execute_next_task(self) -> None:
        """Execute the next task. If it is the user's only task, execute it repeatedly, until the tasks change.

        An exception in a task or a wait ends this method, and Locust's loop handles it.
        """
        user, tasks = self.user, self.user.tasks
        task = queue_of(self).popleft()
        # A nested TaskSet has `tasks`. A class with min_wait and max_wait has no `wait_time`.
        if len(tasks) != 1 or tasks[0] is not task or hasattr(task, "tasks") or user.wait_time is None:
            self.execute_task(task)
            return
        repeat_task(self, user, task)
        raise RescheduleTaskImmediately
