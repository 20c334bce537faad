"""Many buyers and shopkeepers at once: nothing is sold twice, nothing gets lost."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from msgspec.structs import replace

from shop import cart as carts
from shop import catalog, orders
from shop.errors import Conflict, ShopError, StaleVersion
from shop.models import Order, OrderStatus
from shop.repository.contract import Repository
from shop.units import CatalogQuery
from tests.builders import (
    NOW,
    a_cart,
    a_customer,
    a_line,
    a_product,
    keep,
    keep_products,
    order_of,
    place_order,
    product_in,
    product_values,
    stock_of,
)

ROUNDS = 20
BUYER_ROUNDS = 200


@pytest.fixture(autouse=True)
def _threads_take_turns_very_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
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


def test_64_buyers_of_a_stock_of_10_get_10(repository: Repository) -> None:
    for _ in range(BUYER_ROUNDS):
        product = a_product(stock=10)
        keep_products(repository, product)
        filled = [a_cart(a_line(product)) for _ in range(64)]
        keep(repository, *filled)

        results = at_once([lambda cart=cart: place_order(repository, cart) for cart in filled])

        assert len(orders_among(results)) == 10
        assert all(isinstance(result, Order | Conflict) for result in results)
        assert stock_of(repository, product) == 0


def test_one_checkout_sent_by_many_hands_makes_one_order(repository: Repository) -> None:
    product = a_product(stock=100)
    keep_products(repository, product)
    for round_number in range(ROUNDS):
        cart = a_cart(a_line(product))
        keep(repository, cart)

        def order_it(key: str = cart.checkout_key, cart_id: str = cart.id) -> Order:
            with repository.update() as unit:
                return orders.place(
                    unit,
                    cart_id,
                    a_customer(),
                    checkout_key=key,
                    expected_total_cents=1740,
                    now=NOW,
                    currency="EUR",
                )

        results = at_once([order_it] * 8)

        assert len({order.number for order in orders_among(results)}) == 1
        assert len(orders_among(results)) == 8
        assert stock_of(repository, product) == 99 - round_number


def test_numbers_are_issued_once_each(repository: Repository) -> None:
    def issue() -> list[str]:
        issued = []
        for _ in range(10):
            with repository.update() as unit:
                issued.append(unit.next_order_number())
        return issued

    results = at_once([issue] * 16)

    numbers = [number for result in results if isinstance(result, list) for number in result]
    assert sorted(numbers) == [f"A1-{10_001 + place}" for place in range(160)]


def test_adding_from_two_tabs_adds_up(repository: Repository) -> None:
    product = a_product(stock=1000)
    keep_products(repository, product)
    cart = a_cart()
    keep(repository, cart)

    def add() -> None:
        for _ in range(5):
            with repository.update() as unit:
                carts.add(unit, cart.id, product.id, 1, NOW)

    at_once([add] * 8)

    with repository.view() as unit:
        kept = unit.cart(cart.id)
    assert kept is not None
    assert [line.quantity for line in kept.lines] == [40]


def test_a_cart_changed_during_its_checkout_is_ordered_as_shown_or_not_at_all(repository: Repository) -> None:
    product = a_product(price_cents=1000, stock=1000)
    keep_products(repository, product)
    for _ in range(ROUNDS):
        cart = a_cart(a_line(product, 1))
        keep(repository, cart)

        def order_it(cart_id: str = cart.id, key: str = cart.checkout_key) -> Order:
            with repository.update() as unit:
                return orders.place(
                    unit,
                    cart_id,
                    a_customer(),
                    checkout_key=key,
                    expected_total_cents=1490,
                    now=NOW,
                    currency="EUR",
                )

        def add_one(cart_id: str = cart.id) -> None:
            with repository.update() as unit:
                carts.add(unit, cart_id, product.id, 1, NOW)

        ordered, _ = at_once([order_it, add_one])

        with repository.view() as unit:
            kept = unit.cart(cart.id)
        assert kept is not None
        if isinstance(ordered, Order):
            assert [line.quantity for line in ordered.lines] == [1]
            assert [line.quantity for line in kept.lines] == [1]
        else:
            assert isinstance(ordered, Conflict)
            assert [line.quantity for line in kept.lines] == [2]


def test_a_price_changed_during_a_checkout_is_never_charged_unseen(repository: Repository) -> None:
    for _ in range(ROUNDS):
        product = a_product(price_cents=1000)
        keep_products(repository, product)
        cart = a_cart(a_line(product))
        keep(repository, cart)

        def edit(product: object = product, id: str = product.id, sku: str = product.sku) -> None:
            with repository.update() as unit:
                values = product_values(sku=sku, price_cents=2000)
                catalog.edit_product(unit, id, 1, values, stock_seen=10, now=NOW)

        ordered, _ = at_once([lambda cart=cart: place_order(repository, cart), edit])

        if isinstance(ordered, Order):
            assert ordered.lines[0].price_cents == 1000
            assert stock_of(repository, product) == 9
        else:
            assert isinstance(ordered, Conflict)
            assert stock_of(repository, product) == 10


def test_of_two_shopkeepers_editing_one_product_the_second_is_told(repository: Repository) -> None:
    for _ in range(ROUNDS):
        product = a_product()
        keep_products(repository, product)

        def edit(name: str, id: str = product.id, sku: str = product.sku) -> str:
            with repository.update() as unit:
                return catalog.edit_product(
                    unit, id, 1, product_values(sku=sku, name=name), stock_seen=10, now=NOW
                ).name

        results = at_once([lambda: edit("first"), lambda: edit("second")])

        refused = [result for result in results if isinstance(result, StaleVersion)]
        kept = [result for result in results if isinstance(result, str)]
        assert len(refused) == 1
        assert [product_in(repository, product).name] == kept


def test_an_order_is_sent_or_cancelled_never_both(repository: Repository) -> None:
    product = a_product(stock=1000)
    keep_products(repository, product)
    for _ in range(ROUNDS):
        stock = stock_of(repository, product)
        order = order_of(repository, (product, 3))

        def cancel(number: str = order.number) -> Order:
            with repository.update() as unit:
                return orders.cancel(unit, number, 1, NOW)

        def send(number: str = order.number) -> Order:
            with repository.update() as unit:
                return orders.mark_sent(unit, number, 1, NOW)

        results = at_once([cancel, send, cancel, send])

        (done,) = orders_among(results)
        assert stock_of(repository, product) == (stock if done.status is OrderStatus.CANCELLED else stock - 3)


def test_a_sku_is_taken_once(repository: Repository) -> None:
    products = [a_product(sku="WANTED") for _ in range(8)]

    results = at_once([lambda product=product: keep(repository, product) for product in products])

    assert sum(result is None for result in results) == 1
    with repository.view() as unit:
        assert unit.counts()["products"] == 1


def test_readers_never_see_half_of_an_update(repository: Repository) -> None:
    """Two products change hands in one commit each time; their sum is the same in every view, read in whatever way."""
    left, right = a_product(name="Left", stock=50), a_product(name="Right", stock=50)
    keep_products(repository, left, right)
    stop = threading.Event()

    def move() -> None:
        for number in range(150):
            with repository.update() as unit:
                found = unit.products([left.id, right.id])
                step = 1 if number % 7 else -5
                unit.put_product(replace(found[left.id], stock=found[left.id].stock - step))
                unit.put_product(replace(found[right.id], stock=found[right.id].stock + step))
        stop.set()

    def read() -> int:
        seen = 0
        while not stop.is_set() or not seen:
            with repository.view() as unit:
                found = unit.products([left.id, right.id])
                assert found[left.id].stock + found[right.id].stock == 100
                page = unit.catalog(CatalogQuery(in_stock=True))
                assert sum(product.stock for product in page.items) == 100
            seen += 1
        return seen

    results = at_once([move, read, read, read])

    assert all(isinstance(result, int) and result > 0 for result in results[1:]), results
