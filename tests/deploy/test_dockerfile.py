"""deploy/Dockerfile, checked without Docker: its files exist and its commands run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.commands import command
from tests.support.isolation import CAN_ISOLATE, WITHOUT_ROOT
from tests.support.servers import Process

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its arguments, without comments and with continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", "")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines())]


def argument(name: str) -> str:
    """The arguments of the last instruction of that name: the last stage is the image."""
    return [rest for found, rest in instructions() if found == name][-1]


def words(name: str) -> list[str]:
    """The command of an instruction in exec form: in shell form, /bin/sh would get the signals."""
    found: list[str] = json.loads(argument(name).rpartition("CMD ")[2])
    return found


def test_the_copied_files_exist_and_are_not_ignored() -> None:
    allowed = [line.removeprefix("!") for line in Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines()]
    copied = [shlex.split(rest)[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    assert copied
    for path in [path for paths in copied for path in paths]:
        assert (ROOT / path).exists(), path
        assert path.removeprefix("./") in allowed


def test_the_image_does_not_run_as_root_and_stops_by_sigterm() -> None:
    assert int(argument("USER").partition(":")[0]) > 0
    assert argument("STOPSIGNAL") == "SIGTERM"


@pytest.mark.skipif(not CAN_ISOLATE, reason="no user namespace can be made here")
def test_the_command_serves_and_the_health_check_fails_once_it_has_ended() -> None:
    program, *beginning = words("ENTRYPOINT")
    serve, target = words("CMD")
    assert program == "geventecho"
    assert target.endswith(f":{argument('EXPOSE')}")
    free = target.rpartition(":")[0] + ":0"
    with Process("-m", "geventecho", *beginning, serve, free, prefix=WITHOUT_ROOT) as server:
        check = [word.replace(argument("EXPOSE"), str(server.address.port)) for word in words("HEALTHCHECK")[1:]]
        assert command(check).returncode == 0
        assert server.stop_and_count()["accepted"] == 1
    assert command(check).returncode == 1
