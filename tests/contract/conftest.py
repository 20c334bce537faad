"""Every test here runs over every implementation; none may ask which one it has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.repository.contract import Repository
from tests.contract.backends import BACKENDS, Backend
from tests.pairkit import SHARED


@pytest.fixture(scope="session", autouse=True)
def _postgres_backend(postgres_shop: None) -> None:
    """The suite makes backends by their names alone."""


@pytest.fixture(scope="module", autouse=True)
def _end_shared_pair() -> Iterator[None]:
    """A pair that a module's tests shared does not outlive them."""
    yield
    SHARED.end()


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Backend]:
    backend = BACKENDS[request.param](tmp_path, clock)
    yield backend
    backend.close()


@pytest.fixture
def repository(backend: Backend) -> Repository:
    """An empty shop."""
    return backend.repository()
