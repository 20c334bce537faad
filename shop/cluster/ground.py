"""Where a pair stands: its folders, its user, its programs and its passwords.

```
<instance>/cluster/                   ours
  passwords.json                      0600: postgres (the server's own administrator), shop, standby
  a/, b/                              ours: configuration, passfile, log; outside the data directory, because
      data/                           pg_rewind and a base backup copy what stands in there. The database user's, 0700
/tmp/antipode-<hash of the instance>/ the servers' sockets: a socket's path may not be longer than about 100 bytes
  a/  b/  alone-a/  alone-b/          the database user's
  wan/                                ours
```

A folder of ours is never the database user's to write: whoever took over the database could lay a link where we write next.
There is no TCP port: nothing of the pair can be reached from another machine.
"""

import hashlib
import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from shop.cluster import account as accounts
from shop.cluster import programs
from shop.cluster.account import Account
from shop.cluster.programs import Programs
from shop.errors import SettingError

SIDES = ("a", "b")
ADMIN, SHOP, STANDBY = "postgres", "shop", "standby"
PORT = 5432  # part of a socket's name, no port of the machine
SOCKETS_ROOT = Path("/tmp")  # noqa: S108 -- the folder in it is made by us, or refused


@dataclass(frozen=True)
class Ground:
    """What the two servers of one instance share."""

    folder: Path  # <instance>/cluster
    sockets: Path
    account: Account | None
    programs: Programs
    passwords: dict[str, str]

    def give(self, path: Path) -> None:
        """Make *path* the database user's."""
        if self.account:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def make_folder(self, path: Path, *, for_database: bool) -> None:
        """*path* as a folder closed to others: the database's, or ours that the database may pass through.

        Raises `SettingError` when somebody else's thing stands there: in /tmp anybody may have put one.
        """
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        status = path.lstat()
        owners = {os.geteuid(), self.account.uid} if self.account and for_database else {os.geteuid()}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
            raise SettingError(
                f"{path} is there and somebody else's, or no folder: it is needed for the database; remove it."
            )
        if for_database:
            self.give(path)
        elif self.account:
            path.chmod(0o711)

    def write_for_database(self, path: Path, text: str) -> None:
        """Replace *path*, in a folder of ours, with *text* that only the database user and we can read."""
        beside = path.with_name(f"{path.name}.tmp")
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        self.give(beside)
        beside.replace(path)


def prepare(instance: Path) -> Ground:
    """Make what is missing of the ground in *instance*; the caller owns the instance folder.

    Raises `SettingError`, one line, when the database's user or its programs cannot come where they must.
    """
    account = accounts.choose(instance)
    folder = instance / "cluster"
    folder.mkdir(mode=0o700, exist_ok=True)
    if account:
        accounts.let_through(instance, account)
        if folder.stat().st_uid == 0:
            folder.chmod(0o711)
        accounts.check_way(folder / "a", account)
    written = [folder / side / "data" for side in SIDES if programs.major_of(folder / side / "data")]
    found = programs.find(account=account, data=written[0] if written else None)
    ground = Ground(folder, sockets_of(instance), account, found, _passwords(folder / "passwords.json"))
    _make_sockets(ground)
    return ground


def sockets_of(instance: Path) -> Path:
    """The same short path for the same instance and user, always."""
    name = hashlib.sha256(os.fsencode(instance.resolve())).hexdigest()[:10]
    return SOCKETS_ROOT / f"antipode-{os.geteuid()}-{name}"


def shop_urls(instance: Path) -> tuple[str, str] | None:
    """The addresses of A and B for the shop's role, with its password; None where there never was a cluster."""
    path = instance / "cluster" / "passwords.json"
    if not path.exists():
        return None
    password = _passwords(path)[SHOP]
    return url(sockets_of(instance) / "a", SHOP, password), url(sockets_of(instance) / "b", SHOP, password)


def url(sockets: Path, role: str, password: str, database: str = SHOP) -> str:
    """An address for whoever connects through a socket in *sockets*."""
    host = quote(str(sockets), safe="")
    return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={host}&port={PORT}"


def _make_sockets(ground: Ground) -> None:
    ground.make_folder(ground.sockets, for_database=False)
    for name in (*SIDES, *(f"alone-{side}" for side in SIDES)):
        ground.make_folder(ground.sockets / name, for_database=True)
    ground.make_folder(ground.sockets / "wan", for_database=False)


def _passwords(path: Path) -> dict[str, str]:
    """Made at the first start; whole or not there."""
    try:
        known: dict[str, str] = json.loads(path.read_text())
        if known.keys() >= {ADMIN, SHOP, STANDBY}:
            return known
        raise ValueError
    except FileNotFoundError:
        pass
    except ValueError:
        raise SettingError(f"{path} does not hold the database's passwords; bring it back from a backup.") from None
    made = {name: secrets.token_urlsafe(24) for name in (ADMIN, SHOP, STANDBY)}
    beside = path.with_name(f"{path.name}.tmp")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        json.dump(made, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return made
