"""`geventecho serve --metrics`: its paths, and the metrics of a scrape."""

from __future__ import annotations

import random
import re
import signal
import time

import pytest
from gevent import socket
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from geventecho._version import __version__
from geventecho.address import Address
from geventecho.server import COUNTERS
from geventecho.service.exposition import Exposition
from geventecho.service.shared_counters import SharedCounters
from tests.support import ROOT
from tests.support.scraping import Answer, get, metrics_of, request, scrape
from tests.support.servers import Process, ping, read_to_end, serve
from tests.support.timing import wait_until
from tests.support.tls import Files, secured

PAGE = ROOT / "docs" / "reference" / "metrics.md"
LABELLED = {
    "connections_refused_total": "refused",
    "connections_ended_total": "ended",
    "proxy_header_failures_total": "proxy_header",
    "tls_handshake_failures_total": "handshake",
}
RENAMED = {
    "connections_accepted_total": "accepted",
    "accept_queue_drops_total": "queue_drops",
    "bytes_undelivered_total": "bytes_destroyed",
    "tcp_retransmitted_segments_total": "retransmits",
    "tcp_rtt_seconds_count": "rtt_count",
    "log_lines_dropped_total{stderr}": "log_dropped",
    "log_lines_dropped_total{stdout}": "output_dropped",
    "connections_open": "open",
}


COUNTS = (*COUNTERS, "log_dropped", "output_dropped", "open")


def as_counters(samples: dict[str, float]) -> dict[str, float]:
    """A scrape with the names that SIGUSR1 prints; counters of 0 are left out."""
    found = {}
    for sample, value in samples.items():
        name, _, label = sample.removeprefix("geventecho_").rstrip("}").partition("{")
        short = RENAMED.get(sample.removeprefix("geventecho_"), name.removesuffix("_total"))
        found[f"{LABELLED[name]}_{label}" if name in LABELLED else short] = value
    found["rtt_us"] = round(found["tcp_rtt_seconds_sum"] * 1e6)
    found["bytes_sent"] -= found["bytes_destroyed"]
    return {name: found[name] for name in COUNTS if found[name]}


def counters_by_signal(server: Process) -> dict[str, int]:
    before = len(server.lines)
    server.signal(signal.SIGUSR1)
    wait_until(lambda: len(server.lines) > before)
    words = server.lines[-1].removeprefix("counters: ").split()
    return {name: int(value) for name, _, value in (word.partition("=") for word in words) if name != "peak"}


def test_connections_are_counted_by_state(pem: Files) -> None:
    with serve("--metrics", "0", *pem.options) as server, server.connect() as silent, server.connect() as sock:
        metrics = metrics_of(server)
        with secured(sock) as client:
            ping(client)
            found = scrape(metrics)
            states = [found[f"geventecho_connections_{state}"] for state in ("open", "opening", "ending")]
            assert states == [2, 1, 0]
        silent.close()
        wait_until(lambda: scrape(metrics)["geventecho_connections_opening"] == 0)


def test_a_scrape_has_the_present_counters() -> None:
    with serve("--metrics", "0", "--max-connections", "1") as server, server.connect() as client:
        metrics = metrics_of(server)
        ping(client, b"x" * 1000)
        with server.connect() as other:
            assert read_to_end(other) == b""
        found = scrape(metrics)
        assert found["geventecho_connections_open"] == found["geventecho_connections_limit"] == 1
        assert found["geventecho_connections_accepted_total"] == 2, "scrapers are not counted"
        assert found["geventecho_connections_refused_total{full}"] == 1
        assert found["geventecho_bytes_received_total"] == found["geventecho_bytes_sent_total"] == 1000
        assert found["geventecho_workers{listening}"] == 1
        assert found[f"geventecho_info{{{__version__}}}"] == 1
        assert abs(found["geventecho_start_time_seconds"] - time.time()) < 60
        assert as_counters(found) == counters_by_signal(server)
        client.close()
        wait_until(lambda: scrape(metrics)["geventecho_connections_open"] == 0)
        found = scrape(metrics)
        assert found["geventecho_tcp_rtt_seconds_count"] == 1
        assert 0 < found["geventecho_tcp_rtt_seconds_sum"] < 1
        assert as_counters(found) == counters_by_signal(server)


@pytest.mark.parametrize("seed", range(20))
def test_the_exposition_equals_the_counters(seed: int) -> None:
    """The counters of one to four workers, with random values."""
    choose = random.Random(seed)
    shared = SharedCounters(choose.randint(1, 4))
    for slot in shared.slots:
        slot["state"] = 2
        for name in COUNTS:
            slot[name] = choose.choice((0, 1, choose.randrange(1 << 20), choose.randrange(1 << 47)))
    found = as_counters(Answer(200, {}, Exposition(shared).render("")[1]).samples)
    totals = shared.totals() | {"open": shared.gauge("open")}
    assert found == {name: totals[name] for name in COUNTS if totals[name]}


