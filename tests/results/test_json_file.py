"""The JSON file of a result."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from geventecho.errors import ConfigError
from geventecho.results import as_json, check_path, write_json
from tests.results.samples import START, block, result, row


def test_the_keys_and_forms_are_those_that_were_promised() -> None:
    made = result(row([block(START + second, [100.0] * 96, failed=4) for second in range(60)], 60))
    found = json.loads(json.dumps(as_json(made), allow_nan=False))
    assert found["schema"] == 1
    assert found["verdict"] == {"status": "trusted", "reasons": ["why"]}
    assert set(found["account"]) == {
        "planned", "sent", "late", "dropped", "started", "ok", "failed", "aborted", "connects", "reconnects",
    }  # fmt: skip
    (echo,) = found["rows"]
    assert {"type", "name", "ok", "failed", "rate", "bytes_sent", "bytes_received"} <= echo.keys()
    for kind in ("response_us", "service_us", "generator_delay_us", "read_delay_us", "offered_us"):
        assert set(echo[kind]) == {"p50", "p90", "p95", "p99", "p99_9", "p99_99", "mean", "max"}
        assert set(echo[kind]["p50"]) == {"value", "low", "high"}
        assert echo[kind]["p99_99"] is None
        assert isinstance(echo[kind]["mean"], float)
        assert isinstance(echo[kind]["max"], float)
    assert echo["offered_us"]["p99"]["value"] == echo["offered_us"]["p99"]["high"] == "lost"
    assert isinstance(echo["offered_us"]["p95"]["value"], float)


def test_without_stamps_there_is_no_read_delay() -> None:
    made = as_json(result(row([block(START, [100.0] * 100, kinds=["response", "service"])], 1)))
    assert made["rows"][0]["read_delay_us"] is None


def test_the_file_is_replaced_at_once_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(str(path), result())
    with path.open() as old:
        write_json(str(path), replace(result(), target="tcp://second:2"))
        assert json.load(old)["target"] == "tcp://127.0.0.1:1", "a program that has it open reads it to its end"
    assert json.loads(path.read_text())["target"] == "tcp://second:2"
    assert os.listdir(tmp_path) == ["result.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "there" / "result.json")
    check_path(str(link))
    write_json(str(link), result())
    assert link.is_symlink()
    assert (tmp_path / "there" / "result.json").exists()


def test_a_path_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_path(str(tmp_path / "new.json"))
    (tmp_path / "old.json").write_text("old")
    check_path(str(tmp_path / "old.json"))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.json", "old")]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing/result.json", "No such file or directory"),
        ("file/result.json", "Not a directory"),
        (".", "it is not a file"),
        ("pipe", "it is not a file"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_written_is_an_error(path: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=reason) as caught:
        check_path(str(tmp_path / path))
    assert "\n" not in str(caught.value)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(str(path), result())
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("result.json", "old")]


def test_text_of_peers_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(str(path), replace(result(), target="\x1b[2J\udc80é"))
    assert b"\x1b" not in path.read_bytes()
    assert path.read_bytes().isascii()
    assert json.loads(path.read_text())["target"] == "\x1b[2J\udc80é"


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
