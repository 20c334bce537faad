"""Every test here runs over every implementation; none may ask which one it has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.repository.contract import Repository
from tests.contract.backends import BACKENDS, Backend


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Backend]:
    backend = BACKENDS[request.param](tmp_path, clock)
    yield backend
    backend.close()


@pytest.fixture
def repository(backend: Backend) -> Repository:
    """An empty shop."""
    return backend.repository()