def test_both_formats_have_the_same_samples_and_no_times_of_creation() -> None:
    with serve("--metrics", "0") as server:
        metrics = metrics_of(server)
        text = get(metrics, headers="Accept: text/plain, */*\r\n")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        asked = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2\r\n"
        openmetrics = get(metrics, headers=asked)
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert openmetrics.body.endswith(b"# EOF\n")
        families = {family.name: family for family in openmetrics_families(openmetrics.body.decode())}
        assert {sample.name for family in families.values() for sample in family.samples} == {
            name.partition("{")[0] for name in text.samples
        }
        assert b"_created" not in text.body + openmetrics.body
        for odd in (
            "application/openmetrics-text;version=x",
            "é" * 100,
            ", ;=,",
            "application/openmetrics-text;escaping=",
        ):
            assert get(metrics, headers=f"Accept: {odd}\r\n").status == 200
        assert server.errors == ""


def documented() -> tuple[dict[str, tuple[str, list[str]]], dict[str, set[str]]]:
    """The type and the labels of each metric, and the values of its labels, in the reference."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines() if line[:3] == "| `"
    ]
    metrics = {row[0].strip("`"): (row[1], re.findall(r"\w+", row[2])) for row in rows if len(row) == 4 and row[3]}
    values = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in rows if len(row) == 3}
    return metrics, values


def test_the_reference_lists_exactly_the_metrics_of_a_scrape() -> None:
    shared = SharedCounters()
    families = list(openmetrics_families(Exposition(shared).render("application/openmetrics-text")[1].decode()))
    suffix = {"counter": "_total", "info": "_info"}
    metrics, values = documented()
    assert metrics == {
        family.name + suffix.get(family.type, ""): (
            family.type,
            sorted({key for s in family.samples for key in s.labels}),
        )
        for family in families
    }
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            for key in sample.labels.keys() - {"version"}:
                found.setdefault(sample.name, set()).add(sample.labels[key])
    assert values == found
    helps = {family.name: family.documentation for family in families}
    assert all(helps.values())
    assert "within the last second" in helps["geventecho_loop_lag_seconds"]


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/healthz", 200, b"ok\n"),
        ("HEAD", "/healthz", 200, b""),
        ("GET", "/readyz", 200, b"ready\n"),
        ("HEAD", "/metrics", 200, b""),
        ("GET", "/metrics?name[]=x", 200, None),
        ("GET", "/", 404, None),
        ("GET", "/metrics/", 404, None),
        ("HEAD", "/metricsx", 404, b""),
        ("POST", "/metrics", 405, None),
        ("DELETE", "/healthz", 405, None),
        ("OPTIONS", "/readyz", 405, None),
    ],
)
def test_each_method_and_path_has_its_answer(
    shared: Address, method: str, path: str, status: int, body: bytes | None
) -> None:
    answer = get(shared, path, method=method)
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.body == body or body is None
    assert (answer.headers.get("allow") == "GET, HEAD") == (status == 405)
    assert "server" not in answer.headers


@pytest.fixture(scope="module")
def shared() -> object:
    """The metrics of a server that the tests of this module share."""
    with serve("--metrics", "0") as server:
        yield metrics_of(server)
        assert server.stop() == 0
        assert server.errors == "", "there is no access log"


def test_a_body_is_not_read(shared: Address) -> None:
    answer = request(shared, "POST /metrics HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc")
    assert answer.status == 405
    assert request(shared, "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").status == 200


def test_a_request_of_http_1_0_is_answered(shared: Address) -> None:
    assert request(shared, "GET /healthz HTTP/1.0\r\n\r\n").body == b"ok\n"


def test_a_draining_server_answers_to_its_end_and_is_not_ready() -> None:
    with serve("--metrics", "0", "--drain-idle", "20") as server, server.connect() as client:
        metrics = metrics_of(server)
        ping(client)
        assert get(metrics, "/readyz").status == 200
        server.signal()
        wait_until(lambda: get(metrics, "/readyz").status == 503)
        assert get(metrics, "/healthz").status == 200
        found = scrape(metrics)
        assert found["geventecho_workers{draining}"] == found["geventecho_connections_open"] == 1
        client.close()
        assert server.wait() == 0
        assert server.errors == ""


def test_the_counter_of_sent_bytes_never_decreases() -> None:
    """The server learns only at the end of a connection that the kernel could not deliver some of them."""
    with serve("--metrics", "0", "--write-stall", "0.2") as server:
        metrics = metrics_of(server)
        with server.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            found: list[dict[str, float]] = []
            while not found or found[-1]["geventecho_connections_open"]:
                for _ in range(100):
                    try:
                        client.send(b"x" * 65536)
                    except OSError:
                        break
                found.append(scrape(metrics))
        assert found[-1]["geventecho_connections_ended_total{write_stall}"] == 1
        assert found[-1]["geventecho_bytes_undelivered_total"] > 0
        for name in found[-1]:
            if name.partition("{")[0].endswith("_total"):
                values = [each[name] for each in found]
                assert values == sorted(values), name
        counts = as_counters(found[-1])
        assert counts["bytes_received"] == counts["bytes_sent"] + counts["bytes_lost"]
