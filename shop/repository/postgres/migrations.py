"""The schema, brought up to date: numbered files, each applied once, in its own transaction, by one worker at a time."""

import hashlib
import time
from pathlib import Path
from typing import NamedTuple

from psycopg import sql

from shop.errors import SettingError
from shop.repository.postgres.connection import Connection

FOLDER = Path(__file__).parent / "schema"
LOCK = 0x616E7469  # of all who migrate this database
LOCK_SECONDS_MAX = 60
STATEMENT_SECONDS_MAX = 600  # an index of a big table takes longer than a page may

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class Migration(NamedTuple):
    """One file of `schema/`."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def all_migrations() -> list[Migration]:
    """In their order. A file that was released never changes; what is to change is another file."""
    found = []
    for path in sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        number, _, name = path.stem.partition("_")
        found.append(Migration(int(number), name, path.read_text(encoding="utf-8")))
    return found


def migrate(connection: Connection) -> list[str]:
    """Apply what the primary behind *connection* (in autocommit) lacks; returns the names. A crash leaves whole steps.

    Raises `SettingError` when the database is of a newer shop, or was migrated by files that are not ours.
    """
    connection.execute(
        "SET synchronous_commit = local"
    )  # nobody keeps the modes yet: the wait for a dead standby would not end
    _lock(connection)
    try:
        connection.execute(_TABLE)
        return [migration.name for migration in _lacking(connection) if _apply(connection, migration)]
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def _lock(connection: Connection) -> None:
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise SettingError(
                "Another worker has been changing the database's schema for a minute; look what it waits for."
            )
        time.sleep(0.05)


def _lacking(connection: Connection) -> list[Migration]:
    known = {migration.number: migration for migration in all_migrations()}
    applied = connection.execute("SELECT number, name, checksum FROM schema_migrations ORDER BY number").fetchall()
    for number, name, checksum in applied:
        if number not in known:
            raise SettingError(f"The database has the schema of a newer shop (step {number}, {name}): run that shop.")
        if known[number].checksum != checksum:
            raise SettingError(f"Step {number} ({name}) of the database's schema is not the one of this shop.")
    done = {number for number, _, _ in applied}
    return [migration for migration in known.values() if migration.number not in done]


def _apply(connection: Connection, migration: Migration) -> bool:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(STATEMENT_SECONDS_MAX * 1000))
        connection.execute(migration.text.encode())
        connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
            (migration.number, migration.name, migration.checksum),
        )
    return True
