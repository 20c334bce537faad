"""What every test may ask for: a clock that stands still, and a shop in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.repository.embedded import EmbeddedRepository
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import Store, create_store
from tests.builders import NOW
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
