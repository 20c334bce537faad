"""The two servers, as replication asks them: a connection each for short questions, and fresh ones for long work.

Nothing of the shop is written through these. No answer is waited for without a bound: who asks may be the one that releases the writers.
A server that did not answer is not asked again for a moment, so that a page does not wait for it twice.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from shop.errors import ShopError
from shop.repository.postgres.connection import Connection

CONNECT_SECONDS_MAX = 2
ANSWER_SECONDS_MAX = 5
SILENT_SECONDS_MAX = 1  # longer than a server needs to give up a statement: one that is stopped keeps no timeout
CALM_SECONDS = 0.5  # after a failure, before the next try
CALM_TIMES = 4  # the same, in units of how long the failure took

Rows = list[tuple[Any, ...]]


class Unreachable(ShopError):
    """A server does not answer; the message names it and says why."""

    status = 503


class NoTables(Unreachable):
    """It answers, but the shop's tables have not come to it yet."""


class Server:
    """One of the two. Safe from any thread; short questions come one after another."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = name_of(url)
        self._options = conninfo.conninfo_to_dict(url).get("options") or ""
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._failed: tuple[float, str] | None = None  # until when it is not asked again, and why

    def ask(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        """The rows of one statement, which is a transaction of its own. Raises `Unreachable`."""
        with self._lock:
            return self._ask(statement, parameters)

    def ask_all(self, *questions: tuple[str, Sequence[Any]]) -> list[Rows]:
        """Several, in their order and without another's between them."""
        with self._lock:
            return [self._ask(statement, parameters) for statement, parameters in questions]

    def connect(self, *, seconds_max: float) -> Connection:
        """A connection in autocommit, the caller's to close. Raises `Unreachable`."""
        try:
            return self._connect(seconds_max)
        except psycopg.OperationalError as error:
            raise Unreachable(self._sentence(error)) from error

    @contextmanager
    def fresh(self, *, seconds_max: float = 600, autocommit: bool = False) -> Iterator[Connection]:
        """A connection of one's own, closed afterwards. Raises `Unreachable`."""
        try:
            with self._connect(seconds_max) as connection:
                connection.autocommit = autocommit
                yield connection
        except psycopg.OperationalError as error:
            raise Unreachable(self._sentence(error)) from error

    def is_up(self) -> bool:
        """Whether it answers now."""
        try:
            self.ask("SELECT 1")
        except Unreachable:
            return False
        return True

    def forget(self) -> None:
        """Connect anew at the next question: it was stopped, or is another one now."""
        with self._lock:
            self._drop()
            self._failed = None

    close = forget

    def _ask(self, statement: str, parameters: Sequence[Any] | dict[str, Any]) -> Rows:
        connection = self._open()
        try:
            cursor = connection.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []
        except psycopg.errors.UndefinedTable as error:
            raise NoTables(f"The shop's tables have not arrived at {self.name} yet.") from error
        except psycopg.OperationalError as error:
            sentence = self._sentence(error)
            if _is_lost(error):
                self._drop()
                self._note_failure(error, 0.0)
            raise Unreachable(sentence) from error

    def _open(self) -> Connection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        began = time.monotonic()
        if self._failed is not None and began < self._failed[0]:
            raise Unreachable(self._failed[1])
        try:
            self._connection = self._connect(ANSWER_SECONDS_MAX)
        except psycopg.OperationalError as error:
            self._note_failure(error, time.monotonic() - began)
            raise Unreachable(self._sentence(error)) from error
        self._failed = None
        return self._connection

    def _connect(self, seconds_max: float) -> Connection:
        connection = Connection.connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_SECONDS_MAX,
            application_name="antipode replication",
            tcp_user_timeout=ANSWER_SECONDS_MAX * 1000,
            options=f"{self._options} -c statement_timeout={int(seconds_max * 1000)} -c timezone=UTC",
        )
        connection.answer_seconds_max = seconds_max + SILENT_SECONDS_MAX
        # Nothing asked here may wait for the far side. By SET, so that the server's own value can still be seen as the one to reset to.
        connection.execute("SET synchronous_commit TO local")
        return connection

    def _note_failure(self, error: psycopg.Error, seconds: float) -> None:
        """A machine that does not even refuse costs each try some time: it is tried less often."""
        self._failed = (time.monotonic() + max(CALM_SECONDS, CALM_TIMES * seconds), self._sentence(error))

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def _sentence(self, error: psycopg.Error) -> str:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].rpartition("failed: ")[2] if lines else type(error).__name__
        return f"{self.name} does not answer: {reason.rstrip('.')}."


def _is_lost(error: psycopg.OperationalError) -> bool:
    """Whether the connection is gone, or will be; else the server answers, and only not this."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def name_of(url: str) -> str:
    """What people call the server: "host:port/database", of a socket its folder. Never a user, never a password."""
    parts = conninfo.conninfo_to_dict(url)
    host, database = str(parts.get("host") or "localhost"), str(parts.get("dbname") or "postgres")
    if host.startswith("/"):
        return f"{Path(host).name}/{database}"
    return f"{host}:{parts.get('port') or 5432}/{database}"


def lsn_text(lsn: int) -> str:
    """A place in the log as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
