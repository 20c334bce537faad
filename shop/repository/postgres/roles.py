"""Which of the two servers is primary, and the highest timeline that was ever seen: what all workers of this machine agree on.

`<instance>/cluster.json`, 0600:

```
{"primary": "a", "timeline": 1, "system": "7452…", "is_open": true}
```

*a* is the server that SHOP_PRIMARY_URL names, *b* the one of SHOP_REPLICA_URL. The file is written beside, fsynced and renamed,
under a lock: a crash leaves the old one or the new one. It only ever moves forward: another primary only with a higher timeline
(or on the same one, when both servers were asked and their addresses have changed places). So
a worker that wakes late, and an old primary that comes back, cannot bring the old roles back. It is read again when it changed.

There is one step back: a timeline that was *meant* (`plan`) and on which no worker has begun a write yet (`open`) can be given up
(`give_up`), when the server that was to begin it has gone before.
"""

import fcntl
import os
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from shop.errors import SettingError

NAMES = ("a", "b")


class Agreed(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says."""

    primary: str = "a"
    timeline: int = 0  # 0: nothing was seen yet
    system: str = ""  # the database system's identifier: equal for a primary and what was copied from it
    is_open: bool = True  # False: a promotion is meant, and no worker has begun a write on that timeline yet


class Roles:
    """The file. Safe from any thread and any process; reading costs a look at its date."""

    def __init__(self, instance: Path) -> None:
        self._path = instance / "cluster.json"
        self._lock_path = instance / "cluster.lock"
        self._lock = threading.Lock()  # guards the two below
        self._seen: tuple[int, int, int] | None = None
        self._agreed = Agreed()
        self.now()

    @property
    def primary(self) -> int:
        """0: the server that SHOP_PRIMARY_URL names, 1: the other."""
        return NAMES.index(self.now().primary)

    @property
    def timeline(self) -> int:
        """The highest that was ever seen: a server below it takes no writes of ours."""
        return self.now().timeline

    def now(self) -> Agreed:
        """What is agreed on at this moment. Raises `SettingError` when the file cannot be understood."""
        with self._lock:
            mark = _mark(self._path)
            if mark != self._seen:
                self._agreed = _read(self._path)
                self._seen = mark
            return self._agreed

    def plan(self, *, primary: int, timeline: int) -> Agreed:
        """Agree, durably, that this server is to begin *timeline*: from now on nobody writes on the one before.

        Changes nothing when something as new is agreed on.
        """
        with _exclusive(self._lock_path):
            agreed = self.now()
            if timeline > agreed.timeline:
                _write(self._path, Agreed(NAMES[primary], timeline, agreed.system, is_open=False))
            return self.now()

    def open(self, meant: Agreed) -> bool:
        """Note, durably, that the timeline that was *meant* is written on; False when that is not agreed on any more.

        To be called before the first write on it.
        """
        if meant.is_open:
            return True
        with _exclusive(self._lock_path):
            opened = Agreed(meant.primary, meant.timeline, meant.system)
            if self.now() == meant:
                _write(self._path, opened)
            return self.now() == opened

    def give_up(self, *, timeline: int, primary: int, before: int) -> bool:
        """Go back from *timeline*, which is only meant, to *primary* on timeline *before*; False when it may have been written on."""
        with _exclusive(self._lock_path):
            agreed = self.now()
            if agreed.is_open or agreed.timeline != timeline or NAMES[primary] == agreed.primary:
                return False
            _write(self._path, Agreed(NAMES[primary], before, agreed.system))
            return True

    def advance(self, *, primary: int, timeline: int, system: str, is_alone: bool = False) -> Agreed:
        """Agree on this, durably, if it is newer; returns what is agreed on then.

        *is_alone*: the other server has answered and is no primary of this timeline, so that the addresses may have changed places.
        Raises `SettingError` for the servers of another database, or for two primaries on one timeline.
        """
        with _exclusive(self._lock_path):
            agreed = self.now()
            if agreed.system and system != agreed.system:
                raise SettingError(
                    "The servers of SHOP_PRIMARY_URL and SHOP_REPLICA_URL are not those that this instance folder knows:"
                    f" name those, or, if the change is meant, remove {self._path}."
                )
            if timeline < agreed.timeline or (timeline, NAMES[primary]) == (agreed.timeline, agreed.primary):
                return agreed
            if timeline == agreed.timeline and not is_alone:
                raise SettingError(
                    f"Server {agreed.primary} is the primary of timeline {timeline}, does not answer, and {NAMES[primary]} says the"
                    f" same of itself: start both, or, if the addresses have changed places, remove {self._path}."
                )
            _write(self._path, Agreed(NAMES[primary], timeline, system))
            return self.now()


class _exclusive:
    """One process at a time."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> Agreed:
    try:
        agreed = msgspec.json.decode(path.read_bytes(), type=Agreed)
    except FileNotFoundError:
        return Agreed()
    except msgspec.MsgspecError:
        agreed = None
    if agreed is None or agreed.primary not in NAMES or agreed.timeline < 1:
        raise SettingError(
            f"{path} cannot be understood: it says which server is primary. Bring it back, or remove it."
        )
    return agreed


def _write(path: Path, agreed: Agreed) -> None:
    beside = path.with_name("cluster.json.tmp")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(agreed) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
