"""Scrapers: one request and one answer, over TCP or a Unix socket."""

from __future__ import annotations

import re
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from geventecho.address import Address
from tests.support.servers import Process, connect_to, read_to_end
from tests.support.timing import wait_until


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: its code.
        headers: by name in small letters.
        body: as it was received.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def samples(self) -> dict[str, float]:
        """The values of a text exposition, as ``name`` or ``name{label}``: no metric here has two labels."""
        found = {}
        for family in text_string_to_metric_families(self.body.decode()):
            for sample in family.samples:
                labels = "".join(f"{{{value}}}" for value in sample.labels.values())
                assert sample.name + labels not in found
                found[sample.name + labels] = sample.value
        return found


def request(address: Address, text: str) -> Answer:
    """Send `text` unchanged as a request, and read to the end."""
    with connect_to(address) as sock:
        sock.sendall(text.encode("latin-1"))
        return parsed(read_to_end(sock))


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) .+", first)
    assert found, answer[:200]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert int(headers["content-length"]) == len(body) or not body
    return Answer(int(found[1]), headers, body)


def get(address: Address, path: str = "/metrics", *, method: str = "GET", headers: str = "") -> Answer:
    """Ask for a path; `headers` are whole lines."""
    return request(address, f"{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n")


def scrape(address: Address) -> dict[str, float]:
    """All samples."""
    answer = get(address)
    assert answer.status == 200
    return answer.samples


def metrics_of(server: Process) -> Address:
    """The address of the metrics of a `geventecho serve --metrics`."""

    def lines() -> list[str]:
        return [line for line in server.lines if line.startswith("metrics on ")]

    wait_until(lines, goal="the line with the address of the metrics")
    where = lines()[0].removeprefix("metrics on ")
    if where.startswith("http://"):
        where = where.removeprefix("http://").removesuffix("/metrics")
    return Address.parse(where)
