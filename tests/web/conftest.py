"""The whole application over a real pair of stores in a folder of the test, and a visitor in front of it.

The clock stands still; nothing crosses to the replica until a test calls `replication.sync_once`.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from flask import Flask
from flask.testing import FlaskClient

from shop.clock import ManualClock
from shop.config import Config
from shop.replication.embedded import EmbeddedReplication
from shop.replication.failover import EmbeddedFailover
from shop.replication.pair import Pair, open_pair
from shop.replication.reads import EmbeddedReads
from shop.repository.contract import Repository
from shop.repository.embedded import EmbeddedRepository
from shop.store import Store
from shop.web.extensions import limiter
from shop.web.factory import create_app
from shop.web.services import Services
from tests.builders import CURRENCY
from tests.web.admin import keep_admin, log_in, logged_in
from tests.web.visitor import Visitor

DELAY_SECONDS = 5.0
ON_EVERY_STORE = {"test_catalog", "test_cart", "test_checkout", "test_orders", "test_admin_orders"}
OF_THE_EMBEDDED = {"store", "replication"}  # what a test asks for when it is about the files and the link


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The pages that sell are tried over each kind of storage."""
    is_meant = metafunc.module.__name__.rpartition(".")[2] in ON_EVERY_STORE
    asked = set(inspect.signature(metafunc.function).parameters)
    if is_meant and not asked & OF_THE_EMBEDDED and "repository" in metafunc.fixturenames:
        metafunc.parametrize("repository", ["embedded", "postgres"], indirect=True)


@pytest.fixture
def pair(tmp_path: Path, clock: ManualClock) -> Iterator[Pair]:
    """An empty primary and its replica."""
    pair = open_pair(tmp_path, clock)
    yield pair
    pair.close()


@pytest.fixture
def store(pair: Pair) -> Store:
    return pair.primary


@pytest.fixture
def embedded(store: Store) -> EmbeddedRepository:
    """The shop in the pair's primary."""
    return EmbeddedRepository(store)


@pytest.fixture
def repository(request: pytest.FixtureRequest, embedded: EmbeddedRepository) -> Repository:
    """The shop behind the pages."""
    if getattr(request, "param", "embedded") == "embedded":
        return embedded
    return cast(Repository, request.getfixturevalue("postgres_repository"))


@pytest.fixture
def replication(pair: Pair, clock: ManualClock) -> EmbeddedReplication:
    return EmbeddedReplication(pair, clock=clock, delay_seconds=DELAY_SECONDS, currency=CURRENCY)


@pytest.fixture
def failover(
    pair: Pair, replication: EmbeddedReplication, embedded: EmbeddedRepository, clock: ManualClock
) -> EmbeddedFailover:
    """Waiting for the link lets the time of the test pass."""
    return EmbeddedFailover(pair, replication, embedded, clock=clock, currency=CURRENCY, wait=clock.advance)


@pytest.fixture
def reads(pair: Pair, embedded: EmbeddedRepository, clock: ManualClock) -> EmbeddedReads:
    """Waiting for the far side lets the time of the test pass, and nothing else."""
    return EmbeddedReads(pair, embedded, clock=clock, wait=clock.advance)


@pytest.fixture
def app(
    tmp_path: Path,
    clock: ManualClock,
    repository: Repository,
    replication: EmbeddedReplication,
    failover: EmbeddedFailover,
    reads: EmbeddedReads,
) -> Iterator[Flask]:
    config = Config(instance=tmp_path, replication_delay=DELAY_SECONDS, currency=CURRENCY)
    app = create_app(
        Services(config, clock, repository, replication, failover, laboratory=replication.laboratory, reads=reads),
        secret_key="a key for tests only",
    )
    yield app
    limiter.reset()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Requests as they are sent; `visitor` reads pages and fills in forms."""
    return app.test_client()


@pytest.fixture
def visitor(client: FlaskClient) -> Visitor:
    return Visitor(client)


@pytest.fixture
def stranger(visitor: Visitor, repository: Repository) -> Visitor:
    """A visitor of a shop that has an admin, and is not that admin."""
    keep_admin(repository)
    return visitor


@pytest.fixture
def shopkeeper(stranger: Visitor) -> Visitor:
    """The admin, logged in."""
    log_in(stranger)
    return stranger


@pytest.fixture
def second_shopkeeper(shopkeeper: Visitor, app: Flask) -> Visitor:
    """The admin once more, in another browser."""
    return logged_in(app)
