"""What every test may ask for: a clock that stands still, and a shop in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.cluster.server import PostgresServer
from shop.repository.embedded import EmbeddedRepository
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import Store, create_store
from tests.builders import NOW
from tests.contract.backends import PostgresBackend, migrated
from tests.postgreskit import postgres_machine, postgres_pair, postgres_server

__all__ = ["postgres_machine", "postgres_pair", "postgres_server"]  # fixtures of every test


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    """An empty store of the shop's collections."""
    store = create_store(tmp_path / "db.json", SCHEMA, indexes=INDEXES, clock=clock)
    yield store
    store.close()


@pytest.fixture
def repository(store: Store) -> EmbeddedRepository:
    """An empty shop."""
    return EmbeddedRepository(store)


@pytest.fixture(scope="session")
def postgres_shop(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The session's server has the shop's tables, for every `PostgresBackend`."""
    PostgresBackend.server = migrated(postgres_server, tmp_path_factory.mktemp("postgres"))


@pytest.fixture
def postgres_repository(postgres_shop: None, tmp_path: Path, clock: ManualClock) -> Iterator[PostgresRepository]:
    """An empty shop on a real server, without a standby."""
    backend = PostgresBackend(tmp_path, clock)
    yield backend.repository()
    backend.close()
