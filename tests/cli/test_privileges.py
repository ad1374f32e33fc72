"""`geventecho serve` as root: refused on addresses that other machines reach, or changed to another user for good."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import COMMAND, environment, usage_error
from tests.support.isolation import CAN_ISOLATE, WITHOUT_ROOT
from tests.support.servers import ping, serve
from tests.support.timing import PATIENCE, wait_until

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
not_root = pytest.mark.skipif(not CAN_ISOLATE, reason="no user namespace can be made here")
with_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv to drop a capability")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as found:
        os.chmod(found, 0o755)
        yield Path(found)


def status(pid: int | str) -> dict[str, str]:
    """The fields of a process or a thread in proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def refused(*arguments: str, prefix: tuple[str, ...] = (), **options: Any) -> str:
    """Run `geventecho serve`, which has to end in a usage error and print no target; returns the error."""
    done = subprocess.run(
        [*prefix, *COMMAND, "serve", *arguments],
        capture_output=True, text=True, env=environment(), timeout=PATIENCE, check=False, **options,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done
    error, hint = done.stderr.splitlines()
    assert hint == "Try 'geventecho serve --help'."
    return str(error).removeprefix("geventecho serve: error: ")


# Addresses that other machines reach ----------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize("target", ["0.0.0.0:0", "[::]:0"])
def test_root_may_not_serve_other_machines(target: str, folder: Path) -> None:
    path = folder / "echo.sock"
    error = refused("--listen", f"unix:{path}", "--listen", target)
    assert error.startswith(f"tcp://{target.removesuffix('0')}")
    assert "can be reached from other machines and this process is root: --user NAME serves as" in error
    assert not path.exists()


@as_root
def test_root_may_not_serve_other_machines_on_an_inherited_socket() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        error = refused(f"fd:{listener.fileno()}", pass_fds=[listener.fileno()])
        assert error.startswith(f"tcp://0.0.0.0:{listener.getsockname()[1]} can be reached from other machines")


@not_root
def test_another_user_may_serve_other_machines() -> None:
    with serve("0.0.0.0:0", prefix=WITHOUT_ROOT) as server:
        assert status(server.pid)["Uid"].split()[0] == "0"  # seen from here; the server itself is user nobody
        assert server.stop() == 0


@not_root
def test_another_user_may_name_only_itself() -> None:
    with serve("0.0.0.0:0", "--user", "nobody", prefix=WITHOUT_ROOT) as server:
        assert server.stop() == 0
    error = refused("0.0.0.0:0", "--user", "daemon", prefix=WITHOUT_ROOT)
    assert error == "argument --user: only root can become 'daemon'; this process is user 65534"


# Another user ---------------------------------------------------------------------------------------------------------


@as_root
def test_all_threads_have_the_user_before_the_first_line() -> None:
    with serve("0.0.0.0:0", "--user", "nobody") as server:
        for thread in os.listdir(f"/proc/{server.pid}/task"):
            found = status(thread)
            assert found["Uid"].split() == [str(NOBODY.pw_uid)] * 4
            assert found["Gid"].split() == [str(NOBODY.pw_gid)] * 4
            assert found["Groups"].split() == [str(NOBODY.pw_gid)]
            assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
        assert status(server.pid)["NoNewPrivs"] == "1"
        with server.connect() as client:
            ping(client)
        assert server.stop_and_count()["accepted"] == 1


@as_root
def test_workers_have_the_user_after_a_reload() -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn, of requirements.txt")
    with serve("0.0.0.0:0", "--user", "nobody", "--workers", "1") as server:
        server.signal(signal.SIGHUP)
        wait_until(lambda: any(line.startswith("reloaded: ") for line in server.lines))
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert children
        for pid in [str(server.pid), *children]:
            assert status(pid)["Uid"].split() == [str(NOBODY.pw_uid)] * 4
            assert status(pid)["NoNewPrivs"] == "1"
        with server.connect() as client:
            ping(client)
        assert server.stop() == 0


@as_root
def test_the_process_has_the_users_environment_and_cannot_become_root_again() -> None:
    code = (
        "import os, pwd; from geventecho.service import Privileges\n"
        "Privileges(pwd.getpwnam('nobody')).apply([])\n"
        "print(*(os.environ[name] for name in ('HOME', 'USER', 'LOGNAME')))\n"
        "print(open('/proc/net/netstat').readline()[:7])\n"  # the drops of the accept queue are read there
        "os.setuid(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stdout.split() == [NOBODY.pw_dir, "nobody", "nobody", "TcpExt:"]
    assert done.stderr.splitlines()[-1] == "PermissionError: [Errno 1] Operation not permitted"


@as_root
def test_a_user_given_by_number_serves_a_port_that_only_root_may_bind() -> None:
    with socket.socket() as probe:
        port = next(port for port in range(1023, 900, -1) if probe.connect_ex(("127.0.0.1", port)) != 0)
    with serve("--port", str(port), "--user", str(NOBODY.pw_uid)) as server, server.connect() as client:
        assert status(server.pid)["Uid"].split()[0] == str(NOBODY.pw_uid)
        ping(client)


@as_root
def test_the_user_owns_the_file_of_a_unix_socket(folder: Path) -> None:
    os.chmod(folder, 0o1777)
    path = folder / "echo.sock"
    with serve(f"unix:{path}", "--unix-mode", "640", "--user", "nobody") as server, server.connect() as client:
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
        assert stat.S_IMODE(found.st_mode) == 0o640
        ping(client)
        client.close()
        assert server.stop() == 0
        assert server.errors == ""
    assert not path.exists()


@as_root
def test_a_file_that_the_user_cannot_remove_is_logged_and_the_next_server_replaces_it(folder: Path) -> None:
    path = folder / "echo.sock"
    for _ in range(2):
        with serve(f"unix:{path}", "--user", "nobody") as server, server.connect() as client:
            ping(client)
            client.close()
            assert server.stop() == 0
            assert f"unix:{path} is no longer served, but its file stays: PermissionError" in server.errors


@as_root
def test_a_key_that_only_root_can_read_stays_in_use_at_sighup(tmp_path: Path) -> None:
    from tests.support.tls import files, secured

    pem = files(tmp_path)
    with serve(*pem.options, "--user", "nobody") as server:
        server.signal(signal.SIGHUP)
        wait_until(lambda: "the certificates were not reloaded, the old ones stay in use" in server.errors)
        with secured(server.connect()) as client:
            ping(client)


# Privileges that cannot be given up -----------------------------------------------------------------------------------


@as_root
@with_setpriv
def test_a_process_that_may_not_change_its_user_is_refused() -> None:
    error = refused(
        "--port", "0", "--user", "nobody", prefix=("setpriv", "--bounding-set", "-setuid", "--inh-caps", "-setuid")
    )
    assert error == "argument --user: cannot become nobody: Operation not permitted"


@as_root
@with_setpriv
def test_a_process_that_could_become_root_again_is_refused() -> None:
    error = refused("--port", "0", "--user", "nobody", prefix=("setpriv", "--securebits", "+no_setuid_fixup"))
    assert error.startswith("argument --user: cannot become nobody: root can be regained")


# Usage errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no-such-user", "argument --user: 'no-such-user' is not a user of this machine"),
        ("4294967290", "argument --user: '4294967290' is not a user of this machine"),
        ("99999999999999999999", "argument --user: '99999999999999999999' is not a user of this machine"),
        ("", "argument --user: '' is not a user of this machine"),
        ("root", "argument --user: 'root' is root; --allow-root stays root"),
        ("0", "argument --user: '0' is root; --allow-root stays root"),
    ],
)
def test_a_user_that_serve_cannot_become_is_a_usage_error(name: str, why: str) -> None:
    assert usage_error("serve", "--port", "0", "--user", name) == why


def test_allow_root_and_user_exclude_each_other() -> None:
    error = usage_error("serve", "--port", "0", "--allow-root", "--user", "nobody")
    assert "not allowed with argument" in error
