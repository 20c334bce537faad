"""What a cart takes in, what it shows, and what it says when the shop has moved on."""

import pytest
from msgspec.structs import replace

from shop import cart as carts
from shop.cart import FREE_SHIPPING_FROM_CENTS, SHIPPING_CENTS, CartView
from shop.errors import Conflict, Invalid, NotFound
from shop.models import CART_LINES_MAX, QUANTITY_MAX, Cart
from shop.repository.contract import Repository
from tests.builders import NOW, a_line, a_product, cart_in, keep, keep_cart, keep_products


def add(repository: Repository, cart_id: str, product_id: str, quantity: int = 1) -> Cart:
    with repository.update() as unit:
        return carts.add(unit, cart_id, product_id, quantity, NOW)


def change(repository: Repository, cart_id: str, product_id: str, quantity: int) -> Cart:
    with repository.update() as unit:
        return carts.change(unit, cart_id, product_id, quantity, NOW)


def remove(repository: Repository, cart_id: str, product_id: str) -> carts.Removed:
    with repository.update() as unit:
        return carts.remove(unit, cart_id, product_id, NOW)


def restore(repository: Repository, cart_id: str, removed: carts.Removed) -> Cart:
    with repository.update() as unit:
        return carts.restore(unit, cart_id, removed, NOW)


def seen(repository: Repository, cart: Cart | None) -> CartView:
    """The cart as its page would show it now."""
    with repository.view() as unit:
        return carts.priced(unit, unit.cart(cart.id) if cart else None)


def quantities(cart: Cart) -> dict[str, int]:
    assert len({line.product_id for line in cart.lines}) == len(cart.lines)
    return {line.product_id: line.quantity for line in cart.lines}


# ---- adding


def test_the_first_product_makes_a_cart_with_an_id_nobody_can_guess(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)

    first = add(repository, "", product.id)
    second = add(repository, "", product.id)

    assert quantities(cart_in(repository, first)) == {product.id: 1}
    assert len(first.id) >= 12
    assert first.id != second.id
    assert first.checkout_key != second.checkout_key


def test_a_cart_that_is_gone_is_replaced_by_a_new_one_under_another_id(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)

    cart = add(repository, "lost", product.id)

    assert cart.id != "lost"
    assert quantities(cart_in(repository, cart)) == {product.id: 1}


def test_adding_again_adds_up_on_one_line(repository: Repository) -> None:
    product, other = a_product(), a_product()
    keep_products(repository, product, other)
    cart = add(repository, "", product.id, 2)
    add(repository, cart.id, other.id, 1)

    add(repository, cart.id, product.id, 3)

    assert list(quantities(cart_in(repository, cart)).items()) == [(product.id, 5), (other.id, 1)]


@pytest.mark.parametrize("quantity", [0, -1, QUANTITY_MAX + 1, 10**9])
def test_an_impossible_quantity_is_refused_beside_the_field(repository: Repository, quantity: int) -> None:
    product = a_product(stock=1000)
    keep_products(repository, product)

    with pytest.raises(Invalid, match="from 1 to 99") as refusal:
        add(repository, "", product.id, quantity)

    assert set(refusal.value.fields) == {"quantity"}


def test_the_quantity_limit_holds_for_the_sum(repository: Repository) -> None:
    product = a_product(stock=1000)
    keep_products(repository, product)
    cart = add(repository, "", product.id, QUANTITY_MAX)

    with pytest.raises(Invalid, match="99 are in your cart"):
        add(repository, cart.id, product.id, 1)

    assert quantities(cart_in(repository, cart)) == {product.id: QUANTITY_MAX}


def test_more_than_the_stock_is_refused_and_the_sentence_says_how_many_are_left(repository: Repository) -> None:
    product = a_product(name="Teapot", stock=3)
    keep_products(repository, product)
    cart = add(repository, "", product.id, 2)

    with pytest.raises(Invalid, match=r"Only 3 of Teapot are left, and your cart already has 2\."):
        add(repository, cart.id, product.id, 2)
    with pytest.raises(Invalid, match=r"^Only 3 of Teapot are left\.$"):
        add(repository, "", product.id, 4)


def test_the_last_one_can_be_added(repository: Repository) -> None:
    product = a_product(stock=1)
    keep_products(repository, product)

    assert quantities(add(repository, "", product.id, 1)) == {product.id: 1}
    with pytest.raises(Invalid, match="is left"):
        add(repository, "", product.id, 2)


def test_a_sold_out_product_is_refused_by_name(repository: Repository) -> None:
    product = a_product(name="Teapot", stock=0)
    keep_products(repository, product)

    with pytest.raises(Invalid, match="Teapot is sold out"):
        add(repository, "", product.id)


