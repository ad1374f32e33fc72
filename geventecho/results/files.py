"""Atomic writes of files: a reader sees either the old content or the complete new content."""

from __future__ import annotations

import os
import stat

from geventecho.errors import ConfigError

__all__ = ["check_path", "write_text"]


def write_text(path: str, text: str) -> None:
    """Write a text to a file, as UTF-8. Bytes of a peer that are not text are written as escapes.

    Raises:
        OSError: the file cannot be written.
    """
    path = os.path.realpath(path)  # a link stays a link
    temporary = _temporary_name(path)
    try:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        _remove(temporary)
        raise


def check_path(path: str) -> None:
    """Check that a file can be written at a path, without writing it.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = os.path.realpath(path)
    temporary = _temporary_name(path)
    try:
        if not _is_file_or_free(path):
            raise ConfigError(f"cannot write {path!r}: it is not a file")
        with open(temporary, "w", encoding="utf-8"):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write {path!r}: {error.strerror}") from None
    _remove(temporary)


def _is_file_or_free(path: str) -> bool:
    """Whether the path is a file or free. Otherwise the new file would replace a device or a pipe."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _temporary_name(path: str) -> str:
    """The temporary name of the file: in the same folder, because rename(2) needs that."""
    return os.path.join(os.path.dirname(path), f".geventecho-{os.getpid()}.part")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
