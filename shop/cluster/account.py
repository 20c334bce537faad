"""Whom the database runs as, and the way it needs to its folder.

PostgreSQL refuses to run as root, rightly. An ordinary user's database runs as that user. Root's runs as

1. the owner of `<instance>/cluster`, when that folder is there and not root's: chown it to choose;
2. else the owner of the instance folder, when that is not root;
3. else `postgres`, else `nobody`, whichever exists.

The instance folder is closed to everybody else (0700). For that one user an entry in its access control list opens the way
*through* it: no listing, no file of the shop (they are 0600 and root's), nobody else. A file system without such lists is
refused in one line.
"""

import errno
import os
import pwd
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from shop.errors import SettingError

NAMES = ("postgres", "nobody")

_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
_OWNER, _USER, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY_IN_PARTICULAR = 0xFFFFFFFF
_SEARCH = 1


class Account(NamedTuple):
    """A user of this machine that is not root."""

    name: str
    uid: int
    gid: int


def choose(instance: Path) -> Account | None:
    """Whom the database in *instance* runs as; None: as ourselves. Raises `SettingError` when we are root and there is nobody."""
    if os.geteuid() != 0:
        return None
    for folder in (instance / "cluster", instance):
        if folder.exists() and folder.stat().st_uid != 0:
            return _account_of(folder)
    for name in NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise SettingError(
        "The database never runs as root, and this machine has neither a user postgres nor nobody:"
        " run make cluster as an ordinary user."
    )


def let_through(folder: Path, account: Account) -> None:
    """Let *account* pass through *folder*, and nothing more. Raises `SettingError` where that cannot be said."""
    if can_pass(folder, account):
        return
    mode = folder.stat().st_mode
    entries = [
        (_OWNER, mode >> 6 & 7, _NOBODY_IN_PARTICULAR),
        (_USER, _SEARCH, account.uid),
        (_GROUP, 0, _NOBODY_IN_PARTICULAR),
        (_MASK, _SEARCH, _NOBODY_IN_PARTICULAR),
        (_OTHERS, 0, _NOBODY_IN_PARTICULAR),
    ]
    acl = struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, _ACL, acl)
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
    named = _named_in_list(folder, account)
    if named is not None:
        return named
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _named_in_list(folder: Path, account: Account) -> bool | None:
    try:
        acl = os.getxattr(folder, _ACL)
    except (AttributeError, OSError):
        return None
    entries = list(struct.iter_unpack("<HHI", acl[4:]))
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), 7)
    for tag, rights, uid in entries:
        if tag == _USER and uid == account.uid:
            return bool(rights & mask & _SEARCH)
    return None


def _ancestors(path: Path) -> Iterable[Path]:
    return reversed(path.parents)


def _account_of(folder: Path) -> Account:
    status = folder.stat()
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        raise SettingError(
            f"The database runs as the owner of {folder}, but user {status.st_uid} has no name on this machine:"
            " give the folder to one that has, with chown."
        ) from None
    return Account(name, status.st_uid, status.st_gid)