@pytest.mark.parametrize("fields", [{"is_archived": True}, None])
def test_what_is_not_sold_cannot_be_added(repository: Repository, fields: dict[str, bool] | None) -> None:
    product = a_product(**(fields or {}))
    if fields:
        keep_products(repository, product)

    with pytest.raises(NotFound):
        add(repository, "", product.id)


def test_a_full_cart_takes_more_of_what_it_has_but_no_other_product(repository: Repository) -> None:
    products = [a_product() for _ in range(CART_LINES_MAX + 1)]
    keep_products(repository, *products)
    cart = keep_cart(repository, *[a_line(product) for product in products[:-1]])

    add(repository, cart.id, products[0].id)
    with pytest.raises(Conflict, match="at most 50 different products"):
        add(repository, cart.id, products[-1].id)

    assert len(cart_in(repository, cart).lines) == CART_LINES_MAX


def test_adding_at_a_new_price_accepts_it(repository: Repository) -> None:
    product = a_product(price_cents=1000)
    keep_products(repository, product)
    cart = add(repository, "", product.id)
    keep(repository, replace(product, price_cents=1100))

    add(repository, cart.id, product.id)

    assert not seen(repository, cart).has_changed_prices


# ---- changing, removing, restoring


def test_a_quantity_is_changed(repository: Repository) -> None:
    product = a_product(stock=5)
    keep_products(repository, product)
    cart = add(repository, "", product.id, 2)

    change(repository, cart.id, product.id, 5)

    assert quantities(cart_in(repository, cart)) == {product.id: 5}


def test_a_change_above_the_stock_is_refused(repository: Repository) -> None:
    product = a_product(name="Teapot", stock=5)
    keep_products(repository, product)
    cart = add(repository, "", product.id, 2)

    with pytest.raises(Invalid, match="Only 5 of Teapot are left"):
        change(repository, cart.id, product.id, 6)

    assert quantities(cart_in(repository, cart)) == {product.id: 2}


def test_having_fewer_is_never_refused(repository: Repository) -> None:
    product = a_product(stock=1)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product, 5))

    change(repository, cart.id, product.id, 4)

    assert quantities(cart_in(repository, cart)) == {product.id: 4}


@pytest.mark.parametrize("quantity", [0, -1, 100, 10**9])
def test_a_change_to_an_impossible_quantity_is_refused(repository: Repository, quantity: int) -> None:
    product = a_product(stock=1000)
    keep_products(repository, product)
    cart = add(repository, "", product.id)

    with pytest.raises(Invalid):
        change(repository, cart.id, product.id, quantity)


def test_changing_does_not_accept_a_new_price(repository: Repository) -> None:
    product = a_product(price_cents=1000)
    keep_products(repository, product)
    cart = add(repository, "", product.id)
    keep(repository, replace(product, price_cents=1100))

    change(repository, cart.id, product.id, 2)

    assert seen(repository, cart).has_changed_prices


def test_a_line_that_is_not_there_cannot_be_changed_or_removed(repository: Repository) -> None:
    product, other = a_product(), a_product()
    keep_products(repository, product, other)
    cart = add(repository, "", product.id)

    for cart_id, product_id in [(cart.id, other.id), ("unknown", product.id), ("", product.id)]:
        with pytest.raises(NotFound):
            change(repository, cart_id, product_id, 2)
        with pytest.raises(NotFound):
            remove(repository, cart_id, product_id)


def test_removing_can_be_undone_to_the_same_place_and_price(repository: Repository) -> None:
    products = [a_product(price_cents=1000), a_product(price_cents=2000), a_product(price_cents=3000)]
    keep_products(repository, *products)
    cart = keep_cart(repository, *[a_line(product, 2) for product in products])
    keep(repository, replace(products[1], price_cents=2500, stock=0))

    removed = remove(repository, cart.id, products[1].id)
    assert list(quantities(cart_in(repository, cart))) == [products[0].id, products[2].id]
    restore(repository, cart.id, removed)

    assert removed.product_name == products[1].name
    assert cart_in(repository, cart).lines == cart.lines


def test_undo_leaves_a_product_alone_that_is_in_the_cart_again(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)
    cart = add(repository, "", product.id, 2)
    removed = remove(repository, cart.id, product.id)
    add(repository, cart.id, product.id, 5)

    restore(repository, cart.id, removed)
    restore(repository, cart.id, removed)

    assert quantities(cart_in(repository, cart)) == {product.id: 5}


@pytest.mark.parametrize("fields", [{"quantity": 0}, {"quantity": 10**9}, {"quantity": -5}])
def test_undo_takes_no_impossible_quantity(repository: Repository, fields: dict[str, int]) -> None:
    product = a_product()
    keep_products(repository, product)
    cart = add(repository, "", product.id, 2)
    removed = remove(repository, cart.id, product.id)

    with pytest.raises(Invalid):
        restore(repository, cart.id, replace(removed, **fields))


