"""What the workers of one machine share: logins, failed tries and counters, in a small SQLite file of the instance folder.

Not in the shop's own database: with its primary gone nobody could log in to promote the other server, and that is when somebody must.
Never replicated and never backed up. It may be lost at any time, and then everybody logs in again: so it is not fsynced, and a file that
cannot be read is made anew. Times are by the wall clock, the same for all workers.
"""

import os
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from shop.access import AGE_SECONDS_MAX, IDLE_SECONDS_MAX, KEYS_MAX, SESSIONS_MAX, AdminSession, Shared, Tries
from shop.clock import Clock

NAME = "local.db"
BUSY_SECONDS_MAX = 10
SEEN_SECONDS = 5.0  # a session is not written anew for less

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    sid_hash BLOB PRIMARY KEY, -- the id itself is only in the browser
    admin_id TEXT NOT NULL, password_hash TEXT NOT NULL, began REAL NOT NULL, seen REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tries (
    key TEXT PRIMARY KEY, failures INTEGER NOT NULL, next_at REAL NOT NULL, forgotten_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, count INTEGER NOT NULL, ends_at REAL NOT NULL) WITHOUT ROWID;
"""


def shared(instance: Path, clock: Clock) -> Shared:
    """Kept in `<instance>/local.db`."""
    file = _File(instance / NAME)

    def now() -> float:
        return clock.now().timestamp()

    return Shared(FileLogins(file, clock), FileLedger(file), FileCounters(file, clock), now)


class _File:
    """The file. Safe from any thread and any process: one transaction at a time, each on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._create()
        except sqlite3.DatabaseError:  # a power cut may leave it torn
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            self._create()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else is in; raising discards it."""
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def ask(self, query: str, parameters: Sequence[Any]) -> Any:
        """The first row, None where there is none."""
        with closing(self._connect()) as connection:
            return connection.execute(query, parameters).fetchone()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=BUSY_SECONDS_MAX, isolation_level=None)

    def _create(self) -> None:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
            connection.execute("PRAGMA quick_check")


class FileLogins:
    """See `shop.access.Logins`."""

    def __init__(self, file: _File, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def begin(self, admin_id: str, password_hash: str) -> str:
        now, sid = self._now(), secrets.token_urlsafe(32)
        with self._file.changing() as connection:
            connection.execute(
                "DELETE FROM sessions WHERE ?1 - seen >= ?2 OR ?1 - began >= ?3"
                " OR sid_hash IN (SELECT sid_hash FROM sessions ORDER BY seen DESC LIMIT -1 OFFSET ?4)",
                [now, IDLE_SECONDS_MAX, AGE_SECONDS_MAX, SESSIONS_MAX - 1],
            )
            connection.execute(
                "INSERT INTO sessions (sid_hash, admin_id, password_hash, began, seen) VALUES (?, ?, ?, ?, ?)",
                [_hash(sid), admin_id, password_hash, now, now],
            )
        return sid

    def find(self, sid: str) -> AdminSession | None:
        now = self._now()
        query = "SELECT admin_id, password_hash, began, seen FROM sessions WHERE sid_hash = ?"
        row = self._file.ask(query, [_hash(sid)])
        session = AdminSession(*row) if row else None
        if session is None or not session.is_alive(now):
            return None
        if now - session.seen >= SEEN_SECONDS:
            with self._file.changing() as connection:
                connection.execute("UPDATE sessions SET seen = ? WHERE sid_hash = ?", [now, _hash(sid)])
        return session

    def end(self, sid: str) -> None:
        with self._file.changing() as connection:
            connection.execute("DELETE FROM sessions WHERE sid_hash = ?", [_hash(sid)])

    def end_others_than(self, admin_id: str, password_hash: str | None) -> None:
        with self._file.changing() as connection:
            connection.execute(
                "DELETE FROM sessions WHERE admin_id = ? AND password_hash IS NOT ?", [admin_id, password_hash]
            )

    def _now(self) -> float:
        return self._clock.now().timestamp()


class FileLedger:
    """See `shop.access.Ledger`."""

    def __init__(self, file: _File) -> None:
        self._file = file

    @contextmanager
    def change(self, keys: Collection[str], now: float) -> Iterator[dict[str, Tries]]:
        with self._file.changing() as connection:
            before = {key: found for key in keys if (found := _tries(connection, key))}
            tries = dict(before)
            yield tries
            for key in before.keys() - tries.keys():
                connection.execute("DELETE FROM tries WHERE key = ?", [key])
            for key, one in tries.items():
                if before.get(key) != one:
                    connection.execute(
                        "INSERT OR REPLACE INTO tries (key, failures, next_at, forgotten_at) VALUES (?, ?, ?, ?)",
                        [key, one.failures, one.next_at, one.forgotten_at],
                    )
            _make_room(connection, now)


def _tries(connection: sqlite3.Connection, key: str) -> Tries | None:
    row = connection.execute("SELECT failures, next_at, forgotten_at FROM tries WHERE key = ?", [key]).fetchone()
    return Tries(*row) if row else None


def _make_room(connection: sqlite3.Connection, now: float) -> None:
    (count,) = connection.execute("SELECT count(*) FROM tries").fetchone()
    if count > KEYS_MAX:
        connection.execute("DELETE FROM tries WHERE forgotten_at <= ?", [now])
        connection.execute(
            "DELETE FROM tries WHERE key IN (SELECT key FROM tries ORDER BY forgotten_at DESC LIMIT -1 OFFSET ?)",
            [KEYS_MAX],
        )


class FileCounters:
    """See `shop.access.Counters`."""

    def __init__(self, file: _File, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def add(self, key: str, amount: int, seconds: float) -> int:
        now = self._clock.now().timestamp()
        with self._file.changing() as connection:
            row = connection.execute(
                "INSERT INTO counters (key, count, ends_at) VALUES (?1, ?2, ?3 + ?4) ON CONFLICT (key) DO UPDATE SET"
                " count = CASE WHEN ends_at <= ?3 THEN excluded.count ELSE count + excluded.count END,"
                " ends_at = CASE WHEN ends_at <= ?3 THEN excluded.ends_at ELSE ends_at END RETURNING count",
                [key, amount, now, seconds],
            ).fetchone()
            if row[0] == amount:  # a new one: time to take away those that ended
                connection.execute("DELETE FROM counters WHERE ends_at <= ?", [now])
        return int(row[0])

    def get(self, key: str) -> tuple[int, float]:
        now = self._clock.now().timestamp()
        query = "SELECT count, ends_at FROM counters WHERE key = ? AND ends_at > ?"
        row = self._file.ask(query, [key, now])
        return (int(row[0]), float(row[1])) if row else (0, now)

    def clear(self, key: str | None = None) -> None:
        with self._file.changing() as connection:
            connection.execute("DELETE FROM counters WHERE ?1 IS NULL OR key = ?1", [key])


def _hash(sid: str) -> bytes:
    return sha256(sid.encode("utf-8", "surrogatepass")).digest()
