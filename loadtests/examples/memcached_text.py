"""memcached's text protocol.

locust -f loadtests/examples/memcached_text.py --web-host 127.0.0.1 --host tcp://127.0.0.1:11211
"""

import re

from locust import between, task
from locust.env import Environment

from geventecho import Until
from geventecho.loadtest import TcpUser
from geventecho.payloads import Template

STORED = Until(b"\r\n")
VALUE = Until(b"END\r\n", max_size=65536)
SETS = Template(b"set geventecho:{user} 0 60 8\r\n{message:08d}\r\n")


class MemcachedUser(TcpUser):
    host = "tcp://127.0.0.1:11211"
    wait_time = between(0.05, 0.15)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.sets = SETS.payloads(self.number)

    @task
    def set_and_get(self) -> None:
        self.client.request(next(self.sets), reply=STORED, name="set", expect=b"STORED\r\n")
        get = b"get geventecho:%d\r\n" % self.number
        self.client.request(get, reply=VALUE, name="get", expect=re.compile(rb"\r\n\d{8}\r\nEND\r\n\Z"))
