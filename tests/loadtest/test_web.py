"""The web UI: the requests it answers and the values it accepts; and the launcher that starts it."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import peers
from tests.support.locust_process import ECHO_USER, LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until

FORM = {"user_count": "1", "spawn_rate": "1"}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustRun]:
    """An idle UI with two workers and a server of its own."""
    with LocustRun(tmp_path_factory.mktemp("ui"), "--processes", "2") as run:
        run.wait_for_ui()
        wait_until(lambda: json.loads(run.request("/worker-count")[1])["worker_count"] == 2, goal="two workers")
        yield run


def test_everything_listens_on_loopback_only(ui: LocustRun) -> None:
    addresses = {
        connection.laddr.ip
        for process in ui.family()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_the_form_is_filled_in(ui: LocustRun) -> None:
    page = ui.request("/")[1]
    found = page[page.index("window.templateArgs") :]
    assert '"num_users": 1000' in found
    assert '"spawn_rate": 100.0' in found
    assert f'"host": "{ui.server_target()}"' in found
    assert f"started an echo server to test, {ui.server_target()}" in ui.log
    for name in ("tcp_payload_size", "tcp_think_time", "tcp_connect_timeout", "tcp_request_timeout"):
        assert f'"{name}"' in found
    assert "Mean time that a user waits between two tasks, in seconds; 0 is no pause. If empty: 1.0" in found


PATHS = ("/", "/swarm", "/stop", "/stats/requests", "/stats/reset", "/assets/nothing", "/logs")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:{port}"}, 421),
        ({"Host": "127.0.0.1:{port}@evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 421),
        ({"Host": "192.0.2.1:{port}"}, 421),
        ({"Host": "["}, 421),
        ({"Host": "127.0.0.1:port"}, 421),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "localhost:9000", "Origin": "http://localhost:{port}"}, 403),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://localhost:{port}"}, 403),
        ({"Host": "127.0.0.1:{port}", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}, 403),
    ],
)
def test_foreign_requests_are_refused(ui: LocustRun, headers: dict[str, str], status: int) -> None:
    filled = {name: value.format(port=ui.port) for name, value in headers.items()}
    for path in PATHS:
        form = FORM if path in ("/swarm", "/stop", "/stats/reset") else None
        assert ui.request(path, form, filled)[0] == status, path
    assert ui.stats()["state"] == "ready", "no test was started"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:{port}"},
        {"Host": "LOCALHOST:{port}", "Origin": "http://localhost:{port}"},
        {"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Host": "[::1]:{port}"},
        {"Host": "localhost:9000", "Origin": "http://localhost:9000", "Sec-Fetch-Site": "same-origin"},
        {"Host": "localhost"},
        {"Host": "127.0.0.1:9000"},
        {"Host": "127.0.0.1:{port}", "User-Agent": "Mozilla/5.0"},
    ],
)
def test_our_own_requests_pass(ui: LocustRun, headers: dict[str, str]) -> None:
    filled = {name: value.format(port=ui.port) for name, value in headers.items()}
    assert ui.request("/stats/requests", None, filled)[0] == 200


def answer_to(port: int, *headers: str, request: str = "GET /logs") -> str:
    """The web UI's answer to headers that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        lines = [f"{request} HTTP/1.1", *headers, "Connection: close", "", ""]
        client.sendall("\r\n".join(lines).encode("latin-1"))
        return client.makefile("rb").read().decode("latin-1")


MALFORMED = (
    "http://[", "http://[::1", "http://]", "http://127.0.0.1:99999", "http://127.0.0.1:port", "garbage", "", "null",
    "http://\xff", "//127.0.0.1:{port}", "http://127.0.0.1:{port}/", "http://127.0.0.1:{port} x",
    "http://127.0.0.1:{port}\r\n x", "http://127.0.0.1:{port}\r\nOrigin: null",
)  # fmt: skip


