"""A user that prints and logs between its echoes: short lines, and lines that are longer than a terminal is wide."""

from __future__ import annotations

import logging
import os

from locust import task

from geventecho.loadtest import TcpUser


class ChattyUser(TcpUser):
    think_time = 0.05
    said = 0

    @task
    def echo(self) -> None:
        self.client.echo(self.next_payload())
        ChattyUser.said += 1
        words = f"{os.getpid()} {ChattyUser.said}."
        if ChattyUser.said % 10 == 0:
            print(f"said {words}", flush=True)
        elif ChattyUser.said % 10 == 5:
            logging.getLogger("chatty").info("%s %s", "la" * ChattyUser.said, words)
