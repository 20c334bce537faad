"""What the workers share and no replica sees: logins, failed tries and counters, in unlogged tables of the primary.

They go through the fence as every write does. They need no far side and no disk: a crash empties them, and then everybody logs in again.
"""

import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256

import psycopg

from shop.access import (
    AGE_SECONDS_MAX,
    IDLE_SECONDS_MAX,
    KEYS_MAX,
    SESSIONS_MAX,
    AdminSession,
    Shared,
    Tries,
)
from shop.clock import Clock
from shop.repository.postgres.connection import Connection, refusal
from shop.repository.postgres.pools import Servers

SEEN_SECONDS = 5.0  # a session is not written anew for less
LEDGER_LOCK = 0x7472696573


def shared(servers: Servers, clock: Clock) -> Shared:
    """Kept on the primary of *servers*, by the wall clock: it is the same for all workers."""

    def now() -> float:
        return clock.now().timestamp()

    return Shared(PostgresLogins(servers, clock), PostgresLedger(servers), PostgresCounters(servers, clock), now)


@contextmanager
def _changing(servers: Servers) -> Iterator[Connection]:
    """A transaction that nobody waits for. Raises `WritesUnavailable`."""
    with servers.writing() as (connection, _):
        try:
            connection.execute("SET LOCAL synchronous_commit = off")
            yield connection
            connection.commit()
        except psycopg.Error as error:
            refused = refusal(error)
            if refused is None:
                raise
            raise refused from error


class PostgresLogins:
    """See `shop.access.Logins`. The ids themselves are only in the browsers."""

    def __init__(self, servers: Servers, clock: Clock) -> None:
        self._servers = servers
        self._clock = clock

    def begin(self, admin_id: str, password_hash: str) -> str:
        now, sid = self._now(), secrets.token_urlsafe(32)
        with _changing(self._servers) as connection:
            connection.execute(
                "DELETE FROM admin_sessions WHERE %s - seen >= %s OR %s - began >= %s"
                " OR sid_hash IN (SELECT sid_hash FROM admin_sessions ORDER BY seen DESC OFFSET %s)",
                [now, IDLE_SECONDS_MAX, now, AGE_SECONDS_MAX, SESSIONS_MAX - 1],
            )
            connection.execute(
                "INSERT INTO admin_sessions (sid_hash, admin_id, password_hash, began, seen) VALUES (%s, %s, %s, %s, %s)",
                [_hash(sid), admin_id, password_hash, now, now],
            )
        return sid

    def find(self, sid: str) -> AdminSession | None:
        now = self._now()
        with _changing(self._servers) as connection:
            row = connection.execute(
                "SELECT admin_id, password_hash, began, seen FROM admin_sessions WHERE sid_hash = %s", [_hash(sid)]
            ).fetchone()
            session = AdminSession(*row) if row else None
            if session is None or not session.is_alive(now):
                return None
            if now - session.seen >= SEEN_SECONDS:
                connection.execute("UPDATE admin_sessions SET seen = %s WHERE sid_hash = %s", [now, _hash(sid)])
        return session

    def end(self, sid: str) -> None:
        with _changing(self._servers) as connection:
            connection.execute("DELETE FROM admin_sessions WHERE sid_hash = %s", [_hash(sid)])

    def end_others_than(self, admin_id: str, password_hash: str | None) -> None:
        with _changing(self._servers) as connection:
            connection.execute(
                "DELETE FROM admin_sessions WHERE admin_id = %s AND password_hash IS DISTINCT FROM %s",
                [admin_id, password_hash],
            )

    def _now(self) -> float:
        return self._clock.now().timestamp()


class PostgresLedger:
    """See `shop.access.Ledger`. One lock for all keys: a password takes far longer to verify than this."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    @contextmanager
    def change(self, keys: Collection[str], now: float) -> Iterator[dict[str, Tries]]:
        with _changing(self._servers) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LEDGER_LOCK])
            rows = connection.execute(
                "SELECT key, failures, next_at, forgotten_at FROM login_tries WHERE key = ANY(%s)", [list(keys)]
            ).fetchall()
            before = {key: Tries(*tries) for key, *tries in rows}
            tries = dict(before)
            yield tries
            _keep(connection, before, tries, now)


def _keep(connection: Connection, before: dict[str, Tries], after: dict[str, Tries], now: float) -> None:
    gone = [key for key in before if key not in after]
    if gone:
        connection.execute("DELETE FROM login_tries WHERE key = ANY(%s)", [gone])
    changed = [(key, *_fields(one)) for key, one in after.items() if before.get(key) != one]
    if not changed:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO login_tries (key, failures, next_at, forgotten_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (key) DO UPDATE SET failures = EXCLUDED.failures, next_at = EXCLUDED.next_at,"
            " forgotten_at = EXCLUDED.forgotten_at",
            changed,
        )
    connection.execute(
        "DELETE FROM login_tries WHERE forgotten_at <= %s"
        " OR key IN (SELECT key FROM login_tries ORDER BY forgotten_at DESC OFFSET %s)",
        [now, KEYS_MAX],
    )


def _fields(tries: Tries) -> tuple[int, float, float]:
    return tries.failures, tries.next_at, tries.forgotten_at


class PostgresCounters:
    """See `shop.access.Counters`."""

    def __init__(self, servers: Servers, clock: Clock) -> None:
        self._servers = servers
        self._clock = clock

    def add(self, key: str, amount: int, seconds: float) -> int:
        now = self._clock.now().timestamp()
        with _changing(self._servers) as connection:
            row = connection.execute(
                "INSERT INTO rate_counters AS c (key, count, ends_at) VALUES (%(key)s, %(amount)s, %(ends)s)"
                " ON CONFLICT (key) DO UPDATE SET"
                " count = CASE WHEN c.ends_at <= %(now)s THEN EXCLUDED.count ELSE c.count + EXCLUDED.count END,"
                " ends_at = CASE WHEN c.ends_at <= %(now)s THEN EXCLUDED.ends_at ELSE c.ends_at END RETURNING count",
                {"key": key, "amount": amount, "ends": now + seconds, "now": now},
            ).fetchone()
            if row is not None and row[0] == amount:  # a new one: time to take away those that ended
                connection.execute(
                    "DELETE FROM rate_counters WHERE key IN (SELECT key FROM rate_counters WHERE ends_at <= %s"
                    " LIMIT 100 FOR UPDATE SKIP LOCKED)",
                    [now],
                )
        return int(row[0]) if row else amount

    def get(self, key: str) -> tuple[int, float]:
        now = self._clock.now().timestamp()
        with _changing(self._servers) as connection:
            row = connection.execute(
                "SELECT count, ends_at FROM rate_counters WHERE key = %s AND ends_at > %s", [key, now]
            ).fetchone()
        return (int(row[0]), float(row[1])) if row else (0, now)

    def clear(self, key: str | None = None) -> None:
        with _changing(self._servers) as connection:
            connection.execute("DELETE FROM rate_counters WHERE %s::text IS NULL OR key = %s", [key, key])


def _hash(sid: str) -> bytes:
    return sha256(sid.encode("utf-8", "surrogatepass")).digest()