def test_undo_takes_no_unknown_product_and_no_place_outside_the_cart(repository: Repository) -> None:
    product, other = a_product(), a_product()
    keep_products(repository, product, other)
    cart = add(repository, "", product.id)
    add(repository, cart.id, other.id)
    removed = remove(repository, cart.id, product.id)

    with pytest.raises(NotFound):
        restore(repository, cart.id, replace(removed, product_id="unknown"))
    restore(repository, cart.id, replace(removed, place=-7))

    assert list(quantities(cart_in(repository, cart))) == [product.id, other.id]


# ---- what it costs


@pytest.mark.parametrize(
    ("price_cents", "shipping_cents", "missing_cents"),
    [(1, SHIPPING_CENTS, FREE_SHIPPING_FROM_CENTS - 1), (4999, SHIPPING_CENTS, 1), (5000, 0, 0), (5001, 0, 0)],
)
def test_shipping_is_flat_and_free_from_a_subtotal_on(
    repository: Repository, price_cents: int, shipping_cents: int, missing_cents: int
) -> None:
    product = a_product(price_cents=price_cents)
    keep_products(repository, product)

    view = seen(repository, add(repository, "", product.id))

    assert view.subtotal_cents == price_cents
    assert view.shipping_cents == shipping_cents
    assert view.free_shipping_missing_cents == missing_cents
    assert view.total_cents == price_cents + shipping_cents


def test_a_cart_adds_up(repository: Repository) -> None:
    cup, pot = a_product(price_cents=333), a_product(price_cents=1999)
    keep_products(repository, cup, pot)

    view = seen(repository, keep_cart(repository, a_line(cup, 3), a_line(pot, 1)))

    assert [line.total_cents for line in view.lines] == [999, 1999]
    assert view.subtotal_cents == 2998
    assert view.total_cents == 2998 + SHIPPING_CENTS
    assert view.quantity == 4
    assert view.can_check_out


@pytest.mark.parametrize("has_cart", [True, False])
def test_an_empty_cart_costs_nothing_and_cannot_be_ordered(repository: Repository, has_cart: bool) -> None:
    view = seen(repository, keep_cart(repository) if has_cart else None)

    assert view.is_empty
    assert not view.can_check_out
    assert (view.subtotal_cents, view.shipping_cents, view.total_cents) == (0, 0, 0)
    assert view.free_shipping_missing_cents == 0


def test_a_changed_price_is_shown_with_the_old_one_and_stops_the_checkout_until_accepted(
    repository: Repository,
) -> None:
    product = a_product(price_cents=1000)
    keep_products(repository, product)
    cart = add(repository, "", product.id, 2)
    keep(repository, replace(product, price_cents=1200))

    changed = seen(repository, cart)
    with repository.update() as unit:
        carts.accept_prices(unit, cart.id, NOW)
    accepted = seen(repository, cart)

    assert changed.lines[0].is_price_changed
    assert (changed.lines[0].price_seen_cents, changed.lines[0].product.price_cents) == (1000, 1200)
    assert changed.subtotal_cents == 2400
    assert not changed.can_check_out
    assert not accepted.has_changed_prices
    assert accepted.can_check_out


def test_accepting_the_prices_of_no_cart_is_refused(repository: Repository) -> None:
    with pytest.raises(NotFound), repository.update() as unit:
        carts.accept_prices(unit, "unknown", NOW)


def test_too_few_left_is_shown_with_their_number_and_stops_the_checkout(repository: Repository) -> None:
    product = a_product(stock=5)
    keep_products(repository, product)
    cart = add(repository, "", product.id, 4)
    keep(repository, replace(product, stock=3))

    view = seen(repository, cart)

    assert view.lines[0].exceeds_stock
    assert view.lines[0].available == 3
    assert not view.can_check_out


def test_an_archived_product_stays_in_sight_costs_nothing_and_stops_the_checkout(repository: Repository) -> None:
    gone, sold = a_product(price_cents=1000), a_product(price_cents=700)
    keep_products(repository, gone, sold)
    cart = keep_cart(repository, a_line(gone), a_line(sold))
    keep(repository, replace(gone, is_archived=True, price_cents=1))

    view = seen(repository, cart)

    assert [line.is_unavailable for line in view.lines] == [True, False]
    assert not view.lines[0].is_price_changed
    assert view.subtotal_cents == 700
    assert not view.can_check_out


def test_a_cart_of_archived_products_alone_has_no_shipping_to_pay(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)
    cart = add(repository, "", product.id)
    keep(repository, replace(product, is_archived=True))

    assert seen(repository, cart).total_cents == 0


def test_a_line_of_a_product_that_never_arrived_is_left_out(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product), a_line(a_product()))

    assert [line.product for line in seen(repository, cart).lines] == [product]
