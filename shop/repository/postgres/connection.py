"""One connection: its bounds in time, how a transaction begins on it, and what its errors mean for the person who waits.

Every statement is bounded twice: by the server, and here, in case the server does not answer at all. The one wait without a bound of
the server's is the COMMIT of an update under synchronous replication: cancelling it would leave the row committed all the same.
"""

from typing import Any, TypeAlias

import psycopg
from psycopg import errors
from psycopg.abc import RV, PQGen

from shop.errors import Conflict, Crossed, ShopError, Unavailable, WritesUnavailable
from shop.repository.postgres.kept import Moment
from shop.units import Position

CONNECT_SECONDS_MAX = 2
STATEMENT_SECONDS_MAX = 5.0
LOCK_SECONDS_MAX = 3.0
IDLE_SECONDS_MAX = 10.0  # inside a transaction: somebody else waits for its locks
ANSWER_SECONDS_MAX = STATEMENT_SECONDS_MAX + 2  # from a server that should have given up by itself
COMMIT_SECONDS_MAX = 60.0  # the far side included; who keeps the modes releases the waiters long before
RETRY_SECONDS = 2

SILENT = "The database did not answer in time"

_SETTINGS = {
    "lock_timeout": f"{LOCK_SECONDS_MAX:g}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS_MAX:g}s",
    "timezone": "UTC",
    "jit": "off",  # it compiles for longer than these queries run
    "plan_cache_mode": "force_custom_plan",  # a search for a rare word and one for a common word want different plans
}

# A commit that is confirmed is on the disk, whatever the server was told; what it shall wait for beyond that is the server's setting.
_CONFIGURE = f"""
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()),
                      (SELECT extract(epoch FROM stats_reset) FROM pg_stat_bgwriter)),
       NOT pg_is_in_recovery(),
       set_config('statement_timeout', %s, false),
       {", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())},
       CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
"""  # noqa: S608

# The snapshot is taken by the SELECT, and so is the position: what the snapshot shows is at or before it.
_POSITION = """
SELECT pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery()
            THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
                    FROM pg_control_checkpoint() c, pg_control_recovery() r)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,
       (CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_insert_lsn() END
        - '0/0')::bigint
"""
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
_BEGIN_READING = f"{_BEGIN}{_POSITION}"
# Every page begins so: a quarter of the time that the question above takes, with the arithmetic left to us.
_BEGIN_READING_PRIMARY = (
    f"{_BEGIN}SELECT pg_walfile_name(pg_current_wal_insert_lsn()), pg_current_wal_insert_lsn(), pg_current_snapshot()"
)
_BEGIN_WRITING = f"BEGIN ISOLATION LEVEL READ COMMITTED; {_POSITION}"
_COMMIT = "COMMIT; SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection in autocommit; transactions begin and end by the functions below."""

    answer_seconds_max = ANSWER_SECONDS_MAX
    system = ""  # the identifier of the database system behind it
    started = ""  # when the server did, also after a crash of which its first process survived
    is_primary = False  # then for as long as it lasts: a primary has to be restarted to follow
    moment: Moment | None = None  # the snapshot that it reads under; None: of a standby, or none

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As psycopg's, but not for ever: a connection that stays silent is closed. Raises `OperationalError`."""
        bound = self.answer_seconds_max if timeout is None else timeout
        try:
            return super().wait(gen, interval, bound)
        except errors.Error as error:
            if not isinstance(error, errors._WaitTimeout):
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(SILENT) from error


Row: TypeAlias = tuple[Any, ...]


def configure(connection: Connection, statement_seconds_max: float = STATEMENT_SECONDS_MAX) -> None:
    """For a new connection of a pool: the bounds of its statements, and whom it belongs to."""
    row = connection.execute(_CONFIGURE.encode(), [f"{statement_seconds_max * 1000:.0f}ms"]).fetchone()
    connection.system, connection.started, connection.is_primary = row[:3] if row else ("", "", False)