def test_malformed_origins_and_hosts_are_refused_without_an_error(ui: LocustRun) -> None:
    ours = f"Host: 127.0.0.1:{ui.port}"
    assert answer_to(ui.port, ours, f"Origin: http://127.0.0.1:{ui.port}").startswith("HTTP/1.1 200 ")
    for value in MALFORMED:
        malformed = value.format(port=ui.port)
        assert answer_to(ui.port, ours, f"Origin: {malformed}").startswith("HTTP/1.1 403 "), malformed
    for host in ("[", "[::1", "]", "127.0.0.1:99999", "127.0.0.1:-1", "garbage", "", "\xff", "127.0.0.1\r\n x"):
        for origin in ("null", f"http://{host}"):
            answer = answer_to(ui.port, f"Host: {host}", f"Origin: {origin}")
            assert answer.startswith("HTTP/1.1 421 "), (host, answer)
    assert "Traceback" not in ui.log


def test_no_other_site_may_show_the_ui_in_a_frame(ui: LocustRun) -> None:
    ours = f"Host: 127.0.0.1:{ui.port}"
    answers = [answer_to(ui.port, ours, request=f"GET {path}") for path in (*PATHS, "/nothing", "/stats/requests")]
    answers += [answer_to(ui.port, ours, "Origin: null"), answer_to(ui.port, "Host: evil.example")]
    assert {answer.split()[1] for answer in answers} == {"200", "403", "404", "405", "421"}
    for answer in answers:
        assert answer.count("X-Frame-Options: SAMEORIGIN\r\n") == 1, answer
        assert answer.count("Content-Security-Policy: frame-ancestors 'self'\r\n") == 1, answer


def test_a_link_on_another_site_opens_the_front_page_only(ui: LocustRun) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ui.request("/", None, headers)[0] == 200
    for path in ("/stop", "/stats/reset", "/stats/requests", "/stats/report", "/nothing"):
        assert ui.request(path, None, headers)[0] == 403


def test_the_refusal_of_a_host_names_the_option_that_allows_it(ui: LocustRun) -> None:
    _, message = ui.request("/", None, {"Host": "Load.example:9000"})
    assert "does not answer to the host 'load.example:9000'" in message
    assert message.endswith("--tcp-web-allowed-host load.example\n"), "a full stop would be part of the name"


def test_the_allowed_fields_are_the_fields_that_this_locust_reads() -> None:
    """A canary: a field that a later Locust adds to its form would be refused."""
    assert run_script("web.fields_that_are_read") == {"locust": [], "ours": ["shape_class"]}


def test_a_locust_without_the_route_of_the_form_causes_a_warning() -> None:
    """Then the options are checked when users start."""
    (record,) = run_script("web.warnings_without_the_route_of_the_form")
    assert record == "this Locust has no route locust.swarm: wrong values in the form show only when users start"


def test_a_browser_s_get_that_changes_a_test_must_come_from_our_page() -> None:
    """Up to 2.46 Locust stops a test and resets its numbers on a GET. An image on any page could send such a GET."""
    assert run_script("web.guarded_gets") == 2 * [[403, 403, 403, 403, 200, 200, 200]]


def test_a_form_sets_only_the_fields_that_it_shows(ui: LocustRun, tmp_path: Path) -> None:
    hidden = dict.fromkeys(("html_file", "csv_prefix", "json_file"), str(tmp_path / "x"))
    hidden |= {"num_users": "7", "processes": "9", "headless": "true", "stop_timeout": "99", "web_host": "0.0.0.0"}
    hidden |= {"tcp_web_allowed_host": "evil.example", "own_server": "true", "exit_code_on_error": "0"}
    before = ui.request("/")[1]
    for name, value in hidden.items():
        status, body = ui.request("/swarm", FORM | {"tcp_payload_size": "77", name: value})
        assert status == 400, name
        assert json.loads(body)["success"] is False
        assert json.loads(body)["message"] == f"the form has no such field: {name}"
    both = json.loads(ui.request("/swarm", FORM | {"json_file": "x", "csv_prefix": "x"})[1])
    assert both["message"] == "the form has no such field: csv_prefix, json_file"
    assert ui.stats()["state"] == "ready"
    assert ui.request("/")[1] == before
    assert ui.request("/", None, {"Host": "evil.example"})[0] == 421


