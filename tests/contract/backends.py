"""The implementations of the repository, so that one suite can be run over each."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import psycopg

from shop.clock import Clock
from shop.cluster.server import PostgresServer
from shop.repository.contract import Repository
from shop.repository.embedded import EmbeddedRepository
from shop.repository.postgres.opening import open_repository
from shop.repository.postgres.pools import Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.postgres.roles import Roles
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import Store, create_store, open_store


class Backend(Protocol):
    """One shop, empty at first, that can be left and entered again."""

    sums: int  # how many lives of a shop are worth their time here

    def repository(self) -> Repository:
        """The shop that is open."""
        ...

    def restart(self) -> Repository:
        """Leave in order, open again what was kept."""
        ...

    def crash(self) -> Repository:
        """Open again what was kept, as after `kill -9`."""
        ...

    def close(self) -> None: ...


class EmbeddedBackend:
    """A store in a folder."""

    sums = 100

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._crashes = 0
        self._opened(create_store(folder / "db.json", SCHEMA, indexes=INDEXES, clock=clock))

    def repository(self) -> EmbeddedRepository:
        return self._repository

    def restart(self) -> EmbeddedRepository:
        self.close()
        return self._reopened()

    def crash(self) -> EmbeddedRepository:
        """The files as they are at this moment, copied to where the old store cannot touch them."""
        self._crashes += 1
        folder = self._folder / f"crash-{self._crashes}"
        folder.mkdir()
        for name in ("db.json", "db.journal"):
            (folder / name).write_bytes((self._folder / name).read_bytes())
        self.close()
        self._folder = folder
        return self._reopened()

    def close(self) -> None:
        self._store.close()

    def _reopened(self) -> EmbeddedRepository:
        return self._opened(open_store(self._folder / "db.json", SCHEMA, indexes=INDEXES, clock=self._clock))

    def _opened(self, store: Store) -> EmbeddedRepository:
        self._store = store
        self._repository = EmbeddedRepository(store)
        return self._repository


class PostgresBackend:
    """The tables of one real server, emptied; where a second one should be, nobody answers."""

    sums = 20
    server: ClassVar[PostgresServer]  # set for the session by `postgres_backend`

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._empty()
        self._open()

    def repository(self) -> PostgresRepository:
        return self._repository

    def restart(self) -> PostgresRepository:
        self.close()
        return self._open()

    def crash(self) -> PostgresRepository:
        """`kill -9` of a process of the server: it ends all the others, forgets its memory and recovers from its log.

        The pools are not told: they find their connections broken, as a worker would.
        """
        with psycopg.connect(self.server.url()) as connection:
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            _await(lambda: not answers(connection))
        _await(lambda: is_up(self.server.url()))
        return self._repository

    def close(self) -> None:
        self._servers.close()

    def _open(self) -> PostgresRepository:
        nobody = f"postgresql:///nobody?host={self._folder}"
        self._servers = Servers((self.server.url(), nobody), Roles(self._folder))
        self._servers.open()
        self._repository = PostgresRepository(self._servers)
        return self._repository

    def _empty(self) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(EMPTY)


EMPTY = """
TRUNCATE categories, products, carts, orders, order_lines, admins, commits;
ALTER SEQUENCE order_numbers RESTART
"""


def migrated(server: PostgresServer, folder: Path) -> PostgresServer:
    """*server* with the shop's tables."""
    with open_repository(folder, (server.url(), f"postgresql:///nobody?host={folder}")):
        pass
    return server


def answers(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def is_up(url: str) -> bool:
    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


BACKENDS: Mapping[str, type[EmbeddedBackend] | type[PostgresBackend]] = {
    "embedded": EmbeddedBackend,
    "postgres": PostgresBackend,
}
