"""A unit of work: all of it or nothing, and a view that stands still."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from shop.errors import Invalid
from shop.repository.contract import Repository
from shop.units import CatalogQuery, Position, WriteUnit
from tests.builders import (
    a_cart,
    a_category,
    a_line,
    a_product,
    an_order,
    keep,
    keep_products,
    names,
    order_of,
    product_in,
)


class Interrupted(Exception):
    """Stands for anything that can go wrong in the middle of an update."""


def change_and_raise(
    repository: Repository, change: Callable[[WriteUnit], None], raised: type[BaseException] = Interrupted
) -> None:
    with repository.update() as unit:
        change(unit)
        raise raised


# ---- all or nothing


def test_leaving_the_block_keeps_everything_in_it(repository: Repository) -> None:
    product, category, cart, order = a_product(category_id="c"), a_category(id="c"), a_cart(), an_order()

    with repository.update() as unit:
        unit.put_product(product)
        unit.put_category(category)
        unit.put_cart(cart)
        unit.put_order(order)

    with repository.view() as unit:
        assert unit.product(product.id) == product
        assert unit.category(category.id) == category
        assert unit.cart(cart.id) == cart
        assert unit.order(order.number) == order


@pytest.mark.parametrize("raised", [Interrupted, KeyboardInterrupt, SystemExit])
def test_raising_in_the_block_discards_everything_in_it(repository: Repository, raised: type[BaseException]) -> None:
    kept = a_product(name="Before", stock=5)
    keep_products(repository, kept)

    def change(unit: WriteUnit) -> None:
        unit.put_product(replace(kept, name="After", stock=4))
        unit.put_product(a_product(id="new"))
        unit.put_cart(a_cart(id="new"))
        unit.put_order(an_order(number="A1-1"))

    with pytest.raises(raised):
        change_and_raise(repository, change, raised)

    with repository.view() as unit:
        assert unit.product(kept.id) == kept
        assert unit.product("new") is None
        assert unit.cart("new") is None
        assert unit.order("A1-1") is None


def test_a_discarded_update_is_no_commit_and_leaves_the_way_free(repository: Repository) -> None:
    told: list[Position] = []
    repository.after_commit.append(told.append)

    with pytest.raises(Interrupted):
        change_and_raise(repository, lambda unit: unit.put_cart(a_cart()))
    discarded = list(told)
    keep(repository, a_cart(id="next"))

    assert discarded == []
    assert len(told) == 1
    with repository.view() as unit:
        assert unit.cart("next") is not None


def test_a_discarded_delete_deletes_nothing(repository: Repository) -> None:
    cart = a_cart()
    keep(repository, cart)

    with pytest.raises(Interrupted):
        change_and_raise(repository, lambda unit: unit.delete_cart(cart.id))

    with repository.view() as unit:
        assert unit.cart(cart.id) == cart


def test_a_refused_record_leaves_the_others_of_its_unit(repository: Repository) -> None:
    """The rules may catch a refusal and go on; what was refused is then not there, what was put is."""
    keep_products(repository, a_product(sku="TAKEN"))

    with repository.update() as unit:
        unit.put_product(a_product(id="first"))
        with pytest.raises(Invalid):
            unit.put_product(a_product(id="refused", sku="TAKEN"))
        unit.put_product(a_product(id="second"))

    with repository.view() as unit:
        assert set(unit.products(["first", "refused", "second"])) == {"first", "second"}


def test_each_commit_is_told_and_moves_the_position_forward(repository: Repository) -> None:
    told: list[Position] = []
    repository.after_commit.append(told.append)
    seen = []
    for _ in range(3):
        with repository.view() as unit:
            seen.append(unit.position())
        keep(repository, a_cart(), a_cart())

    with repository.view() as unit:
        end = unit.position()
    assert len(told) == 3
    for before, committed, after in zip(seen, told, [*seen[1:], end], strict=True):
        assert before.lsn < committed.lsn <= after.lsn
        assert before.timeline == committed.timeline == after.timeline


def test_an_update_that_changes_nothing_is_no_commit(repository: Repository) -> None:
    told: list[Position] = []
    repository.after_commit.append(told.append)

    with repository.update() as unit:
        unit.product("unknown")
        unit.delete_cart("unknown")

    assert told == []


# ---- an update reads its own changes


def test_an_update_reads_what_it_put(repository: Repository) -> None:
    product, category = a_product(slug="pot", sku="POT", category_id="tea"), a_category(id="tea", slug="tea")
    cart, order = a_cart(), an_order(checkout_key="key")

    with repository.update() as unit:
        unit.put_category(category)
        unit.put_product(product)
        unit.put_cart(cart)
        unit.put_order(order)

        assert unit.product(product.id) == product
        assert unit.product_by_slug("pot") == product
        assert unit.product_by_sku("POT") == product
        assert unit.products([product.id, "unknown"]) == {product.id: product}
        assert unit.category(category.id) == category
        assert unit.category_by_slug("tea") == category
        assert unit.cart(cart.id) == cart
        assert unit.order(order.number) == order
        assert unit.order_by_checkout_key("key") == order


def test_an_update_reads_its_own_changes_in_lists(repository: Repository) -> None:
    kept = a_product(name="Kept", category_id="c")
    keep_products(repository, kept, a_product(name="Archived later", id="a", category_id="c"))

    with repository.update() as unit:
        unit.put_product(a_product(name="Added", category_id="c"))
        unit.put_product(replace(kept, name="Renamed"))
        unit.put_product(a_product(name="Archived later", id="a", category_id="c", is_archived=True))
        unit.put_category(a_category(name="New", rank=9))
        unit.put_order(an_order(number="A1-1"))

        assert names(unit.catalog(CatalogQuery()).items) == ["Added", "Renamed"]
        assert names(unit.admin_products(words="", archived=True, page=1, size=9).items) == ["Archived later"]
        assert [category.name for category in unit.categories()] == ["C", "New"]
        assert [order.number for order in unit.orders(words="", status="", page=1, size=9).items] == ["A1-1"]
        assert unit.counts()["products"] == 3


def test_an_update_does_not_find_what_it_moved_away(repository: Repository) -> None:
    product = a_product(sku="OLD")
    keep_products(repository, product)

    with repository.update() as unit:
        unit.put_product(replace(product, sku="NEW"))

        assert unit.product_by_sku("OLD") is None
        assert unit.product_by_sku("NEW") is not None
        unit.put_product(a_product(sku="OLD"))


def test_an_update_does_not_find_what_it_deleted(repository: Repository) -> None:
    cart = a_cart()
    keep(repository, cart)

    with repository.update() as unit:
        unit.delete_cart(cart.id)
        assert unit.cart(cart.id) is None

    with repository.view() as unit:
        assert unit.cart(cart.id) is None


def test_the_next_update_reads_what_the_last_one_kept(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)

    for _ in range(5):
        with repository.update() as unit:
            found = unit.product(product.id)
            assert found is not None
            unit.put_product(replace(found, stock=found.stock - 1))

    assert product_in(repository, product).stock == 5


# ---- a view stands still


def test_a_view_does_not_see_what_is_kept_meanwhile(repository: Repository) -> None:
    product, cart = a_product(name="Before"), a_cart()
    keep_products(repository, product)
    keep(repository, cart)

    with repository.view() as unit:
        before = (unit.position(), unit.counts())
        with ThreadPoolExecutor(1) as other:
            other.submit(_change_everything, repository, product.id, cart.id).result()

        assert unit.product(product.id) == product
        assert unit.cart(cart.id) == cart
        assert unit.product("new") is None
        assert unit.product_by_sku("NEW") is None
        assert names(unit.catalog(CatalogQuery()).items) == ["Before"]
        assert unit.orders(words="", status="", page=1, size=9).total == 0
        assert (unit.position(), unit.counts()) == before

    with repository.view() as unit:
        assert names(unit.catalog(CatalogQuery()).items) == ["After", "New"]


def _change_everything(repository: Repository, product_id: str, cart_id: str) -> None:
    with repository.update() as unit:
        product = unit.product(product_id)
        assert product is not None
        unit.put_product(replace(product, name="After"))
        unit.put_product(a_product(id="new", name="New", sku="NEW", category_id=product.category_id))
        unit.delete_cart(cart_id)
        unit.put_order(an_order())


def test_an_old_view_and_a_new_one_list_each_its_own_shop(repository: Repository) -> None:
    """The lists of one must not be answered from what was prepared for the other, whichever asked last."""
    product = a_product(name="First", stock=1)
    keep_products(repository, product)

    with repository.view() as old:
        keep(repository, replace(product, name="Second", stock=0))
        with repository.view() as new:
            for _ in range(2):
                assert names(old.catalog(CatalogQuery()).items) == ["First"]
                assert names(new.catalog(CatalogQuery()).items) == ["Second"]
                assert names(old.catalog(CatalogQuery(words="first", in_stock=True)).items) == ["First"]
                assert names(new.catalog(CatalogQuery(in_stock=True)).items) == []


def test_nobody_sees_an_update_before_it_is_kept(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)

    with repository.update() as unit:
        unit.put_product(replace(product, stock=9))
        with ThreadPoolExecutor(1) as other:
            seen = other.submit(product_in, repository, product).result()

    assert seen.stock == 10
    assert product_in(repository, product).stock == 9


def test_records_do_not_change_in_the_hands_of_who_read_them(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    held = product_in(repository, product)

    order_of(repository, (product, 3))

    assert held.stock == 10


# ---- readiness


def test_a_healthy_shop_says_that_it_can_be_written(repository: Repository) -> None:
    assert repository.is_writable()
    assert repository.why_read_only() == ""


def test_a_cart_line_of_a_view_is_what_was_put(repository: Repository) -> None:
    product = a_product()
    cart = a_cart(a_line(product, 3))
    keep(repository, cart)

    with repository.view() as unit:
        kept = unit.cart(cart.id)

    assert kept is not None
    assert kept.lines == (a_line(product, 3),)
