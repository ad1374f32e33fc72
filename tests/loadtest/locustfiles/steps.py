"""A shape with two stages."""

from __future__ import annotations

from locust import LoadTestShape

from loadtests.locustfile import EchoUser

__all__ = ["EchoUser", "Steps"]


class Steps(LoadTestShape):
    """A few users for 12 seconds, then more for as long."""

    def tick(self) -> tuple[int, float] | None:
        passed: float = self.get_run_time()  # type: ignore[no-untyped-call]
        return None if passed > 24 else (4 if passed < 12 else 12, 10.0)
