"""A folder's access control list, as far as the shop needs one: to let one more user pass through, and nobody else.

`ls` shows such a folder as `drwx--x---+`: where the group stood there is the most that anybody named in the list may do.
"""

import os
import stat
import struct
from pathlib import Path

_NAME = "system.posix_acl_access"
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")  # tag, rights, user or group
_VERSION = 2
_OWNER, _USER, _GROUP, _NAMED_GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_SEARCH = 1


def let_pass(folder: Path, uid: int) -> None:
    """Let user *uid* pass through *folder*, whose mode is 0700: no listing, no writing. Raises OSError (ENOTSUP, EPERM)."""
    entries = [
        (_OWNER, folder.stat().st_mode >> 6 & 7, _NOBODY),
        (_USER, _SEARCH, uid),
        (_GROUP, 0, _NOBODY),
        (_MASK, _SEARCH, _NOBODY),
        (_OTHERS, 0, _NOBODY),
    ]
    os.setxattr(folder, _NAME, _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries))


def may_pass(folder: Path, uid: int) -> bool | None:
    """Whether the list lets *uid* pass; None when it does not name that user."""
    entries = _entries(folder)
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), 7)
    named = (rights for tag, rights, who in entries if tag == _USER and who == uid)
    return next((bool(rights & mask & _SEARCH) for rights in named), None)


def is_closed(folder: Path) -> bool:
    """Whether *folder* is its owner's alone, but for users whom its list lets pass."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & 0o077:
        return True
    rights_of_others = [rights for tag, rights, _ in _entries(folder) if tag in (_GROUP, _NAMED_GROUP)]
    return mode & 0o077 == 0o010 and bool(rights_of_others) and not any(rights_of_others)


def _entries(folder: Path) -> list[tuple[int, int, int]]:
    try:
        data = os.getxattr(folder, _NAME)
    except (AttributeError, OSError):  # no list, or a system without any
        return []
    return [(tag, rights, who) for tag, rights, who in _ENTRY.iter_unpack(data[_HEAD.size :])]
