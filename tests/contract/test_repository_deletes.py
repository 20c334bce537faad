"""What was never sold to anybody can be taken out whole; no shopkeeper and no buyer comes here, drills do."""

from shop.repository.contract import Repository
from shop.units import CatalogQuery
from tests.builders import a_product, an_order, keep, keep_products
from tests.contract.backends import Backend


def test_a_deleted_product_is_gone_and_its_names_are_free(repository: Repository) -> None:
    product, other = a_product(), a_product()
    keep_products(repository, product, other)

    with repository.update() as unit:
        unit.delete_product(product.id)
        assert unit.product(product.id) is None

    with repository.view() as unit:
        assert unit.product(product.id) is None
        assert unit.product_by_slug(product.slug) is None
        assert [found.id for found in unit.catalog(CatalogQuery()).items] == [other.id]
    keep_products(repository, a_product(sku=product.sku, slug=product.slug))


def test_a_deleted_order_is_gone_and_its_number_is_not_issued_again(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)
    with repository.update() as unit:
        order = an_order(product, number=unit.next_order_number())
        unit.put_order(order)

    with repository.update() as unit:
        unit.delete_order(order.number)
        unit.delete_product(product.id)

    with repository.view() as unit:
        assert unit.order(order.number) is None
        assert unit.order_by_checkout_key(order.checkout_key) is None
        assert unit.orders(words="", status="", page=1, size=10).total == 0
        assert unit.counts()["orders"] == 0
    with repository.update() as unit:
        assert unit.next_order_number() != order.number


def test_deleting_what_is_not_there_is_no_error_and_no_commit(repository: Repository) -> None:
    told: list[object] = []
    repository.after_commit.append(told.append)

    with repository.update() as unit:
        unit.delete_order("A1-99999")
        unit.delete_product("unknown")

    assert told == []


def test_what_was_deleted_stays_so_after_a_restart(backend: Backend) -> None:
    product = a_product()
    keep_products(backend.repository(), product)
    order = an_order(product)
    keep(backend.repository(), order)
    with backend.repository().update() as unit:
        unit.delete_order(order.number)
        unit.delete_product(product.id)

    with backend.restart().view() as unit:
        assert unit.order(order.number) is None
        assert unit.product(product.id) is None
