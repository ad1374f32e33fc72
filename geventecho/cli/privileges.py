"""The options of `geventecho serve` for the user that it runs as."""

from __future__ import annotations

import argparse
import os
import pwd
from typing import TYPE_CHECKING

from geventecho.service import Privileges

if TYPE_CHECKING:
    from geventecho.cli.arguments import Parser

__all__ = ["add_privileges", "privileges_of"]


def add_privileges(parser: Parser) -> None:
    """Add the options to a command."""
    group = parser.add_argument_group("when root starts the server").add_mutually_exclusive_group()
    group.add_argument(
        "--user", metavar="NAME", type=_user,
        help="become this user, with its groups, once all sockets are bound and the key is read; "
        "this user must be able to read the files that SIGHUP reloads",
    )  # fmt: skip
    group.add_argument(
        "--allow-root", action="store_true",
        help="stay root; without this option or --user, root may serve this machine only",
    )  # fmt: skip


def privileges_of(options: argparse.Namespace) -> Privileges:
    """Return the privileges that the options ask for."""
    return Privileges(options.user, options.allow_root)


def _user(text: str) -> pwd.struct_passwd:
    """Return a user by name or number. Root may name any user but root; other users may name only themselves."""
    try:
        user = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a user of this machine") from None
    if user.pw_uid == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is root; --allow-root stays root")
    if os.geteuid() not in (0, user.pw_uid):
        raise argparse.ArgumentTypeError(f"only root can become {text!r}; this process is user {os.geteuid()}")
    return user
