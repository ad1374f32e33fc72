"""Users that upgrade to TLS after the server has agreed to it, as SMTP clients do."""

from __future__ import annotations

import os

import locust

from geventecho import Tls, Until
from geventecho.loadtest import TcpUser

LINE = Until(b"\r\n")


class MailUser(TcpUser):
    tls = Tls(ca=os.environ["AUTHORITY"])

    def on_connect(self) -> None:
        self.client.receive(LINE, name="greeting")
        self.client.request(b"STARTTLS\r\n", LINE, name="login", expect=b"220 ready\r\n")
        self.client.start_tls()

    @locust.task
    def noop(self) -> None:
        self.client.request(b"NOOP\r\n", LINE, name="noop")
