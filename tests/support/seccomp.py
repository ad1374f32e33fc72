"""A kernel without a system call, as far as one process can see (seccomp(2))."""

from __future__ import annotations

import ctypes
import errno
import platform
from collections.abc import Iterable

SPLICE = {"x86_64": 275, "aarch64": 76}.get(platform.machine())
"""The number of splice(2); None on other architectures."""


def forbid(syscall: int, number: int) -> None:
    """From now on the system call `syscall` fails with errno `number` in this process."""
    filters = b"".join(
        code.to_bytes(2, "little") + bytes((0, else_)) + value.to_bytes(4, "little")
        for code, else_, value in (
            (0x20, 0, 0),  # load the number of the call
            (0x15, 1, syscall),  # go on if it is `syscall`, else skip one instruction
            (0x06, 0, 0x00050000 | number),  # SECCOMP_RET_ERRNO
            (0x06, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
        )
    )
    memory = ctypes.create_string_buffer(filters, len(filters))
    program = ctypes.create_string_buffer(16)
    ctypes.c_uint16.from_buffer(program).value = 4
    ctypes.c_uint64.from_buffer(program, 8).value = ctypes.addressof(memory)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    no_new_privileges, seccomp, filtering = 38, 22, 2
    if prctl(no_new_privileges, 1, 0, 0, 0) or prctl(seccomp, filtering, program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def confine(calls: Iterable[str]) -> None:
    """From now on this process and its children may make these system calls only, and others fail with EPERM.

    Memory that can be written can never become code, as with systemd's MemoryDenyWriteExecute=, from Linux 6.3 on.

    Args:
        calls: names. Names that this architecture does not have are ignored.
    """
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    refuse_exec_gain, set_mdwe = 1, 65
    ctypes.CDLL(None).prctl(set_mdwe, refuse_exec_gain, 0, 0, 0)
    rules = ctypes.c_void_p(lib.seccomp_init(0x00050000 | errno.EPERM))
    for name in calls:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            lib.seccomp_rule_add(rules, 0x7FFF0000, number, 0)  # SCMP_ACT_ALLOW
    assert lib.seccomp_load(rules) == 0
