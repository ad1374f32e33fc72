"""Errors of the system, translated into those of this package."""

from __future__ import annotations

import errno
import os
import socket as plain

import pytest

from geventecho import errors
from geventecho.address import Address
from geventecho.net import failures

pytestmark = pytest.mark.usefixtures("no_leaks")
LOCAL = Address.parse("127.0.0.1:0")


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ENOTCONN])
def test_an_error_of_a_broken_connection_is_a_peer_reset(number: int) -> None:
    error = OSError(number, os.strerror(number))
    assert failures.is_broken(error)
    assert isinstance(failures.translate_io(error, None, "read"), errors.PeerReset)


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOSPC, errno.EMFILE, errno.ECONNREFUSED, None])
def test_another_error_is_no_broken_connection(number: int | None) -> None:
    error = OSError(number, "text") if number else OSError("text")
    assert not failures.is_broken(error)


def test_a_reset_without_an_errno_is_a_broken_connection() -> None:
    assert failures.is_broken(ConnectionResetError("by hand"))
    assert failures.is_broken(BrokenPipeError("by hand"))
    assert not failures.is_broken(ConnectionRefusedError("by hand"))


@pytest.mark.parametrize(
    ("error", "kind", "phase"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), errors.ConnectRefused, "connect"),
        (FileNotFoundError(errno.ENOENT, "x"), errors.NoSuchSocket, "connect"),
        (TimeoutError("timed out"), errors.ConnectTimeout, "connect"),
        (TimeoutError(errno.ETIMEDOUT, "x"), errors.ConnectTimeout, "connect"),
        (OSError(errno.EHOSTUNREACH, "x"), errors.ConnectUnreachable, "connect"),
        (OSError(errno.ENETUNREACH, "x"), errors.ConnectUnreachable, "connect"),
        (OSError(errno.EMFILE, "x"), errors.OutOfResources, "connect"),
        (OSError(errno.ENFILE, "x"), errors.OutOfResources, "connect"),
        (OSError(errno.EADDRNOTAVAIL, "x"), errors.OutOfResources, "connect"),
        (OSError(errno.EACCES, "x"), errors.ConnectError, "connect"),
        (plain.gaierror(plain.EAI_NONAME, "x"), errors.ResolveError, "dns"),
    ],
)
def test_a_failed_connect_has_its_error_class_phase_and_address(
    error: OSError, kind: type[errors.ConnectError], phase: str
) -> None:
    found = failures.translate_connect(error, LOCAL)
    assert type(found) is kind
    assert (found.phase, found.address, found.errno) == (phase, LOCAL, error.errno)
    assert str(found).startswith(f"{phase} {LOCAL}: ")


@pytest.mark.parametrize(
    ("error", "phase", "kind"),
    [
        (OSError(errno.EBADF, "x"), "read", errors.ClosedLocally),
        (OSError(errno.EINVAL, "x"), "read", errors.NetworkError),
    ],
)
def test_a_failed_read_has_its_error_class_and_phase(
    error: OSError, phase: str, kind: type[errors.NetworkError]
) -> None:
    found = failures.translate_io(error, LOCAL, phase)
    assert type(found) is kind
    assert found.phase == phase


def test_a_translated_error_is_not_translated_again() -> None:
    error = errors.PeerReset("x", address=LOCAL, phase="read")
    assert failures.translate_io(error, None, "write") is error
