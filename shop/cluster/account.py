"""Whom the database runs as, and the way it needs to its folder.

PostgreSQL refuses to run as root, rightly. An ordinary user's database runs as that user. Root's runs as

1. the owner of the data, when there is any;
2. else the user named in `PG_USER`;
3. else `postgres`, else `nobody`, whichever exists.

The instance folder is closed to everybody else (0700). For that one user an entry in its access control list opens the way
*through* it: no listing, no file of the shop (they are 0600 and root's), nobody else. A file system without such lists is
refused in one line.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shop import acl
from shop.errors import SettingError

NAMES = ("postgres", "nobody")


class Account(NamedTuple):
    """A user of this machine that is not root."""

    name: str
    uid: int
    gid: int


def choose(instance: Path) -> Account | None:
    """Whom the database in *instance* runs as; None: as ourselves. Raises `SettingError` when we are root and there is nobody."""
    if os.geteuid() != 0:
        return None
    for data in (instance / "cluster" / "a" / "data", instance / "cluster" / "b" / "data"):
        if data.exists() and data.stat().st_uid != 0:
            return _account_of(data)
    asked = os.environ.get("PG_USER", "")
    for name in (asked,) if asked else NAMES:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    if asked:
        raise SettingError(
            f"PG_USER names {asked}, which is root or no user of this machine: name another, or unset it."
        )
    raise SettingError(
        "The database never runs as root, and this machine has neither a user postgres nor nobody:"
        " run make cluster as an ordinary user."
    )


def let_through(folder: Path, account: Account) -> None:
    """Let *account* pass through *folder*, and nothing more. Raises `SettingError` where that cannot be said."""
    if can_pass(folder, account):
        return
    try:
        acl.let_pass(folder, account.uid)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
        raise SettingError(
            f"The database runs as {account.name}, which may not pass through {folder}, and the file system cannot allow it"
            " to that user alone: run make cluster as an ordinary user, or name a folder elsewhere with SHOP_INSTANCE=."
        ) from None


def check_way(path: Path, account: Account | None) -> None:
    """Raise `SettingError`, naming the folder in the way, when *account* cannot come to *path*."""
    blocked = obstacle(path, account)
    if blocked is not None and account is not None:
        raise SettingError(
            f"The database runs as {account.name} (never as root), which cannot come to {path}: {blocked} is closed to it."
            f" Put the project and its data where {account.name} can come, or run make cluster as an ordinary user."
        )


def obstacle(path: Path, account: Account | None) -> Path | None:
    """The first folder on the way to *path* that *account* may not pass; None: it can come there."""
    if account is None:
        return None
    return next((folder for folder in _ancestors(path.resolve()) if not can_pass(folder, account)), None)


def can_pass(folder: Path, account: Account) -> bool:
    """Whether *account* may pass through *folder*: asked of its mode and its list, as the kernel does."""
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    named = acl.may_pass(folder, account.uid)
    if named is not None:
        return named
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _ancestors(path: Path) -> Iterable[Path]:
    return reversed(path.parents)


def _account_of(folder: Path) -> Account:
    status = folder.stat()
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        raise SettingError(
            f"The database runs as the owner of {folder}, but user {status.st_uid} has no name on this machine:"
            " give everything in it to one that has, with chown -R."
        ) from None
    return Account(name, status.st_uid, status.st_gid)
