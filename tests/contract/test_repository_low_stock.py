"""What runs out of stock, the fewest first; sales and edits move it in and out of the list."""

from msgspec.structs import replace

from shop.models import LOW_STOCK_MAX
from shop.repository.contract import Repository
from shop.units import Page
from tests.builders import a_product, keep, keep_products, names, order_of, product_in


def low(repository: Repository, *, page: int = 1, size: int = 10) -> Page:
    with repository.view() as unit:
        return unit.products_low_in_stock(page=page, size=size)


def test_the_fewest_come_first_and_what_there_is_enough_of_is_not_listed(repository):
    keep_products(
        repository,
        a_product(name="Enough", stock=LOW_STOCK_MAX + 1),
        a_product(name="Last five", stock=LOW_STOCK_MAX),
        a_product(name="Beta", stock=0),
        a_product(name="alpha", stock=0),
        a_product(name="Not sold any more", stock=0, is_archived=True),
    )

    assert names(low(repository).items) == ["alpha", "Beta", "Last five"]
    assert low(repository, size=2).total == 3
    assert names(low(repository, page=2, size=2).items) == ["Last five"]


def test_a_sale_brings_a_product_into_the_list_and_moves_it_up(repository):
    mug, cup = a_product(name="Mug", stock=LOW_STOCK_MAX + 2), a_product(name="Cup", stock=3)
    keep_products(repository, mug, cup)
    assert names(low(repository).items) == ["Cup"]

    order_of(repository, (mug, 2))
    assert names(low(repository).items) == ["Cup", "Mug"]

    order_of(repository, (mug, 4))
    assert [(product.name, product.stock) for product in low(repository).items] == [("Mug", 1), ("Cup", 3)]


def test_a_delivery_and_the_archive_take_a_product_out_of_the_list(repository):
    mug, cup = a_product(name="Mug", stock=1), a_product(name="Cup", stock=2)
    keep_products(repository, mug, cup)
    assert names(low(repository).items) == ["Mug", "Cup"]

    keep(repository, replace(product_in(repository, mug), stock=100))
    assert names(low(repository).items) == ["Cup"]

    keep(repository, replace(product_in(repository, cup), is_archived=True))
    assert low(repository).total == 0


def test_an_update_sees_its_own_changes_in_the_list(repository):
    mug = a_product(stock=100)
    keep_products(repository, mug)

    with repository.update() as unit:
        unit.put_product(replace(mug, stock=1))
        assert unit.products_low_in_stock(page=1, size=10).total == 1
