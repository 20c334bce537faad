"""One round of each race between people of a shop: they start together, and whatever the order was, a rule must hold.

A round takes an open shop and raises AssertionError when the rule was broken.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from shop import cart as carts
from shop import catalog, orders
from shop.errors import Conflict, Invalid, ShopError, StaleVersion
from shop.models import Cart, Order, OrderStatus, Product
from shop.repository.contract import Repository
from tests.builders import (
    NOW,
    a_cart,
    a_customer,
    a_line,
    a_product,
    cart_in,
    keep,
    keep_products,
    order_of,
    place_order,
    product_in,
    product_values,
    stock_of,
)

BUYERS, STOCK = 64, 10


@contextmanager
def threads_take_turns_very_often() -> Iterator[None]:
    """So that a lock which is missing is missed."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def at_once(jobs: Sequence[Callable[[], object]]) -> list[object]:
    """What the *jobs* returned, or the refusal they raised, started together in a thread each."""
    results: list[object] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def run(place: int) -> None:
        start.wait()
        try:
            results[place] = jobs[place]()
        except ShopError as refusal:
            results[place] = refusal

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def orders_among(results: Sequence[object]) -> list[Order]:
    return [result for result in results if isinstance(result, Order)]


def buyers_of_the_last_ones(repository: Repository) -> None:
    """64 buyers, a stock of 10: 10 orders, and everybody else is told that there is none left."""
    product = a_product(stock=STOCK)
    keep_products(repository, product)
    filled = [a_cart(a_line(product)) for _ in range(BUYERS)]
    keep(repository, *filled)

    results = at_once([lambda cart=cart: place_order(repository, cart) for cart in filled])

    assert len(orders_among(results)) == STOCK, f"{len(orders_among(results))} sold of {STOCK}"
    assert all(isinstance(result, Order | Conflict) for result in results), results
    assert stock_of(repository, product) == 0


def one_key_by_many_hands(repository: Repository) -> None:
    """A checkout that is sent eight times at once makes one order, and all eight are shown it."""
    product, cart = _product_in_a_cart(repository, stock=10)

    results = at_once([lambda: _order_as_shown(repository, cart, 1740)] * 8)

    assert len(orders_among(results)) == 8, results
    assert len({order.number for order in orders_among(results)}) == 1
    assert stock_of(repository, product) == 9


def cart_against_checkout(repository: Repository) -> None:
    """A cart that is changed during its checkout is ordered as it was shown, or not at all."""
    product, cart = _product_in_a_cart(repository, price_cents=1000)

    def add_one() -> None:
        with repository.update() as unit:
            carts.add(unit, cart.id, product.id, 1, NOW)

    ordered, _ = at_once([lambda: _order_as_shown(repository, cart, 1490), add_one])

    left = [line.quantity for line in cart_in(repository, cart).lines]
    if isinstance(ordered, Order):
        assert [line.quantity for line in ordered.lines] == left == [1]
    else:
        assert isinstance(ordered, Conflict), ordered
        assert left == [2]


def price_against_checkout(repository: Repository) -> None:
    """A price that is changed during a checkout is never charged unseen."""
    product, cart = _product_in_a_cart(repository, price_cents=1000)

    ordered, _ = at_once([lambda: place_order(repository, cart), lambda: _edit(repository, product, price_cents=2000)])

    if isinstance(ordered, Order):
        assert ordered.lines[0].price_cents == 1000
        assert stock_of(repository, product) == 9
    else:
        assert isinstance(ordered, Conflict), ordered
        assert stock_of(repository, product) == 10


def stock_against_checkout(repository: Repository) -> None:
    """A shopkeeper who puts five more on the shelf while two are sold ends with three more."""
    product, cart = _product_in_a_cart(repository, quantity=2)

    ordered, edited = at_once([lambda: place_order(repository, cart), lambda: _edit(repository, product, stock=15)])

    assert isinstance(ordered, Order), ordered
    assert isinstance(edited, Product), edited
    assert stock_of(repository, product) == 13


