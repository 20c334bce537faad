"""An order is made once, of what the customer was shown; its stock is taken then and goes back when it is cancelled."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shop import cart as carts
from shop import orders
from shop.cart import SHIPPING_CENTS
from shop.errors import CartChanged, Conflict, Invalid, NotFound, StaleVersion
from shop.models import Cart, Order, OrderStatus, timestamp
from shop.repository.contract import Repository
from tests.builders import (
    CURRENCY,
    NOW,
    a_cart,
    a_customer,
    a_line,
    a_product,
    cart_in,
    customer_form,
    keep,
    keep_cart,
    keep_products,
    order_of,
    place_order,
    product_in,
    stock_of,
)

LATER = NOW + timedelta(hours=1)


def place(repository: Repository, cart: Cart, expected_total_cents: int, *, checkout_key: str | None = None) -> Order:
    with repository.update() as unit:
        return orders.place(
            unit,
            cart.id,
            a_customer(),
            checkout_key=cart.checkout_key if checkout_key is None else checkout_key,
            expected_total_cents=expected_total_cents,
            now=NOW,
            currency=CURRENCY,
        )


def cancel(repository: Repository, order: Order, *, version: int | None = None) -> Order:
    with repository.update() as unit:
        return orders.cancel(unit, order.number, order.version if version is None else version, LATER)


def mark_sent(repository: Repository, order: Order, *, version: int | None = None) -> Order:
    with repository.update() as unit:
        return orders.mark_sent(unit, order.number, order.version if version is None else version, LATER)


def orders_in(repository: Repository) -> int:
    with repository.view() as unit:
        return unit.counts()["orders"]


# ---- placing


def test_an_order_keeps_what_was_bought_as_it_was(repository: Repository) -> None:
    cup, pot = a_product(name="Cup", price_cents=500), a_product(name="Pot", price_cents=2000)
    keep_products(repository, cup, pot)
    cart = keep_cart(repository, a_line(cup, 3), a_line(pot))

    order = place(repository, cart, 3500 + SHIPPING_CENTS)
    keep(repository, replace(product_in(repository, cup), name="Renamed", price_cents=9900))

    with repository.view() as unit:
        kept = unit.order(order.number)
    assert kept == order
    assert [(line.name, line.price_cents, line.quantity, line.total_cents) for line in order.lines] == [
        ("Cup", 500, 3, 1500),
        ("Pot", 2000, 1, 2000),
    ]
    assert (order.subtotal_cents, order.shipping_cents, order.total_cents) == (3500, 490, 3990)
    assert (order.status, order.currency, order.placed_at) == (OrderStatus.PLACED, "EUR", timestamp(NOW))
    assert order.customer == a_customer()


def test_an_order_takes_its_stock_and_empties_the_cart(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product, 4))

    place_order(repository, cart)

    kept = cart_in(repository, cart)
    assert stock_of(repository, product) == 6
    assert kept.lines == ()
    assert kept.checkout_key != cart.checkout_key


def test_a_sale_is_no_edit_of_the_product(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)

    order_of(repository, (product, 1))

    assert product_in(repository, product) == replace(product, stock=9)


def test_the_last_one_can_be_sold(repository: Repository) -> None:
    product = a_product(stock=2)
    keep_products(repository, product)

    order_of(repository, (product, 2))

    assert stock_of(repository, product) == 0


def test_the_same_checkout_makes_one_order_however_often_it_is_sent(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product, 4))

    first = place_order(repository, cart)
    again = place(repository, cart, first.total_cents)
    with_another_total = place(repository, cart, 1)

    assert first == again == with_another_total
    assert orders_in(repository) == 1
    assert stock_of(repository, product) == 6


def test_sending_a_checkout_again_does_not_touch_the_next_cart(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product, 4))
    first = place_order(repository, cart)
    with repository.update() as unit:
        carts.add(unit, cart.id, product.id, 2, NOW)

    again = place(repository, cart, first.total_cents)

    assert again == first
    assert [line.quantity for line in cart_in(repository, cart).lines] == [2]


def test_the_next_cart_makes_the_next_order(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product))
    first = place_order(repository, cart)
    with repository.update() as unit:
        refilled = carts.add(unit, cart.id, product.id, 1, NOW)

    second = place_order(repository, refilled)

    assert first.number != second.number
    assert orders_in(repository) == 2


def test_a_checkout_of_another_moment_is_refused(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product))

    for key in ("", "unknown"):
        with pytest.raises(Conflict, match="out of date"):
            place(repository, cart, 1250 + SHIPPING_CENTS, checkout_key=key)

    assert orders_in(repository) == 0


def test_an_empty_or_unknown_cart_is_refused(repository: Repository) -> None:
    for cart in (keep_cart(repository), a_cart(), a_cart(id="")):
        with pytest.raises(Conflict, match="empty"):
            place(repository, cart, 0)


def test_a_changed_price_is_told_and_nothing_is_ordered(repository: Repository) -> None:
    product, other = a_product(name="Teapot", price_cents=1000), a_product()
    keep_products(repository, product, other)
    cart = keep_cart(repository, a_line(product), a_line(other))
    keep(repository, replace(product, price_cents=900))

    with pytest.raises(CartChanged) as refusal:
        place_order(repository, cart)

    assert refusal.value.problems == {product.id: "The price of Teapot changed."}
    assert orders_in(repository) == 0
    assert stock_of(repository, other) == other.stock
    assert cart_in(repository, cart) == cart


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"stock": 2}, "Only 2 of Teapot are left."),
        ({"stock": 1}, "Only 1 of Teapot is left."),
        ({"stock": 0}, "Teapot is sold out."),
        ({"is_archived": True}, "Teapot is not sold any more."),
    ],
)
def test_what_cannot_be_delivered_is_told(repository: Repository, fields: dict[str, int], sentence: str) -> None:
    product = a_product(name="Teapot", stock=10)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product, 3))
    keep(repository, replace(product, **fields))

    with pytest.raises(CartChanged) as refusal:
        place_order(repository, cart)

    assert refusal.value.problems == {product.id: sentence}
    assert orders_in(repository) == 0


def test_every_line_that_changed_is_told(repository: Repository) -> None:
    first, second, third = a_product(stock=1), a_product(), a_product(is_archived=True)
    keep_products(repository, first, second, third)
    cart = keep_cart(repository, a_line(first, 2), a_line(second), a_line(third))

    with pytest.raises(CartChanged) as refusal:
        place_order(repository, cart)

    assert set(refusal.value.problems) == {first.id, third.id}


@pytest.mark.parametrize("expected_total_cents", [0, -1, 1739, 1741, 10**9])
def test_only_the_total_that_was_shown_is_charged(repository: Repository, expected_total_cents: int) -> None:
    product = a_product(price_cents=1250)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product))

    with pytest.raises(CartChanged):
        place(repository, cart, expected_total_cents)

    assert orders_in(repository) == 0
    assert place(repository, cart, 1250 + SHIPPING_CENTS).total_cents == 1740


def test_numbers_run_on_and_name_their_timeline(repository: Repository) -> None:
    product = a_product()
    keep_products(repository, product)

    numbers = [order_of(repository, (product, 1)).number for _ in range(3)]

    assert numbers == ["A1-10001", "A1-10002", "A1-10003"]


# ---- cancelling and sending


def test_cancelling_puts_the_stock_back(repository: Repository) -> None:
    cup, pot = a_product(stock=10), a_product(stock=5)
    keep_products(repository, cup, pot)
    order = order_of(repository, (cup, 3), (pot, 5))

    cancelled = cancel(repository, order)

    assert (stock_of(repository, cup), stock_of(repository, pot)) == (10, 5)
    assert cancelled.status is OrderStatus.CANCELLED
    assert cancelled.cancelled_at == timestamp(LATER)
    assert cancelled.version == order.version + 1


def test_cancelling_puts_the_stock_of_archived_products_back_too(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    order = order_of(repository, (product, 3))
    keep(repository, replace(product_in(repository, product), is_archived=True))

    cancel(repository, order)

    assert product_in(repository, product) == replace(product, is_archived=True)


def test_an_order_is_marked_sent(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    order = order_of(repository, (product, 3))

    sent = mark_sent(repository, order)

    with repository.view() as unit:
        assert unit.order(order.number) == sent
    assert (sent.status, sent.sent_at, sent.version) == (OrderStatus.SENT, timestamp(LATER), order.version + 1)
    assert stock_of(repository, product) == 7


@pytest.mark.parametrize("then", [cancel, mark_sent])
def test_an_order_that_was_sent_stays_sent(repository: Repository, then: object) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    order = mark_sent(repository, order_of(repository, (product, 3)))

    with pytest.raises(Conflict, match="already been sent"):
        then(repository, order)  # type: ignore[operator]

    assert stock_of(repository, product) == 7


@pytest.mark.parametrize("then", [cancel, mark_sent])
def test_a_cancelled_order_gives_its_stock_back_once(repository: Repository, then: object) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    order = cancel(repository, order_of(repository, (product, 3)))

    with pytest.raises(Conflict, match="already been cancelled"):
        then(repository, order)  # type: ignore[operator]

    assert stock_of(repository, product) == 10


@pytest.mark.parametrize("do", [cancel, mark_sent])
def test_an_order_of_another_version_is_left_alone(repository: Repository, do: object) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    order = order_of(repository, (product, 3))

    with pytest.raises(StaleVersion):
        do(repository, order, version=order.version + 1)  # type: ignore[operator]

    with repository.view() as unit:
        assert unit.order(order.number) == order


@pytest.mark.parametrize("do", [orders.cancel, orders.mark_sent])
def test_an_unknown_order_is_not_found(repository: Repository, do: object) -> None:
    with pytest.raises(NotFound), repository.update() as unit:
        do(unit, "A1-99999", 1, LATER)  # type: ignore[operator]


def test_a_cancelled_checkout_is_not_ordered_again_by_a_reload(repository: Repository) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    cart = keep_cart(repository, a_line(product, 3))
    cancelled = cancel(repository, place_order(repository, cart))

    assert place(repository, cart, cancelled.total_cents) == cancelled
    assert stock_of(repository, product) == 10


# ---- the customer

INVALID = [
    ("name", ""), ("name", "   "), ("name", "x" * 121), ("name", "x" * 10_000), ("name", "a\x00b"), ("name", "a\nb"),
    ("name", "a\u202eb"), ("name", "a\ud800b"), ("name", "a\u2028b"),
    ("email", ""), ("email", "customer"), ("email", "@example.com"), ("email", "customer@"), ("email", "customer@example"),
    ("email", "a b@example.com"), ("email", "a@b@example.com"), ("email", "a@example..com"), ("email", "a@.example.com"),
    ("email", "a@example.com\nBcc: b@example.com"), ("email", ".a@example.com"), ("email", "a.@example.com"),
    ("email", "a..b@example.com"), ("email", "a@-example.com"), ("email", "a@example.c"), ("email", "x" * 65 + "@example.com"),
    ("email", "a@" + "x" * 64 + ".com"), ("email", "a@" + "x." * 130 + "com"), ("email", "<a@example.com>"),
    ("email", "x" * 10_000 + "@example.com"),
    ("street", ""), ("street", "x" * 121), ("street", "x" * 10_000), ("postcode", ""), ("postcode", "x" * 17),
    ("city", ""), ("city", "x" * 81), ("country", ""), ("country", "XX"), ("country", "de"), ("country", "Germany"),
    ("country", "x" * 10_000), ("note", "x" * 501), ("note", "x" * 10_000), ("note", "a\x07b"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "text"), INVALID)
def test_what_cannot_be_delivered_to_gets_a_sentence_beside_its_field(field: str, text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        orders.validate_customer(customer_form(**{field: text}))

    assert set(refusal.value.fields) == {field}
    assert refusal.value.fields[field].endswith(".")


def test_an_empty_form_gets_a_sentence_for_every_field_but_the_note() -> None:
    with pytest.raises(Invalid) as refusal:
        orders.validate_customer({})

    assert set(refusal.value.fields) == {"name", "email", "street", "postcode", "city", "country"}


@pytest.mark.parametrize(
    "email",
    [
        "customer@example.com",
        "first.last+tag@mail.example.co.uk",
        "o'brien@example.com",
        "a@b.cd",
        "1_2@xn--bcher-kva.example",
    ],
)
def test_ordinary_addresses_are_taken(email: str) -> None:
    assert orders.validate_customer(customer_form(email=email)).email == email


def test_what_was_typed_is_stripped_and_composed() -> None:
    customer = orders.validate_customer(
        customer_form(name="  Test  Customer ", city=" Mu\u0308nchen", note="\r\nleft\r\nright\r\n")
    )

    assert (customer.name, customer.city, customer.note) == ("Test  Customer", "M\u00fcnchen", "left\nright")


def test_other_fields_of_a_form_are_ignored() -> None:
    assert orders.validate_customer(customer_form() | {"total_cents": "1", "status": "sent"}) == a_customer()


def test_the_longest_values_are_taken() -> None:
    form = customer_form(name="x" * 120, street="x" * 120, postcode="x" * 16, city="x" * 80, note="x" * 500)

    assert orders.validate_customer(form).note == "x" * 500


@given(st.dictionaries(st.sampled_from(sorted(customer_form())), st.text()))
def test_any_form_is_a_customer_or_a_sentence_for_a_field(typed: dict[str, str]) -> None:
    problems: dict[str, str] = {}
    try:
        customer = orders.validate_customer(customer_form() | typed)
    except Invalid as refusal:
        problems = refusal.fields
    else:
        assert customer.country in orders.COUNTRIES
        assert customer.name.strip() == customer.name != ""
        assert "@" in customer.email

    assert set(problems) <= set(typed)
