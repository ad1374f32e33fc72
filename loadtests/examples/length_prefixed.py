"""Messages that begin with their length. The target here is an echo server, which returns each message.

locust -f loadtests/examples/length_prefixed.py --web-host 127.0.0.1 --host tcp://127.0.0.1:8090
"""

import struct

from locust import between, task
from locust.env import Environment

from geventecho import LengthPrefixed
from geventecho.loadtest import TcpUser
from geventecho.payloads import RandomBytes

MESSAGE = LengthPrefixed(">I")
BODIES = RandomBytes("64:7,576:4,1500:1", seed=1)


class MessageUser(TcpUser):
    host = "tcp://127.0.0.1:8090"
    wait_time = between(0.05, 0.15)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.bodies = BODIES.payloads(self.number)

    def next_message(self) -> bytes:
        body = next(self.bodies)
        return struct.pack(">I", len(body)) + body

    @task(3)
    def ask(self) -> None:
        message = self.next_message()
        self.client.request(message, reply=MESSAGE, name="message", expect=message)

    @task
    def send_and_receive(self) -> None:
        message = self.next_message()
        self.client.send(message, name="publish")
        self.client.receive(MESSAGE, name="pushed", expect=message, timeout=2.0)
