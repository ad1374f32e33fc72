"""Node's net tutorial: its client against our server, our client and commands against its server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from geventecho.client.connecting import connect
from tests.support.commands import SECONDS, command
from tests.support.servers import serve

NODE = shutil.which("node")
PORT = 8090  # the tutorial's
TARGET = f"tcp://127.0.0.1:{PORT}"

CLIENT = """
const net = require('net');
const client = net.connect({port: %d}, () => { client.write('hello from node'); });
client.on('data', (data) => { console.log('msg from server : ' + data.toString()); client.end(); });
client.on('end', () => { console.log('disconnected from server'); });
client.on('error', (error) => { console.log('error', error.message); });
client.on('close', (hadError) => { console.log('closed', hadError); });
"""

SERVER = """
const net = require('net');
const server = net.createServer((connection) => {
  console.log('client connected');
  connection.on('end', () => { console.log('client disconnected'); });
  connection.on('error', (error) => { console.log('error', error.code); });
  connection.pipe(connection);
});
server.listen(%d, () => { console.log('server is listening'); });
"""


def node(script: str) -> subprocess.Popen[str]:
    assert NODE is not None
    return subprocess.Popen([NODE, "-e", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Tutorial:
    """The tutorial's server and its output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._output = process.stdout

    def line(self) -> str:
        return self._output.readline().rstrip("\n")


@pytest.fixture
def tutorial() -> Iterator[Tutorial]:
    with node(SERVER % PORT) as process:
        try:
            server = Tutorial(process)
            assert server.line() == "server is listening"
            yield server
        finally:
            process.kill()


def test_nodes_client_gets_its_echo_on_the_tutorials_port() -> None:
    with serve("--port", str(PORT)) as server:
        assert server.target == TARGET
        printed = printed_by_nodes_client(PORT)
        assert server.stop() == 0
    assert printed == ["msg from server : hello from node", "disconnected from server", "closed false"]
    assert server.errors == ""


def test_nodes_client_gets_its_echo_on_another_port() -> None:
    with serve() as server:
        printed = printed_by_nodes_client(server.address.port)
    assert printed[0] == "msg from server : hello from node"


def printed_by_nodes_client(port: int) -> list[str]:
    with node(CLIENT % port) as process:
        try:
            out, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    return out.splitlines()


def test_our_client_gets_its_echo_from_nodes_server(tutorial: Tutorial) -> None:
    with connect() as client:  # the default target is that of the tutorial
        client.send(b"hello from gevent")
        assert client.recv_exactly(17) == b"hello from gevent"
        client.end()
        assert list(client) == []
        assert str(client.peer_address) == TARGET
    assert [tutorial.line(), tutorial.line()] == ["client connected", "client disconnected"]


def test_nodes_pipe_returns_a_large_echo(tutorial: Tutorial) -> None:
    payload = bytes(range(256)) * 65536
    with connect(TARGET) as client:
        assert client.echo(payload) is payload


def test_our_commands_get_their_echoes_from_nodes_server(tutorial: Tutorial) -> None:
    done = command(["send", "hello from the command line"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello from the command line", b"")
    assert [tutorial.line(), tutorial.line()] == ["client connected", "client disconnected"]
    done = command(["ping", "-c", "3", "-i", "0"])
    assert done.returncode == 0
    assert b"3 sent, 3 answered, 0 lost (0%)" in done.stdout


def test_nodes_server_survives_our_abort(tutorial: Tutorial) -> None:
    with connect() as client:
        client.echo(b"x")
        client.abort()
    assert [tutorial.line(), tutorial.line()] == ["client connected", "error ECONNRESET"]
    with connect() as client:
        assert client.echo(b"y") == b"y"
