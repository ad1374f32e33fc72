"""A user with row names that UTF-8 cannot encode, as os.fsdecode makes them. Half of its requests fail."""

from locust import events, task
from locust.argument_parser import LocustArgumentParser

from geventecho.framing import Exactly
from geventecho.loadtest import TcpUser


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--password", "-S", is_secret=True, default="")
    parser.add_argument("--session-token", is_secret=True, include_in_web_ui=False, default="")


class Fetcher(TcpUser):
    @task
    def fetch(self) -> None:
        self.client.request(b"name", Exactly(4), name="bad\udcff")
        self.client.request(b"name", Exactly(4), name="worse\udc80", expect=b"another")
