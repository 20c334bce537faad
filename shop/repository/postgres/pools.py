"""The connections to the two servers, and the fence before every write.

Reads and writes have pools of their own, because a write may wait for the far side at its COMMIT and must not hold up readers. A server
that failed is left alone for a moment: without that, every page would wait for it anew.

**The fence.** PostgreSQL lets an old primary that was started again take writes. So each update begins with a question, in the same
round trip as its BEGIN: not in recovery, and on a timeline not below the highest that was ever seen? A no ends it before anything was
written. Another server becomes primary in the eyes of the shop only on a higher timeline.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import psycopg
import structlog
from psycopg import conninfo
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from shop.errors import SettingError, Unavailable, WritesUnavailable
from shop.repository.postgres.connection import (
    CONNECT_SECONDS_MAX,
    RETRY_SECONDS,
    STATEMENT_SECONDS_MAX,
    Connection,
    begin_reading,
    begin_writing,
    configure,
    is_lost,
    unreachable,
    unwritable,
)
from shop.repository.postgres.roles import NAMES, Agreed, Roles
from shop.units import Position

CALM_SECONDS = 1.0  # after a failure, before the next try
LOOK_SECONDS = 0.05

SETTINGS = ("SHOP_PRIMARY_URL", "SHOP_REPLICA_URL")
T = TypeVar("T")

_log = structlog.get_logger("postgres")
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it says at each attempt what is said here once


class Bounds(NamedTuple):
    """How much, and how long."""

    connections: int = 8  # of each pool: as many as a worker has threads
    pool_seconds: float = 3.0  # for a connection to come free
    statement_seconds: float = STATEMENT_SECONDS_MAX


class ServerGone(Exception):
    """The server does not answer, or closes its connections."""


class PoolExhausted(Exception):
    """All connections are in use, and none came free in time."""


class Server:
    """One of the two, whatever its role: a pool for reading, one for writing. Safe from any thread."""

    def __init__(self, name: str, url: str, bounds: Bounds) -> None:
        self.name = name
        self.url = url
        self._bounds = bounds
        self._failed_at = self._answered_at = -CALM_SECONDS
        self._why = ""
        self._reading = self._pool("reads")
        self._writing = self._pool("writes")

    def open(self) -> None:
        """Connects to nothing yet: the first who needs a connection makes it."""
        self._reading.open()
        self._writing.open()

    def close(self) -> None:
        self._reading.close()
        self._writing.close()

    @property
    def why(self) -> str:
        """Why it does not answer, in the words of the library, which tell no password; "" while it does."""
        return " ".join(self._why.split())

    @property
    def is_down(self) -> bool:
        """It failed a moment ago: not to be asked again yet."""
        return time.monotonic() - self._failed_at < CALM_SECONDS

    def connect(self) -> Connection:
        """A connection outside the pools. Raises `psycopg.OperationalError`."""
        connection = Connection.connect(self.url, **_connect_arguments())
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: Connection) -> None:
        configure(connection, self._bounds.statement_seconds)

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Position]]:
        """A snapshot. Raises `ServerGone`, `PoolExhausted`."""
        with self._begun(self._reading, begin_reading) as begun:
            yield begun

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, tuple[Position, bool]]]:
        """A transaction that has begun, not fenced yet. Raises `ServerGone`, `PoolExhausted`."""
        with self._begun(self._writing, begin_writing) as begun:
            yield begun

    def failed(self, why: str) -> None:
        """Note that it does not answer; said in the log once for each time it goes."""
        if not self._why:
            _log.warning("database server gone", server=self.name, why=" ".join(why.split())[:200])
        self._why = why
        self._failed_at = time.monotonic()

    def refused(self, why: str) -> None:
        """Note that it takes no further connection. While it answers on others it is full, not gone."""
        if time.monotonic() - self._answered_at >= CALM_SECONDS:
            self.failed(why)

    def _answered(self) -> None:
        self._answered_at = time.monotonic()
        if self._why:
            _log.info("database server is back", server=self.name)
            self._why = ""
            self._failed_at = -CALM_SECONDS

    @contextmanager
    def _begun(
        self, pool: "ConnectionPool[Connection]", begin: Callable[[Connection], T]
    ) -> Iterator[tuple[Connection, T]]:
        connection, answer = self._begin(pool, begin)
        try:
            yield connection, answer
        finally:
            _end(connection)
            with suppress(PoolClosed):
                pool.putconn(connection)

    def _begin(self, pool: "ConnectionPool[Connection]", begin: Callable[[Connection], T]) -> tuple[Connection, T]:
        """A connection that the server closed while it lay in the pool is found here, before anything was asked on it."""
        deadline = time.monotonic() + self._bounds.pool_seconds
        for left in range(pool.max_size, -1, -1):
            connection = self._take(pool, deadline)
            try:
                answer = begin(connection)
            except psycopg.OperationalError as error:
                connection.close()
                pool.putconn(connection)
                if not left or not is_lost(error) or time.monotonic() > deadline:
                    self.failed(str(error))
                    raise ServerGone(self.name) from error
            except BaseException:
                connection.close()
                pool.putconn(connection)
                raise
            else:
                self._answered()
                return connection, answer
        raise ServerGone(self.name)

    def _take(self, pool: "ConnectionPool[Connection]", deadline: float) -> Connection:
        """In short looks, because a pool does not tell its waiters that the server refuses connections."""
        began = time.monotonic()
        while True:
            if self.is_down or self._failed_at >= began:
                raise ServerGone(self.name)
            left = deadline - time.monotonic()
            if left <= 0:
                raise PoolExhausted(self.name)
            try:
                return pool.getconn(timeout=min(LOOK_SECONDS, left))
            except PoolTimeout:
                continue
            except PoolClosed as error:
                raise ServerGone(self.name) from error

    def _pool(self, use: str) -> "ConnectionPool[Connection]":
        return ConnectionPool(
            connection_class=_reporting(self),
            conninfo=self.url,
            kwargs=_connect_arguments(),
            configure=self._configure,
            min_size=0,
            max_size=self._bounds.connections,
            name=f"{self.name}-{use}",
            open=False,
            timeout=self._bounds.pool_seconds,
            reconnect_timeout=0,  # who needs a connection asks for it; nobody else tries
            num_workers=1,
        )


class Servers:
    """Both servers, by role. Safe from any thread."""

    def __init__(
        self,
        urls: tuple[str, str],
        roles: Roles,
        *,
        bounds: Bounds | None = None,
    ) -> None:
        for setting, url in zip(SETTINGS, urls, strict=True):
            _check(setting, url)
        self.roles = roles
        self.all = tuple(Server(name, url, bounds or Bounds()) for name, url in zip(NAMES, urls, strict=True))
        self._looking = threading.Lock()
        self._looked_at = -CALM_SECONDS

    @property
    def primary(self) -> Server:
        """The server that the shop has agreed on."""
        return self.all[self.roles.primary]

    @property
    def standby(self) -> Server:
        return self.all[1 - self.roles.primary]

    def open(self) -> None:
        for server in self.all:
            server.open()

    def close(self) -> None:
        for server in self.all:
            server.close()

    def look(self) -> None:
        """Ask both servers what they are, and agree on the primary with the highest timeline, if there is one.

        A server that does not answer is no primary now. Raises `SettingError` for two primaries on one timeline, or for servers
        that are not copies of one another.
        """
        answers = {place: answer for place, server in enumerate(self.all) if (answer := _ask(server))}
        if len({answer.system for answer in answers.values()}) > 1:
            raise SettingError(f"{SETTINGS[0]} and {SETTINGS[1]} name servers that are not copies of one another.")
        primaries = {place: answer for place, answer in answers.items() if not answer.is_standby}
        if not primaries:
            return
        place, best = max(primaries.items(), key=lambda one: one[1].timeline)
        if len(primaries) > 1 and len({answer.timeline for answer in primaries.values()}) == 1:
            raise SettingError(
                f"Both servers say that they are primary on timeline {best.timeline}: stop the one that is not, it has forked."
            )
        self.roles.advance(primary=place, timeline=best.timeline, system=best.system, is_alone=len(answers) > 1)

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, Position]]:
        """A fenced transaction on the primary; what is not committed when it is left is discarded.

        Raises `WritesUnavailable`: then nothing was written.
        """
        server = self.primary
        try:
            with server.writing() as (connection, (position, is_standby)):
                self._check_fence(server, connection, position, is_standby)
                yield connection, position
        except ServerGone:
            self._look_again()
            raise unwritable() from None
        except PoolExhausted:
            raise WritesUnavailable(
                "More people are changing the shop than it can take at this moment. Nothing was changed. Please try again.",
                RETRY_SECONDS,
            ) from None

    def is_primary_there(self) -> bool:
        """Whether the fence would let an update through now. Waits for no writer: they may all wait for the far side."""
        if not self.roles.timeline:
            self._look_again()
        try:
            with self.primary.reading() as (connection, position):
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
                agreed, is_standby = self.roles.now(), row is None or row[0]
                is_there = (
                    not is_standby and position.timeline >= agreed.timeline and connection.system == agreed.system
                )
        except PoolExhausted:
            return True  # busy, and there
        except (ServerGone, psycopg.OperationalError):
            is_there = False
        if not is_there:
            self._look_again()
        return is_there

    def _check_fence(self, server: Server, connection: Connection, position: Position, is_standby: bool) -> None:
        agreed = self._agree(server, connection, position, is_standby)
        is_agreed = server is self.all[NAMES.index(agreed.primary)]
        is_ours = is_agreed and position.timeline >= agreed.timeline and connection.system == agreed.system
        if is_standby or not is_ours or not self.roles.open(agreed):
            _log.error(
                "write fenced off",
                server=server.name,
                is_standby=is_standby,
                timeline=position.timeline,
                highest_timeline=agreed.timeline,
            )
            self._look_again()
            raise unwritable()

    def _agree(self, server: Server, connection: Connection, position: Position, is_standby: bool) -> Agreed:
        """What is agreed on, having told of a timeline that nobody had seen."""
        agreed = self.roles.now()
        if is_standby or 0 < position.timeline <= agreed.timeline:
            return agreed
        try:
            return self.roles.advance(
                primary=self.all.index(server), timeline=position.timeline, system=connection.system
            )
        except SettingError as error:
            _log.error("not our primary", why=str(error))
            raise unwritable() from error

    def _look_again(self) -> None:
        """Perhaps the other one was promoted: asked at most once a second."""
        with self._looking:
            if time.monotonic() - self._looked_at < CALM_SECONDS:
                return
            self._looked_at = time.monotonic()
        try:
            self.look()
        except SettingError as error:
            _log.error("no primary", why=str(error))

    @contextmanager
    def reading(self, server: Server) -> Iterator[tuple[Connection, Position]]:
        """A snapshot on *server*. Raises `Unavailable`."""
        try:
            with server.reading() as begun:
                yield begun
        except ServerGone:
            raise unreachable() from None
        except PoolExhausted:
            raise Unavailable(
                "More people are looking at the shop than it can take at this moment. Please try again.", RETRY_SECONDS
            ) from None


class _Answer(NamedTuple):
    """What a server is at this moment."""

    system: str
    timeline: int
    is_standby: bool


def _ask(server: Server) -> _Answer | None:
    try:
        with server.connect() as connection:
            position, is_standby = begin_writing(connection)
            return _Answer(connection.system, position.timeline, is_standby)
    except psycopg.OperationalError as error:
        server.refused(str(error))
        return None


def _reporting(server: Server) -> type[Connection]:
    """Connections that tell *server* when they cannot be made: the pool keeps that to itself."""

    class Reporting(Connection):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> "Reporting":
            try:
                return super().connect(*args, **kwargs)
            except psycopg.OperationalError as error:
                server.refused(str(error))
                raise

    return Reporting


def _connect_arguments() -> dict[str, Any]:
    return {
        "autocommit": True,
        "connect_timeout": CONNECT_SECONDS_MAX,
        "application_name": "antipode",
        "client_encoding": "utf8",
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def _end(connection: Connection) -> None:
    """Discard what was not committed; a connection that cannot even do that is closed."""
    if connection.closed:
        return
    try:
        if connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.rollback()
    except psycopg.Error:
        connection.close()


def _check(setting: str, url: str) -> None:
    try:
        conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise SettingError(
            f"{setting} is no address that PostgreSQL's library understands."
        ) from None  # it may hold a password
