"""The commands that send a PROXY header, and `serve`, which takes it, as processes."""

from __future__ import annotations

import pytest

from tests.support.commands import command, usage_error
from tests.support.servers import Process, serve

CLIENTS = {
    "send": ("hello", "--proxy-protocol", "v1"),
    "ping": ("--count", "2", "--interval", "0", "--proxy-protocol", "v2"),
    "load": ("--users", "2", "--time", "1s", "--tcp-proxy-protocol", "v2"),
}


def proxied(*addresses: str) -> Process:
    return serve(
        *(word for address in addresses for word in ("--proxy-protocol-from", address)), "--log-level", "debug"
    )


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_sends_a_header(name: str) -> None:
    with proxied("192.0.2.1", "127.0.0.0/8") as server:
        done = command([name, server.target, *CLIENTS[name]])
        assert done.returncode == 0, done.stderr
        counts = server.stop_and_count()
    assert {word for word in counts if word.startswith("proxy_header_")} == set()
    assert counts["bytes_received"] == counts["bytes_sent"] > 0
    assert "WARNING" not in server.errors


def test_the_server_closes_a_connection_without_a_header() -> None:
    with proxied("127.0.0.1") as server:
        done = command(["ping", server.target, "--count", "1", "--size", "200"])
        assert done.returncode == 1
        assert b"1 lost" in done.stdout
        counts = server.stop_and_count()
    assert counts == {"accepted": 1, "ended_proxy_header": 1, "proxy_header_malformed": 1, "peak": 1}
    assert server.errors.count("no PROXY header: malformed 1") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "--proxy-protocol-from", "localhost"), "proxy_protocol_from has 'localhost'"),
        (("serve", "--proxy-header-timeout", "0"), "--proxy-header-timeout: it must be above 0"),
        (("send", "hello", "--proxy-protocol", "v3"), "--proxy-protocol: invalid choice: 'v3'"),
        (("ping", "--proxy-protocol", "3"), "--proxy-protocol: invalid choice: '3'"),
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments: tuple[str, ...], words: str) -> None:
    assert words in usage_error(*arguments)
