"""The pages of a shop on PostgreSQL that is busy beyond its bounds: each says so, and the others go on."""

from contextlib import contextmanager

import psycopg
import pytest

from shop.repository.postgres.pools import Bounds, Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.postgres.roles import Roles
from tests.builders import a_product, keep_products
from tests.contract.backends import EMPTY, PostgresBackend

FEW = Bounds(connections=2, pool_seconds=0.3, statement_seconds=0.3)


@pytest.fixture
def repository(postgres_shop, tmp_path):
    with psycopg.connect(PostgresBackend.server.url(), autocommit=True) as connection:
        connection.execute(EMPTY)
    servers = Servers(
        (PostgresBackend.server.url(), f"postgresql:///nobody?host={tmp_path}"), Roles(tmp_path), bounds=FEW
    )
    servers.open()
    yield PostgresRepository(servers)
    servers.close()


@pytest.fixture
def product(repository):
    product = a_product(name="Cup", stock=5)
    keep_products(repository, product)
    return product


@contextmanager
def locked(table):
    """Somebody does something big to *table*."""
    with psycopg.connect(PostgresBackend.server.url()) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


def is_not_now(page):
    return (
        page.status == 503
        and int(page.response.headers["Retry-After"]) > 0
        and page.main.one("h1").text == "Not just now"
    )


def test_while_all_writers_wait_one_more_is_sent_away_and_the_goods_are_shown(repository, visitor, product):
    form = visitor.get(f"/products/{product.slug}")

    with repository.update(), repository.update():
        refused = form.send("/cart/lines", quantity="1")
        assert is_not_now(refused)
        assert "More people" in refused.main.text
        assert visitor.get("/").status == 200
        assert visitor.get("/cart").status == 200

    assert form.send("/cart/lines", quantity="1").status == 303


def test_while_all_readers_are_busy_one_more_is_sent_away_and_the_machine_is_told_that_it_lives(
    repository, visitor, product
):
    with repository.view(), repository.view():
        assert is_not_now(visitor.get("/"))
        assert visitor.client.get("/healthz").status_code == 200

    assert visitor.get("/").status == 200


def test_a_page_whose_question_takes_too_long_says_so_and_the_others_go_on(repository, visitor, product):
    form = visitor.get(f"/products/{product.slug}")

    with locked("products"):
        slow = visitor.get("/?sort=newest")
        assert is_not_now(slow)
        assert "too long" in slow.main.text
        assert is_not_now(form.send("/cart/lines", quantity="1"))
        assert visitor.get("/cart").status == 200
        assert visitor.client.get("/readyz").status_code == 200

    assert visitor.get("/?sort=newest").status == 200
