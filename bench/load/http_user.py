"""Locust's FastHttpUser, which posts a body and compares it with the reply."""

from __future__ import annotations

import os

from locust import FastHttpUser, constant, task

PAYLOAD = os.urandom(int(os.environ["BENCH_PAYLOAD"]))


class HttpUser(FastHttpUser):
    wait_time = constant(float(os.environ["BENCH_THINK_TIME"]))

    @task
    def echo(self) -> None:
        with self.client.post("/", data=PAYLOAD, name="echo", catch_response=True) as response:  # type: ignore[arg-type]
            if response.content != PAYLOAD:
                response.failure("the reply differs")
