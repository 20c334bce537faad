"""Orders are numbered once, listed newest first, and kept over every restart."""

import pytest
from msgspec.structs import replace

from shop import cart as carts
from shop import orders
from shop.models import Order, OrderStatus
from shop.repository.contract import Repository
from shop.units import Page
from tests.builders import (
    NOW,
    a_cart,
    a_category,
    a_customer,
    a_line,
    a_product,
    an_order,
    cart_in,
    catalog,
    keep,
    keep_products,
    names,
    order_of,
    place_order,
    product_in,
    stock_of,
)
from tests.contract.backends import Backend


def listed(repository: Repository, *, words: str = "", status: str = "", page: int = 1, size: int = 50) -> Page[Order]:
    with repository.view() as unit:
        return unit.orders(words=words, status=status, page=page, size=size)


def numbers(page: Page[Order]) -> list[str]:
    return [order.number for order in page.items]


def next_number(repository: Repository) -> str:
    with repository.update() as unit:
        return unit.next_order_number()


# ---- numbers


def running(number: str) -> int:
    assert number.startswith("A1-")
    return int(number.removeprefix("A1-"))


def test_numbers_begin_at_10001_and_name_the_timeline(repository: Repository) -> None:
    assert [next_number(repository) for _ in range(3)] == ["A1-10001", "A1-10002", "A1-10003"]


def test_one_update_can_issue_several_numbers(repository: Repository) -> None:
    with repository.update() as unit:
        issued = [unit.next_order_number() for _ in range(3)]

    assert issued == ["A1-10001", "A1-10002", "A1-10003"]
    assert next_number(repository) == "A1-10004"


def test_numbers_go_on_after_a_discarded_update(repository: Repository) -> None:
    """Whether a number that nobody was told is used after all, or left out, is the repository's to choose."""

    def issue_and_raise() -> None:
        with repository.update() as unit:
            unit.next_order_number()
            raise InterruptedError

    first = next_number(repository)
    with pytest.raises(InterruptedError):
        issue_and_raise()

    assert running(first) < running(next_number(repository)) <= running(first) + 2


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_no_number_is_issued_again_after_a_restart(backend: Backend, how: str) -> None:
    first = next_number(backend.repository())

    repository = getattr(backend, how)()

    assert running(next_number(repository)) > running(first)


# ---- lists


def test_orders_come_newest_first(repository: Repository) -> None:
    for number in (10_001, 10_002, 99_999, 100_000):
        keep(repository, an_order(number=f"A1-{number}"))

    assert numbers(listed(repository)) == ["A1-100000", "A1-99999", "A1-10002", "A1-10001"]


def test_a_later_timeline_does_not_reorder_what_was_bought(repository: Repository) -> None:
    for number in ("A2-10003", "A1-10002", "A3-10005", "A2-10004", "A1-10001"):
        keep(repository, an_order(number=number))

    assert numbers(listed(repository)) == ["A3-10005", "A2-10004", "A2-10003", "A1-10002", "A1-10001"]


def test_a_new_order_is_on_top_of_the_list_at_once(repository: Repository) -> None:
    product = a_product(stock=50)
    keep_products(repository, product)

    for count in range(1, 6):
        order = order_of(repository, (product, 1))
        page = listed(repository, size=2)
        assert page.items[0] == order
        assert page.total == count


def test_the_list_of_orders_has_pages(repository: Repository) -> None:
    keep(repository, *[an_order(number=f"A1-{number}") for number in range(10_001, 10_008)])

    assert numbers(listed(repository, page=2, size=3)) == ["A1-10004", "A1-10003", "A1-10002"]
    last = listed(repository, page=99, size=3)
    assert (numbers(last), last.number, last.total) == (["A1-10001"], 3, 7)


def test_orders_are_narrowed_by_status_as_it_is_now(repository: Repository) -> None:
    placed, sent = an_order(), an_order(status=OrderStatus.SENT)
    keep(repository, placed, sent)
    assert numbers(listed(repository, status="placed")) == [placed.number]
    assert numbers(listed(repository, status="sent")) == [sent.number]
    assert numbers(listed(repository, status="cancelled")) == []

    keep(repository, replace(placed, status=OrderStatus.SENT))

    assert numbers(listed(repository, status="placed")) == []
    assert numbers(listed(repository, status="sent")) == [sent.number, placed.number]
    assert listed(repository, status="unknown").total == 0


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("A1-10001", ["A1-10001"]),
        ("a1-10001", ["A1-10001"]),
        ("10002", ["A1-10002"]),
        ("A1", ["A1-10002", "A1-10001"]),
        ("émile", ["A1-10001"]),
        ("emi", ["A1-10001"]),
        ("second@example.com", ["A1-10002"]),
        ("example", ["A1-10002", "A1-10001"]),
        ("emile second", []),
        ("nobody", []),
        ("", ["A1-10002", "A1-10001"]),
    ],
)
def test_orders_are_found_by_number_name_and_address(repository: Repository, words: str, result: list[str]) -> None:
    first = an_order(number="A1-10001", customer=a_customer(name="Émile Test", email="first@example.com"))
    second = an_order(number="A1-10002", customer=a_customer(name="Customer", email="second@example.com"))
    keep(repository, first, second)

    assert numbers(listed(repository, words=words)) == result


