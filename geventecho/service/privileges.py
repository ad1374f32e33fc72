"""Root's privileges: refused on addresses that other machines can reach, or given up after the bind."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from geventecho.address import Address
from geventecho.errors import ConfigError

__all__ = ["Privileges"]

PR_SET_NO_NEW_PRIVS: Final = 38
"""prctl(2), <linux/prctl.h>."""


@dataclass(frozen=True, slots=True)
class Privileges:
    """The user that a service runs as.

    Attributes:
        user: the user to become, not root; None keeps the user that started the process.
        keeps_root: whether root may serve other machines.
    """

    user: pwd.struct_passwd | None = None
    keeps_root: bool = False

    def apply(self, addresses: Iterable[Address], socket_files: Iterable[str] = ()) -> None:
        """Become the user for ever. Call it after the bind, before a connection is accepted or a process is forked.

        Does nothing in a process that is not root's. Key files that only root may read must be read before.

        Args:
            addresses: the addresses of the service.
            socket_files: the files of Unix sockets that this process has made. The user becomes their owner.

        Raises:
            ConfigError: root would serve an address that other machines can reach, or root's privileges cannot be
                given up.
        """
        if os.geteuid() != 0:
            return
        if self.user is None:
            reachable = [address for address in addresses if not address.is_loopback]
            if reachable and not self.keeps_root:
                raise ConfigError(
                    f"{reachable[0]} can be reached from other machines and this process is root: "
                    "--user NAME serves as another user, --allow-root as root"
                )
            return
        try:
            for path in socket_files:
                _change_owner(path, self.user)
            _become(self.user)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"argument --user: cannot become {self.user.pw_name}: {reason}") from error


def _become(user: pwd.struct_passwd) -> None:
    """Take the user's groups and ids. glibc and musl do this in all threads.

    Only prctl(2) has an effect on the calling thread alone. The other threads write lines, and none runs a program.
    """
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise OSError("root can be regained: the process has SECBIT_NO_SETUID_FIXUP (capabilities(7))")


def _change_owner(path: str, user: pwd.struct_passwd) -> None:
    """Change the owner of a socket's file, but of no other file that has the same path meanwhile."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.chown(f"/proc/self/fd/{fd}", user.pw_uid, user.pw_gid)  # fchown(2) refuses an O_PATH descriptor
    finally:
        os.close(fd)
