"""The schema, brought up to date: numbered files, each applied once, in its own transaction, by one worker at a time."""

import hashlib
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import errors, sql

from shop.errors import SettingError
from shop.repository.postgres.connection import Connection
from shop.repository.postgres.pools import SETTINGS, Server, Servers

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


def bring_up_to_date(servers: Servers) -> list[str]:
    """Find the primary and apply what its schema lacks; returns the names. With no primary to be found nothing is done.

    Raises `SettingError`, one line, for what an operator must put right.
    """
    servers.look()
    server = servers.primary
    try:
        with closing(server.connect()) as connection:
            if connection.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
                return []
            return migrate(connection)
    except errors.InsufficientPrivilege as error:
        raise SettingError(
            f"The role in {SETTINGS[servers.roles.primary]} may not make tables: {_line(error)}."
        ) from None
    except psycopg.OperationalError as error:
        if any(_answers(other) for other in servers.all):
            return []
        raise SettingError(
            f"Neither the server of {SETTINGS[0]} nor the one of {SETTINGS[1]} can be reached: {_line(error)}."
        ) from None


def _answers(server: Server) -> bool:
    try:
        server.connect().close()
    except psycopg.OperationalError:
        return False
    return True


def _line(error: psycopg.Error) -> str:
    """What the server or the library said, on one line; neither tells passwords."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