def test_the_dialog_of_a_user_class_sets_only_the_fields_that_it_shows(ui: LocustRun) -> None:
    def post(**settings: Any) -> tuple[int, str]:
        return ui.request("/user", json.dumps(settings).encode(), {"Content-Type": "application/json"})

    status, body = post(user_class_name="EchoUser", payload_size=7, weight=2)
    assert (status, json.loads(body)["message"]) == (400, "the form has no such field: payload_size")
    status, body = post(user_class_name="Unknown", weight=2)
    assert (status, json.loads(body)["message"]) == (400, "user_class_name: there is no user class 'Unknown'")
    assert ui.request("/user", b"[")[0] == ui.request("/user", b"[1]")[0] == post(weight=2)[0] == 400
    shown = {"host": None, "weight": 1, "fixed_count": 0, "tasks": ["echo"]}
    assert post(user_class_name="EchoUser", **shown)[0] == 201


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tcp_payload_size", "0", "--tcp-payload-size: '0' is not a whole number of 1 to 1073741824"),
        ("tcp_payload_size", "1.5", "--tcp-payload-size: '1.5' is not a whole number"),
        ("tcp_think_time", "-1", "--tcp-think-time: '-1' is not a number of seconds of 0 or more"),
        ("tcp_think_time", "nan", "--tcp-think-time: 'nan' is not a number of seconds"),
        ("tcp_connect_timeout", "0", "--tcp-connect-timeout: a timeout must be above 0 seconds"),
        ("tcp_request_timeout", "soon", "--tcp-request-timeout: 'soon' is not a number of seconds"),
        ("host", "127.0.0.1", "'127.0.0.1' is not a target: the port is missing"),
        ("host", "http://127.0.0.1:80", "the scheme 'http://' is not known"),
    ],
)
def test_a_wrong_value_in_the_form_is_named_and_changes_nothing(
    ui: LocustRun, field: str, value: str, message: str
) -> None:
    before = ui.request("/")[1]
    reply = ui.swarm(**{**FORM, "tcp_payload_size": "77", "tcp_think_time": "7", field: value})
    assert reply["success"] is False
    assert message in reply["message"]
    assert ui.stats()["state"] == "ready"
    assert ui.request("/")[1] == before


def test_a_value_changed_in_the_form_applies_on_the_workers(ui: LocustRun) -> None:
    """The last test that uses the shared UI: it runs a load test and ends the UI."""
    form = {
        "user_count": "4",
        "spawn_rate": "4",
        "tcp_payload_size": "333",
        "tcp_think_time": "0.01",
        "host": ui.server_target(),
    }
    assert ui.swarm(**form)["success"] is True

    def echo() -> dict[str, Any]:
        return next((row for row in ui.stats()["stats"] if row["name"] == "echo"), {"num_requests": 0})

    wait_until(lambda: echo()["num_requests"] > 100, 20 * SCALE, "echoes")
    assert echo()["avg_content_length"] == 333
    assert ui.stats()["errors"] == []
    assert {process["tests"] for process in ui.fired()} == {1}
    page = ui.request("/")[1]
    shown = json.loads(re.findall(r"window.templateArgs = (.*)", page)[0])["extra_options"]
    assert shown["tcp_payload_size"]["default_value"] == "333", "the value of the form, not of the command line"
    for name in ("tcp_payload_size", "tcp_think_time", "tcp_connect_timeout", "tcp_request_timeout"):
        assert shown[name]["help_text"].endswith("Running users keep the value that they started with.")
    edit = {name: field["default_value"] for name, field in shown.items()}
    assert ui.swarm(**edit, user_count="6", spawn_rate="6")["success"] is True
    wait_until(lambda: ui.stats()["user_count"] == 6, 20 * SCALE, "six users")
    assert echo()["avg_content_length"] == 333
    ui.stop()
    ui.signal_group(signal.SIGINT)
    assert ui.wait() == 0, ui.log
    assert ui.family() == []