def test_words_and_status_narrow_together(repository: Repository) -> None:
    sent = an_order(status=OrderStatus.SENT)
    keep(repository, sent, an_order())

    assert numbers(listed(repository, words="test", status="sent")) == [sent.number]


def test_a_list_shows_each_order_as_it_is_now(repository: Repository) -> None:
    order = an_order()
    keep(repository, order)
    assert listed(repository).items == [order]

    keep(repository, replace(order, version=2, sent_at="2026-01-02T00:00:00Z"))

    assert [kept.version for kept in listed(repository).items] == [2]


# ---- a shop left and entered again


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_everything_is_there_again_after_a_restart(backend: Backend, how: str) -> None:
    repository = backend.repository()
    product, archived = a_product(name="Teapot", slug="teapot", sku="POT", stock=10), a_product(is_archived=True)
    keep(repository, a_category(id="category", slug="tea", name="Tea"))
    keep_products(repository, product, archived)
    cart = a_cart(a_line(product, 2))
    keep(repository, cart, a_cart(id="kept"))
    order = place_order(repository, cart)
    with repository.view() as unit:
        before, counts = unit.position(), unit.counts()
        emptied = unit.cart(cart.id)

    repository = getattr(backend, how)()

    with repository.view() as unit:
        assert unit.position() >= before
        assert unit.position().timeline == before.timeline
        assert unit.counts() == counts
        assert unit.product_by_slug("teapot") == unit.product_by_sku("POT") == replace(product, stock=8)
        assert unit.product(archived.id) == archived
        assert unit.order(order.number) == unit.order_by_checkout_key(cart.checkout_key) == order
        assert unit.cart(cart.id) == emptied
        assert [category.slug for category in unit.categories()] == ["tea"]
    assert names(catalog(repository, words="tea", category_slug="tea").items) == ["Teapot"]
    assert numbers(listed(repository)) == [order.number]


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_checkout_sent_again_after_a_restart_makes_no_second_order(backend: Backend, how: str) -> None:
    product = a_product(stock=10)
    keep_products(backend.repository(), product)
    cart = a_cart(a_line(product, 2))
    keep(backend.repository(), cart)
    order = place_order(backend.repository(), cart)

    repository = getattr(backend, how)()
    with repository.update() as unit:
        again = orders.place(
            unit,
            cart.id,
            a_customer(),
            checkout_key=cart.checkout_key,
            expected_total_cents=order.total_cents,
            now=NOW,
            currency="EUR",
        )

    assert again == order
    assert stock_of(repository, product) == 8


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_shop_can_be_written_again_after_a_restart(backend: Backend, how: str) -> None:
    product = a_product(stock=10)
    keep_products(backend.repository(), product)

    for left in (9, 8, 7):
        repository = getattr(backend, how)()
        order_of(repository, (product, 1))
        assert stock_of(repository, product) == left


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_what_was_discarded_does_not_come_back(backend: Backend, how: str) -> None:
    product = a_product(stock=10)
    keep_products(backend.repository(), product)

    def sell_and_raise() -> None:
        with backend.repository().update() as unit:
            unit.put_product(replace(product, stock=0))
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sell_and_raise()

    assert product_in(getattr(backend, how)(), product) == product


def test_a_deleted_cart_stays_deleted(backend: Backend) -> None:
    cart = a_cart()
    keep(backend.repository(), cart)
    with backend.repository().update() as unit:
        unit.delete_cart(cart.id)

    with backend.crash().view() as unit:
        assert unit.cart(cart.id) is None


def test_an_accepted_price_is_kept(backend: Backend) -> None:
    product = a_product(price_cents=1000)
    keep_products(backend.repository(), product)
    cart = a_cart(a_line(product))
    keep(backend.repository(), cart)
    keep(backend.repository(), replace(product, price_cents=1500))
    with backend.repository().update() as unit:
        carts.accept_prices(unit, cart.id, NOW)

    assert cart_in(backend.crash(), cart).lines[0].price_seen_cents == 1500
