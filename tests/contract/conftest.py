"""Every test here runs over every implementation; none may ask which one it has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.cluster.server import PostgresServer
from shop.repository.contract import Repository
from tests.contract.backends import BACKENDS, Backend, PostgresBackend, migrated


@pytest.fixture(scope="session", autouse=True)
def _postgres_backend(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    PostgresBackend.server = migrated(postgres_server, tmp_path_factory.mktemp("postgres"))


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Backend]:
    backend = BACKENDS[request.param](tmp_path, clock)
    yield backend
    backend.close()


@pytest.fixture
def repository(backend: Backend) -> Repository:
    """An empty shop."""
    return backend.repository()