def test_a_wrong_argument_ends_with_2(tmp_path: Path) -> None:
    message = "argument --host: 'localhost' is not a target: the port is missing"
    with LocustRun(tmp_path, "--headless", "-t", "1", "--processes", "2", "--host", "localhost") as run:
        assert run.wait() == 2
        assert message in run.log
        assert "Traceback" not in run.log
        wait_until(lambda: run.family() == [], goal="the end of the workers")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--tcp-think-time=-1", "--tcp-think-time: '-1' is not a number of seconds of 0 or more"),
        ("--tcp-request-timeout=0", "--tcp-request-timeout: a timeout must be above 0 seconds"),
        ("--tcp-connect-timeout=x", "--tcp-connect-timeout: 'x' is not a number of seconds"),
        ("--tcp-payload-size=2.5", "--tcp-payload-size: '2.5' is not a whole number"),
        ("--tcp-payload-size=0", "--tcp-payload-size: '0' is not a whole number of 1 to 1073741824"),
    ],
)
def test_a_wrong_argument_is_named(argument: str, message: str) -> None:
    code, printed = run_script("web.exit_of", argument)
    assert code == 2
    assert message in printed


def test_values_are_kept_as_text() -> None:
    """The empty text means that the option was not given."""
    values = run_script("web.values_of", "--tcp-think-time", "0", "--tcp-payload-size", "7")
    assert values == ["0", "7", ""]


@pytest.mark.parametrize(
    ("arguments", "name", "see"),
    [
        ([], "the web UI", "--web-port"),
        (["--headless", "--master"], "the master", "--master-bind-port"),
        (
            ["--headless", "--processes", "2"],
            "the master",
            "--master-bind-port and --master-port, which must be the same",
        ),
    ],
    ids=["web", "master", "processes"],
)
def test_a_port_that_is_taken_is_named_before_anything_starts(
    tmp_path: Path, arguments: list[str], name: str, see: str
) -> None:
    with peers.echoes() as other:
        with LocustRun(tmp_path, *arguments, web_port=other.port, master_port=other.port) as run:
            assert run.wait() == 2
        assert not other.accepted
    address = f"127.0.0.1:{other.port}"
    reason = "another program uses this port"
    assert run.log == f"geventecho.loadtest: {name} cannot listen on {address}: {reason}; see {see}\n"


def test_the_host_of_a_class_is_not_replaced_by_a_server_of_our_own(tmp_path: Path) -> None:
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--headless", "-u", "1", "-t", "1", "--tcp-think-time", "0.1", "Other",
        locustfile=LOCUSTFILES / "own_host.py", own_server=False, extra={"OWN_HOST": peer.target},
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
        assert peer.accepted == 1


def test_plain_locust_raises_a_low_descriptor_limit(tmp_path: Path) -> None:
    """300 users in one process that was started with `ulimit -Sn 256`."""
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--headless", "-u", "300", "-r", "300", "-t", "60", "--host", peer.target,
        module="locust", locustfile=ECHO_USER, descriptors=256,
    ) as run:  # fmt: skip
        wait_until(lambda: peer.open == 300, 20 * SCALE, "300 connections at once")
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
        wait_until(lambda: peer.open == 0, goal="all closed")


@pytest.mark.parametrize(
    ("listening", "allowed", "hosts"),
    [
        ("", [], {"192.0.2.1:8089": True, "[2001:db8::1]:9000": True, "evil.example:8089": False, "1.2.3.4": True}),
        (
            "127.0.0.1",
            ["load.example", "other.example:9000"],
            {
                "load.example": True,
                "load.example:9000": True,
                "other.example:9000": True,
                "other.example": False,
                "x.load.example": False,
                "": False,
            },
        ),
    ],
)
def test_the_guard_accepts_ip_addresses_or_the_allowed_hosts(
    listening: str, allowed: list[str], hosts: dict[str, bool]
) -> None:
    assert run_script("web.hosts_that_are_ours", listening, allowed, list(hosts)) == list(hosts.values())
