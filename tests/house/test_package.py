"""The public names of each module, the effects of importing the package, and the private parts of gevent it needs.

The imports that are allowed between packages are in pyproject.toml; import-linter checks them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import greenlet
import pytest
from gevent import get_hub, monkey, socket
from gevent.server import StreamServer

import geventecho
from geventecho import errors
from tests.support import ROOT
from tests.support.clients import run
from tests.support.timing import UNIT

PACKAGE = Path(geventecho.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)
# Importing these does not import Locust.
PLAIN = [name for name in MODULES if not name.startswith("geventecho.loadtest")]
MAX_LINES = 400


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of each `from ... import ...`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            for alias in node.names:
                yield node.module or "", alias.name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


# Public names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAIN)
def test_all_lists_own_names_once_and_they_have_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    shown_names = getattr(module, "__all__", [])
    assert len(set(shown_names)) == len(shown_names)
    for shown in shown_names:
        value = getattr(module, shown)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__.startswith("geventecho."), f"{shown} is of {value.__module__}"
            assert inspect.getdoc(value), f"{name}.{shown} has no docstring"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_imported_from_a_module_are_in_its_all(path: Path) -> None:
    for module, name in imported(path):
        if module not in PLAIN or module == "geventecho._version" or f"{module}.{name}" in MODULES:
            continue
        source = importlib.import_module(module)
        # A name that does not exist at run time is one for type checkers.
        assert name in source.__all__ or not hasattr(source, name), f"{module} keeps {name} to itself"


def test_the_package_exports_its_public_names() -> None:
    assert geventecho.__all__ == sorted(geventecho.__all__)
    for name in geventecho.__all__:
        assert getattr(geventecho, name) is not None
    listed = {name for module, name in imported(PACKAGE / "__init__.py") if module != "typing"}
    assert listed == set(geventecho.__all__)
    assert {"TcpServer", "EchoServer", "StopReport", "ServerConfig", "connect", "Client"} <= set(geventecho.__all__)
    # The docstrings refer to these: the end of a handler, the hooks, and the parts of a user's own framing.
    assert {"Ended", "ServerHooks", "Framing", "Parser"} <= set(geventecho.__all__)


def test_the_package_exports_every_error() -> None:
    assert set(errors.__all__) <= set(geventecho.__all__)
    assert set(errors.__all__) == {
        name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)
    }
    tree = errors.__doc__ or ""
    for name in errors.__all__:
        assert name in tree, f"the tree in the docstring lacks {name}"
        error = getattr(errors, name)
        assert issubclass(error, errors.GeventechoError)
        assert error.kind


def test_kinds_tell_errors_apart() -> None:
    assert errors.ConnectReset.kind == errors.PeerReset.kind, "chance decides whether connect(2) or the first use fails"
    kinds = [getattr(errors, name).kind for name in errors.__all__ if name != "ConnectReset"]
    assert len(set(kinds)) == len(kinds)


# Effects on the process -----------------------------------------------------------------------------------------------


def test_importing_the_package_patches_nothing() -> None:
    assert run("tests.house.scripts.import_effects", *PLAIN) == "[] [] False 1 True\n"


def test_the_command_line_does_not_import_gevent_before_it_has_prepared_for_signals() -> None:
    program = "import sys, geventecho.cli; print('gevent' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_the_tests_run_unpatched() -> None:
    assert not monkey.is_module_patched("socket")


def test_importing_the_load_test_patches_the_standard_library() -> None:
    assert run("tests.house.scripts.import_effects", "geventecho.loadtest").startswith("['socket', ")


# Canaries: the undocumented parts of gevent that the echo loop and the acceptor use -----------------------------------


def test_canary_a_socket_s_own_watcher_stays_armed_until_it_is_stopped() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert near._sock.fileno() == near.fileno()
        assert not near._sock.getblocking()
        with pytest.raises(BlockingIOError):
            near._sock.recv(1)
        seen: list[bytes] = []
        near._read_event.start(lambda: seen.append(near._sock.recv(1)))
        for turn in range(1, 4):
            far.sendall(b"x")
            with gevent.Timeout(10):
                while len(seen) < turn:
                    gevent.sleep(0)
        near._read_event.stop()
        far.sendall(b"y")
        gevent.sleep(UNIT / 2)
        assert seen == [b"x"] * 3
        writable: list[bool] = []
        near._write_event.start(writable.append, True)
        gevent.sleep(UNIT / 10)
        near._write_event.stop()
        assert writable
        assert not near._read_event.active
        assert not near._write_event.active


def test_canary_a_raw_greenlet_switches_to_the_hub_and_back_by_its_watcher() -> None:
    near, far = socket.socketpair()
    turns: list[bytes] = []

    def loop() -> None:
        near._read_event.start(greenlet.getcurrent().switch)
        try:
            for _ in range(3):
                greenlet.greenlet.switch(get_hub())
                turns.append(near._sock.recv(1))
        finally:
            near._read_event.stop()

    with near, far:
        gevent.spawn_raw(loop)
        for turn in range(1, 4):
            far.sendall(b"x")
            with gevent.Timeout(10):
                while len(turns) < turn:
                    gevent.sleep(0)


def test_canary_closing_a_socket_from_elsewhere_throws_into_the_greenlet_that_waits_on_its_watcher() -> None:
    near, far = socket.socketpair()

    def wait() -> None:  # as the client and the server's connections wait
        near._read_event.start(greenlet.getcurrent().switch)
        get_hub().switch()

    waiting = gevent.spawn(wait)
    gevent.sleep(0)
    near.close()
    far.close()
    waiting.join(10)
    assert isinstance(waiting.exception, OSError)
    assert near.closed


def test_canary_the_stream_server_has_the_parts_that_the_acceptor_uses() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = StreamServer(listener, handle=lambda *_: None, spawn=gevent.spawn_raw)
    for name in ("do_read", "do_handle", "_do_read", "stop_accepting", "_start_accepting_if_started"):
        assert callable(getattr(server, name))
    assert server.max_accept > 1
    server.start()
    with pytest.raises(BlockingIOError):
        server.socket._accept()
    server._timer = get_hub().loop.timer(10)
    server._timer.start(lambda: None)
    server.stop_accepting()
    assert server._timer is None, "stop_accepting() no longer ends a pause"
    server.close()
    listener.close()


def test_canary_the_hub_runs_callbacks_before_timers() -> None:
    hub = get_hub()
    assert callable(hub.print_exception)
    assert KeyboardInterrupt in hub.SYSTEM_ERROR
    ran: list[int] = []
    hub.loop.run_callback(ran.append, 1)
    timer = hub.loop.timer(0.001, 0.001)
    timer.start(ran.append, 2)
    with gevent.Timeout(10):
        while ran.count(2) < 2:
            gevent.sleep(0.001)
    timer.close()
    assert ran[0] == 1
