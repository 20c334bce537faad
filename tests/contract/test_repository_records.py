"""Records are kept whole, found by their keys, and no two share a key that must be theirs alone."""

import pytest
from msgspec.structs import replace

from shop.errors import Conflict, Invalid
from shop.models import (
    DESCRIPTION_LENGTH_MAX,
    PRICE_CENTS_MAX,
    STOCK_MAX,
    Admin,
    OrderStatus,
    Product,
)
from shop.repository.contract import Repository
from tests.builders import (
    a_cart,
    a_category,
    a_customer,
    a_line,
    a_product,
    an_order,
    cart_in,
    keep,
    keep_products,
    product_in,
)

TEXTS = [
    "Crème brûlée",
    "茶壶 🫖",
    "\"quotes\" \\ and 'others'",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "'; DROP TABLE products; --",
    "=1+1",
    "two\nlines\tand a tab",
    "\u2028\u2029\u00a0\u200d",
    "100% _wild*",
    "null",
    "x" * DESCRIPTION_LENGTH_MAX,
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_kept_to_the_letter(repository: Repository, text: str) -> None:
    product = a_product(name=text, description=text)
    order = an_order(product, customer=a_customer(name=text, note=text))
    keep_products(repository, product)
    keep(repository, order)

    with repository.view() as unit:
        assert unit.product(product.id) == product
        assert unit.order(order.number) == order


@pytest.mark.parametrize(
    "product",
    [
        a_product(price_cents=PRICE_CENTS_MAX, stock=STOCK_MAX, version=10**6),
        a_product(price_cents=1, stock=0),
        a_product(is_archived=True, picture="pictures/a.svg", description=""),
    ],
    ids=["most", "least", "archived"],
)
def test_a_product_is_kept_whole(repository: Repository, product: Product) -> None:
    keep_products(repository, product)

    assert product_in(repository, product) == product


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_is_kept_whole_in_every_status(repository: Repository, status: OrderStatus) -> None:
    order = an_order(a_product(), a_product(), status=status, sent_at="2026-01-02T00:00:00Z", version=3)
    keep(repository, order)

    with repository.view() as unit:
        kept = unit.order(order.number)

    assert kept == order
    assert kept is not None
    assert kept.status is status


def test_an_admin_is_kept_and_replaced(repository: Repository) -> None:
    admin = Admin(id="admin", password_hash="$argon2id$first", changed_at="2026-01-01T00:00:00Z")

    for kept in (admin, replace(admin, password_hash="$argon2id$second")):
        with repository.update() as unit:
            unit.put_admin(kept)
        with repository.view() as unit:
            assert unit.admin("admin") == kept
            assert unit.admin("other") is None


def test_a_cart_is_replaced_and_deleted(repository: Repository) -> None:
    cart = a_cart(a_line(a_product()))
    keep(repository, cart)
    keep(repository, replace(cart, lines=()))
    assert cart_in(repository, cart).lines == ()

    with repository.update() as unit:
        unit.delete_cart(cart.id)

    with repository.view() as unit:
        assert unit.cart(cart.id) is None
        assert unit.counts()["carts"] == 0


def test_what_is_not_there_is_none(repository: Repository) -> None:
    keep_products(repository, a_product())

    for unknown in ("", "unknown", "x" * 10_000, "\x00", "'"):
        with repository.view() as unit:
            assert unit.product(unknown) is None
            assert unit.product_by_slug(unknown) is None
            assert unit.product_by_sku(unknown) is None
            assert unit.category(unknown) is None
            assert unit.category_by_slug(unknown) is None
            assert unit.cart(unknown) is None
            assert unit.order(unknown) is None
            assert unit.order_by_checkout_key(unknown) is None
            assert unit.admin(unknown) is None
            assert unit.products([unknown]) == {}


def test_products_are_found_by_id_slug_and_sku_archived_or_not(repository: Repository) -> None:
    sold, archived = a_product(slug="a", sku="A"), a_product(slug="b", sku="B", is_archived=True)
    keep_products(repository, sold, archived)

    with repository.view() as unit:
        assert unit.products([archived.id, sold.id, "unknown", sold.id]) == {sold.id: sold, archived.id: archived}
        assert (unit.product_by_slug("a"), unit.product_by_slug("b")) == (sold, archived)
        assert (unit.product_by_sku("A"), unit.product_by_sku("B")) == (sold, archived)


@pytest.mark.parametrize(("key", "field"), [("sku", "sku"), ("slug", "name")])
def test_two_products_cannot_share_a_key(repository: Repository, key: str, field: str) -> None:
    keep_products(repository, a_product(**{key: "taken"}))
    other = a_product()

    with pytest.raises(Invalid) as refusal, repository.update() as unit:
        unit.put_product(replace(other, **{key: "taken"}))

    assert set(refusal.value.fields) == {field}
    with repository.view() as unit:
        assert unit.product(other.id) is None


@pytest.mark.parametrize("key", ["sku", "slug"])
def test_two_products_of_one_update_cannot_share_a_key_either(repository: Repository, key: str) -> None:
    with pytest.raises(Invalid):
        keep(repository, a_product(**{key: "taken"}), a_product(**{key: "taken"}))

    with repository.view() as unit:
        assert unit.counts()["products"] == 0


def test_a_product_keeps_its_own_keys_when_it_is_changed(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)

    keep(repository, replace(product, name="Changed"))

    assert product_in(repository, product).name == "Changed"


def test_a_key_that_was_given_up_can_be_taken(repository: Repository) -> None:
    first = a_product(sku="WANTED")
    keep_products(repository, first)
    keep(repository, replace(first, sku="OTHER"))

    second = a_product(sku="WANTED")
    keep(repository, second)

    with repository.view() as unit:
        assert unit.product_by_sku("WANTED") == second


def test_two_products_can_swap_keys_in_one_update(repository: Repository) -> None:
    first, second = a_product(sku="ONE"), a_product(sku="TWO")
    keep_products(repository, first, second)

    keep(repository, replace(first, sku="AWAY"), replace(second, sku="ONE"), replace(first, sku="TWO"))

    with repository.view() as unit:
        assert unit.product_by_sku("ONE") == replace(second, sku="ONE")
        assert unit.product_by_sku("TWO") == replace(first, sku="TWO")
        assert unit.product_by_sku("AWAY") is None


def test_two_categories_cannot_share_a_slug(repository: Repository) -> None:
    keep(repository, a_category(slug="tea"))

    with pytest.raises(Invalid) as refusal:
        keep(repository, a_category(slug="tea"))

    assert set(refusal.value.fields) == {"name"}


def test_two_orders_cannot_share_a_checkout_key(repository: Repository) -> None:
    keep(repository, an_order(checkout_key="key"))

    with pytest.raises(Conflict):
        keep(repository, an_order(checkout_key="key"))

    with repository.view() as unit:
        assert unit.counts()["orders"] == 1


def test_two_orders_of_one_update_cannot_share_a_checkout_key_either(repository: Repository) -> None:
    first, second = an_order(checkout_key="key"), an_order(checkout_key="key")

    with repository.update() as unit:
        assert unit.order_by_checkout_key("key") is None
        unit.put_order(first)
        with pytest.raises(Conflict):
            unit.put_order(second)

    with repository.view() as unit:
        assert unit.order_by_checkout_key("key") == first
        assert unit.counts()["orders"] == 1


def test_the_menu_is_in_order_of_rank_then_name(repository: Repository) -> None:
    for name, rank in [("Zebra", 1), ("émile", 2), ("Apple", 2), ("Fig", 2), ("Last", 9)]:
        keep(repository, a_category(name=name, rank=rank))

    with repository.view() as unit:
        assert [category.name for category in unit.categories()] == ["Zebra", "Apple", "émile", "Fig", "Last"]


def test_a_renamed_category_moves_in_the_menu(repository: Repository) -> None:
    category = a_category(name="A")
    keep(repository, category, a_category(name="B"))
    with repository.view() as unit:
        assert [kept.name for kept in unit.categories()] == ["A", "B"]

    keep(repository, replace(category, name="C", version=2))

    with repository.view() as unit:
        assert [kept.name for kept in unit.categories()] == ["B", "C"]


def test_records_are_counted_by_collection(repository: Repository) -> None:
    keep_products(repository, a_product(), a_product(is_archived=True))
    keep(repository, a_cart(), an_order(), an_order(), an_order())

    with repository.view() as unit:
        counts = unit.counts()

    assert counts == {"categories": 1, "products": 2, "carts": 1, "orders": 3, "counters": 0, "admins": 0}