def archive_against_checkout(repository: Repository) -> None:
    """A product is sold before it leaves the shelf, or not at all."""
    product, cart = _product_in_a_cart(repository)

    def archive() -> Product:
        with repository.update() as unit:
            return catalog.archive(unit, product.id, 1, NOW)

    ordered, archived = at_once([lambda: place_order(repository, cart), archive])

    assert isinstance(archived, Product), archived
    assert product_in(repository, product).is_archived
    assert stock_of(repository, product) == (9 if isinstance(ordered, Order) else 10)
    assert isinstance(ordered, Order | Conflict | Invalid), ordered


def cancel_against_send(repository: Repository) -> None:
    """An order is sent or cancelled, never both; one of four who press at once does it."""
    product, order = _ordered(repository, pieces=3)

    results = at_once([lambda: _cancel(repository, order), lambda: _send(repository, order)] * 2)

    (done,) = orders_among(results)
    assert stock_of(repository, product) == (10 if done.status is OrderStatus.CANCELLED else 7)


def cancel_twice(repository: Repository) -> None:
    """What a cancelled order held goes back once."""
    product, order = _ordered(repository, pieces=3)

    results = at_once([lambda: _cancel(repository, order)] * 4)

    assert len(orders_among(results)) == 1, results
    assert stock_of(repository, product) == 10


def two_shopkeepers(repository: Repository) -> None:
    """Of two who edit one product the second is told, and the first one's edit stands."""
    product = a_product()
    keep_products(repository, product)

    results = at_once(
        [lambda: _edit(repository, product, name="first"), lambda: _edit(repository, product, name="second")]
    )

    (kept,) = [result for result in results if isinstance(result, Product)]
    assert sum(isinstance(result, StaleVersion) for result in results) == 1, results
    assert product_in(repository, product).name == kept.name


def one_sku_for_many(repository: Repository) -> None:
    """Of eight new products with one SKU one is kept."""
    first = a_product()
    keep_products(repository, first)  # its category
    products = [a_product(sku=f"WANTED-{first.sku}") for _ in range(8)]

    results = at_once([lambda product=product: keep(repository, product) for product in products])

    assert sum(result is None for result in results) == 1, results
    assert all(result is None or isinstance(result, Invalid) for result in results), results


RACES: tuple[Callable[[Repository], None], ...] = (
    one_key_by_many_hands,
    cart_against_checkout,
    price_against_checkout,
    stock_against_checkout,
    archive_against_checkout,
    cancel_against_send,
    cancel_twice,
    two_shopkeepers,
    one_sku_for_many,
)


def _product_in_a_cart(repository: Repository, *, quantity: int = 1, **fields: int) -> tuple[Product, Cart]:
    product = a_product(**fields)
    keep_products(repository, product)
    cart = a_cart(a_line(product, quantity))
    keep(repository, cart)
    return product, cart


def _order_as_shown(repository: Repository, cart: Cart, total_cents: int) -> Order:
    with repository.update() as unit:
        return orders.place(
            unit,
            cart.id,
            a_customer(),
            checkout_key=cart.checkout_key,
            expected_total_cents=total_cents,
            now=NOW,
            currency="EUR",
        )


def _edit(repository: Repository, product: Product, **values: object) -> Product:
    with repository.update() as unit:
        typed = product_values(sku=product.sku, **values)
        typed = replace(typed, category_id=product.category_id)
        return catalog.edit_product(unit, product.id, 1, typed, stock_seen=10, now=NOW)


def _ordered(repository: Repository, *, pieces: int) -> tuple[Product, Order]:
    product = a_product(stock=10)
    keep_products(repository, product)
    return product, order_of(repository, (product, pieces))


def _cancel(repository: Repository, order: Order) -> Order:
    with repository.update() as unit:
        return orders.cancel(unit, order.number, 1, NOW)


def _send(repository: Repository, order: Order) -> Order:
    with repository.update() as unit:
        return orders.mark_sent(unit, order.number, 1, NOW)
