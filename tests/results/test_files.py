"""Files that are replaced atomically."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from geventecho.errors import ConfigError
from geventecho.results import check_path, write_text


def test_a_file_is_replaced_atomically_and_no_temporary_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_text(str(path), "first")
    with path.open() as old:
        write_text(str(path), "second\r\n")
        assert old.read() == "first", "a program that has the old file open reads it to its end"
    assert path.read_bytes() == b"second\r\n"
    assert os.listdir(tmp_path) == ["result.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "there" / "result.json")
    check_path(str(link))
    write_text(str(link), "text")
    assert link.is_symlink()
    assert (tmp_path / "there" / "result.json").exists()


def test_the_check_of_a_path_changes_no_file(tmp_path: Path) -> None:
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


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(str(path), "new")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("result.json", "old")]


def test_text_is_utf_8_and_bytes_that_are_no_text_are_escapes(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(str(path), "é\udc80\r\n")
    assert path.read_bytes() == b"\xc3\xa9\\udc80\r\n"


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
