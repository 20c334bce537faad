"""The repository over two PostgreSQL servers. See DESIGN.md beside this for what is promised, and how."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg
import structlog

from shop.errors import ShopError, WritesUnavailable
from shop.repository.contract import Gate, Pass
from shop.repository.postgres.connection import (
    Connection,
    Unreachable,
    begin_writing,
    commit,
    is_lost,
    refusal,
    unreadable,
    unwritable,
)
from shop.repository.postgres.kept import Kept
from shop.repository.postgres.pools import Server, Servers
from shop.repository.postgres.reading import Reader
from shop.repository.postgres.writing import Committing, Writer
from shop.units import Position, ReadUnit, WriteUnit

OUTCOME_SECONDS_MAX = 3.0  # how long is asked what became of a commit whose connection broke
FRESH_SECONDS = 1.0  # how long a good or a bad answer about writing stands

STALE = (
    "Its primary database does not answer: what you see is from the copy of it, and may be a little older."
    " Please try again soon."
)
UNKNOWN = (
    "The database did not confirm this change. It may have been kept, once, or not at all;"
    " please look again in a moment, before repeating it."
)

_log = structlog.get_logger("postgres")


class PostgresRepository:
    """The shop's records on two servers, of which one is primary.

    `after_commit` is called with the position of each commit that this repository made, on the thread that made it.
    """

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.after_commit: list[Callable[[Position], None]] = []
        self.gate: Gate | None = None
        self._kept = Kept()
        self._shown = threading.local()
        self._asking = threading.Lock()  # whoever holds it changes the two below; they are read without
        self._asked_at = -FRESH_SECONDS
        self._why_not = ""

    @contextmanager
    def view(self) -> Iterator[ReadUnit]:
        """A snapshot of the primary; of the standby while there is none: `take_fallback` tells. Raises `Unavailable`."""
        with self._reading() as (server, connection, position), _readable(server):
            yield Reader(connection, position, self._kept.at(connection.moment))

    @contextmanager
    def view_on(self, server: Server) -> Iterator[ReadUnit]:
        """A snapshot of *server*, whatever it is now. Raises `Unavailable`."""
        with self.servers.reading(server) as (connection, position), _readable(server):
            yield Reader(connection, position, self._kept.at(connection.moment))

    def update(self) -> AbstractContextManager[WriteUnit]:
        """Leaving the block commits all of it or nothing; raises `WritesUnavailable` when it cannot be kept, and `Crossed`
        when another update was in its way: then it can be made again."""
        return self._update()

    def is_writable(self) -> bool:
        return not self.why_read_only()

    def why_read_only(self) -> str:
        """Asked of the primary at most once a second; where this thread was just shown the standby, that is the answer."""
        if time.monotonic() - getattr(self._shown, "standby_at", -FRESH_SECONDS) < FRESH_SECONDS:
            return STALE
        if time.monotonic() - self._asked_at >= FRESH_SECONDS and self._asking.acquire(blocking=False):
            try:  # one thread asks; the others go on with what was known
                self._why_not = "" if self.servers.is_primary_there() else unwritable().message
                self._asked_at = time.monotonic()
            finally:
                self._asking.release()
        return self._why_not or (self.gate.why_closed() if self.gate is not None else "")

    def take_fallback(self) -> bool:
        """Whether this thread was shown the standby, for want of a primary, since it was asked last."""
        was = bool(getattr(self._shown, "is_fallback", False))
        self._shown.is_fallback = False
        return was

    # ---- how

    @contextmanager
    def _reading(self) -> Iterator[tuple[Server, Connection, Position]]:
        server = self.servers.primary
        begun = self.servers.reading(server)
        try:
            connection, position = begun.__enter__()
        except Unreachable:
            server = self.servers.standby
            begun = self.servers.reading(server)
            connection, position = begun.__enter__()
            self._shown.is_fallback, self._shown.standby_at = True, time.monotonic()
        else:
            self._shown.standby_at = -FRESH_SECONDS
        try:
            yield server, connection, position
        finally:
            begun.__exit__(None, None, None)

    @contextmanager
    def _update(self) -> Iterator[WriteUnit]:
        passing = self.gate.enter() if self.gate is not None else None
        committed: Position | None = None
        try:
            with self.servers.writing() as (connection, position), _writable(self.servers.primary):
                unit = Writer(connection, position)
                yield unit
                committed = self._finish(connection, unit, passing)
        finally:
            if passing is not None:
                passing.leave(committed)
        if committed is not None:
            for call in self.after_commit:
                call(committed)

    def _finish(self, connection: Connection, unit: Writer, passing: Pass | None) -> Position | None:
        if passing is not None:
            passing.commits()
        committing = unit.prepare()
        if committing is None:
            return None
        try:
            committed = Position(committing.position.timeline, commit(connection), "")
        except psycopg.OperationalError as error:
            if not is_lost(error) and not isinstance(error, psycopg.errors.QueryCanceled):
                raise
            connection.close()
            committed = self._outcome(committing, error)
        return committed if unit.is_change else None

    def _outcome(self, committing: Committing, error: psycopg.Error) -> Position:
        """The connection broke during the COMMIT: the primary knows. Returns the end of its log when it was kept.

        Raises `WritesUnavailable`, that says so when the outcome stays unknown.
        """
        deadline = time.monotonic() + OUTCOME_SECONDS_MAX
        while committing.xid and time.monotonic() < deadline:
            try:
                was_kept, position = _was_kept(self.servers.primary, committing)
            except psycopg.OperationalError:
                was_kept = None
            if was_kept:
                return position
            if was_kept is False:
                raise unwritable() from error
            time.sleep(0.05)
        _log.error("outcome of a commit unknown", commit=str(committing.id), why=" ".join(str(error).split())[:200])
        raise WritesUnavailable(UNKNOWN, None) from error


def _was_kept(server: Server, committing: Committing) -> tuple[bool | None, Position]:
    """Whether *server* has the update; None while that is open, or when another server may have it.

    The row says that it was kept, wherever it is found. The number of its transaction says only whether it still runs: one that a
    crash lost is given to somebody else's.
    """
    with server.connect() as connection:
        position, is_standby = begin_writing(connection)
        is_the_one = not is_standby and position.timeline == committing.position.timeline
        may_run = (
            is_the_one and _status(connection, committing.xid) == "in progress"
        )  # asked before the row: it may end now
        if connection.execute("SELECT 1 FROM commits WHERE id = %s", [committing.id]).fetchone():
            return True, position
        return (False if is_the_one and not may_run else None), position


def _status(connection: Connection, xid: str) -> str:
    """What became of the transaction that bears the number now; "" when nobody does."""
    try:
        with connection.transaction():
            row = connection.execute("SELECT pg_xact_status(%s::xid8)", [xid]).fetchone()
    except psycopg.errors.InvalidParameterValue:  # it was given to nobody yet: a crash took it back
        return ""
    return (row[0] or "") if row else ""


@contextmanager
def _readable(server: Server) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(server, error, unreadable) from error


@contextmanager
def _writable(server: Server) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(server, error, refusal) from error


def _meaning(server: Server, error: psycopg.Error, meaning: Callable[[psycopg.Error], ShopError | None]) -> Exception:
    refused = meaning(error)
    if refused is None:
        return error
    _log.warning("database refused", server=server.name, why=" ".join(str(error).split())[:200])
    return refused