def begin_reading(connection: Connection) -> Position:
    """Begin a snapshot; returns a position at or after everything that it shows."""
    if not connection.is_primary:
        is_standby, timeline, lsn = _last_row(connection.execute(_BEGIN_READING))
        connection.moment = None
        connection.is_primary = not is_standby  # promoted meanwhile
        return Position(timeline, lsn, "")
    file, place, snapshot = _last_row(connection.execute(_BEGIN_READING_PRIMARY))
    timeline = int(file[:8], 16)
    connection.moment = Moment(connection.system, connection.started, timeline, snapshot)
    return Position(timeline, _bytes(place), "")


def _bytes(place: str) -> int:
    """A place in the log, written as two halves in hexadecimal."""
    high, low = place.split("/")
    return int(high, 16) << 32 | int(low, 16)


def begin_writing(connection: Connection) -> tuple[Position, bool]:
    """Begin an update; returns where the server is, and whether it is a standby. Whoever calls looks at both."""
    is_standby, timeline, lsn = _last_row(connection.execute(_BEGIN_WRITING))
    return Position(timeline, lsn, ""), is_standby


def commit(connection: Connection) -> int:
    """Commit, and wait for the far side where the server does; returns the end of the log after it."""
    connection.answer_seconds_max = COMMIT_SECONDS_MAX
    try:
        cursor = connection.execute(_COMMIT)
    finally:
        connection.answer_seconds_max = ANSWER_SECONDS_MAX
    (lsn,) = _last_row(cursor)
    return int(lsn)


def _last_row(cursor: psycopg.Cursor[Row]) -> Row:
    """Of the last of several statements."""
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    if row is None:
        raise psycopg.OperationalError("The database ended a conversation in the middle")
    return row


def is_lost(error: psycopg.Error) -> bool:
    """Whether it is the connection that failed, and not the statement."""
    gone = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout)
    if isinstance(error, gone):
        return True
    return isinstance(error, psycopg.OperationalError) and error.sqlstate is None


def refusal(error: psycopg.Error) -> ShopError | None:
    """What to tell whoever wanted to change something; None for a fault of ours. Nothing of the update was kept."""
    match error:
        case errors.DeadlockDetected() | errors.SerializationFailure():
            return Crossed()
        case errors.LockNotAvailable():
            return WritesUnavailable(
                "Many people want the same thing at this moment. Nothing was changed. Please try again.", RETRY_SECONDS
            )
        case errors.QueryCanceled():
            return WritesUnavailable(
                "The shop took too long over this and gave up. Nothing was changed. Please try again soon.",
                RETRY_SECONDS,
            )
        case errors.ReadOnlySqlTransaction():
            return unwritable()
        case errors.InsufficientResources():
            return WritesUnavailable(
                "The shop could not keep this: its database takes no more at the moment. Nothing was changed."
                " Please try again soon.",
                5,
            )
        case errors.ForeignKeyViolation():
            return Conflict("This names a category that is not in the shop. Nothing was changed.")
    return unwritable() if is_lost(error) or isinstance(error, psycopg.OperationalError) else None


def unreadable(error: psycopg.Error) -> ShopError | None:
    """What to tell whoever wanted to look at something; None for a fault of ours."""
    if isinstance(error, errors.QueryCanceled | errors.SerializationFailure):
        return Unavailable("The shop took too long over this page and gave up. Please try again soon.", RETRY_SECONDS)
    return unreachable() if isinstance(error, psycopg.OperationalError) else None


def unwritable() -> WritesUnavailable:
    return WritesUnavailable(
        "The shop can be read but not changed at the moment. Nothing was changed. Please try again soon.", RETRY_SECONDS
    )


class Unreachable(Unavailable):
    """The server is not there: perhaps the other one is."""


def unreachable() -> Unreachable:
    return Unreachable("The shop cannot reach its database at the moment. Please try again soon.", RETRY_SECONDS)
