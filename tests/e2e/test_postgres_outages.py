"""A real pair whose servers go and come back: who may be written, who is read, and what a worker is told."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from shop.cluster.ground import SHOP
from shop.cluster.pair import Pair
from shop.errors import SettingError, WritesUnavailable
from shop.repository.postgres.opening import open_repository
from shop.repository.postgres.pools import Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.postgres.roles import Roles
from tests.builders import a_cart, a_product, catalog, keep, keep_products, names, product_in


@pytest.fixture
def repository(postgres_pair: Pair, tmp_path: Path) -> Iterator[PostgresRepository]:
    with open_repository(tmp_path, (postgres_pair.a.url(), postgres_pair.b.url())) as repository:
        yield repository


def until(is_so: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def can_keep(repository: PostgresRepository, id: str) -> bool:
    try:
        keep(repository, a_cart(id=id))
    except WritesUnavailable:
        return False
    return True


def has_crossed(repository: PostgresRepository, cart_id: str) -> bool:
    with repository.view_on(repository.servers.standby) as unit:
        return unit.cart(cart_id) is not None


def promote_b(pair: Pair) -> None:
    with pair.b.connect() as connection:
        connection.execute("SELECT pg_promote(true, 30)")


def test_the_standby_answers_while_the_primary_is_gone_and_says_so(
    postgres_pair: Pair, repository: PostgresRepository
) -> None:
    keep_products(repository, a_product(name="Cup"))
    keep(repository, a_cart(id="last"))
    until(lambda: has_crossed(repository, "last"))
    assert names(catalog(repository).items) == ["Cup"]
    assert not repository.take_fallback()

    postgres_pair.a.kill()

    began = time.monotonic()
    assert names(catalog(repository).items) == ["Cup"]
    assert repository.take_fallback()
    with pytest.raises(WritesUnavailable) as refused:
        keep(repository, a_cart())
    assert refused.value.retry_seconds
    assert "Nothing was changed" in refused.value.message
    for _ in range(20):
        catalog(repository)
    assert time.monotonic() - began < 10, "a server that is gone holds up nobody for long"
    until(lambda: not repository.is_writable())

    postgres_pair.a.start()
    until(lambda: can_keep(repository, "again"))
    repository.take_fallback()
    catalog(repository)
    assert not repository.take_fallback()
    until(repository.is_writable)


def test_without_its_standby_the_shop_goes_on(postgres_pair: Pair, repository: PostgresRepository) -> None:
    postgres_pair.b.kill()

    product = a_product(stock=3)
    keep_products(repository, product)

    assert product_in(repository, product) == product
    assert not repository.take_fallback()


def test_a_promoted_standby_is_found_and_a_restarted_old_primary_is_fenced_off(
    postgres_pair: Pair, repository: PostgresRepository, tmp_path: Path
) -> None:
    keep(repository, a_cart(id="before"))
    until(lambda: has_crossed(repository, "before"))
    postgres_pair.a.kill()
    promote_b(postgres_pair)
    until(lambda: can_keep(repository, "after"))
    assert (repository.servers.roles.primary, repository.servers.roles.timeline) == (1, 2)

    postgres_pair.a.start()
    with psycopg.connect(postgres_pair.a.url()) as psql:  # PostgreSQL itself has nothing against it
        psql.execute("INSERT INTO carts VALUES ('by hand', '[]', 'key', '2026-01-01T00:00:00Z')")

    # The address of the new primary leads to the old one: as after a restart behind the same name.
    nobody = f"postgresql:///{SHOP}?host={tmp_path}"
    misled = PostgresRepository(Servers((nobody, postgres_pair.a.url()), Roles(tmp_path)))
    misled.servers.open()
    with pytest.raises(WritesUnavailable):
        keep(misled, a_cart(id="fenced"))
    assert not misled.is_writable()
    misled.servers.close()
    with psycopg.connect(postgres_pair.a.url()) as psql:
        assert psql.execute("SELECT id FROM carts WHERE id = 'fenced'").fetchall() == []
    keep(repository, a_cart(id="still"))
    assert repository.servers.roles.primary == 1


def test_a_standby_that_was_promoted_by_hand_is_agreed_on_when_both_are_asked(
    postgres_pair: Pair, repository: PostgresRepository
) -> None:
    """Both could take writes then: the shop changes sides when the old one fails or at a start, and not by itself."""
    keep(repository, a_cart(id="before"))
    until(lambda: has_crossed(repository, "before"))
    promote_b(postgres_pair)
    keep(repository, a_cart(id="meanwhile"))
    assert repository.servers.roles.primary == 0

    repository.servers.look()
    keep(repository, a_cart(id="after"))

    assert (repository.servers.roles.primary, repository.servers.roles.timeline) == (1, 2)
    with psycopg.connect(postgres_pair.b.url()) as b, psycopg.connect(postgres_pair.a.url()) as a:
        found = "SELECT count(*) FROM carts WHERE id = 'after'"
        assert (a.execute(found).fetchone(), b.execute(found).fetchone()) == ((0,), (1,))


def test_addresses_may_change_places(postgres_pair: Pair, repository: PostgresRepository, tmp_path: Path) -> None:
    keep(repository, a_cart(id="before"))

    with open_repository(tmp_path, (postgres_pair.b.url(), postgres_pair.a.url())) as other:
        assert other.servers.roles.primary == 1
        keep(other, a_cart(id="after"))


def test_two_primaries_of_one_timeline_are_refused(postgres_pair: Pair, repository: PostgresRepository) -> None:
    """The standby was cut off and promoted twice over: forged here, because PostgreSQL itself begins another timeline."""
    servers = repository.servers

    with pytest.raises(SettingError, match="does not answer"):
        servers.roles.advance(primary=1, timeline=servers.roles.timeline, system=servers.roles.now().system)

    assert servers.roles.primary == 0


def test_the_servers_of_another_database_are_refused(
    postgres_pair: Pair, postgres_server: object, tmp_path: Path
) -> None:
    url = postgres_server.url()  # type: ignore[attr-defined]

    with (
        pytest.raises(SettingError, match="not copies of one another"),
        open_repository(tmp_path, (postgres_pair.a.url(), url)),
    ):
        pass
