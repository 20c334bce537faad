"""The page of an order, and the link that leads to it."""

import time

import pytest
from msgspec.structs import replace

from shop import orders
from shop.web.links import order_address
from tests.builders import NOW, a_category, a_product, keep, order_of
from tests.web.conftest import DELAY_SECONDS

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id, price_cents=3400)


@pytest.fixture
def placed(repository):
    keep(repository, TEA, POT)
    return order_of(repository, (POT, 2))


@pytest.fixture
def address(app, placed):
    with app.test_request_context():
        return order_address(placed.number)


def test_the_page_has_the_order_the_link_to_keep_and_what_happens_next(visitor, placed, address):
    page = visitor.get(address)

    assert page.status == 200
    assert page.heading == "Thank you, your order is placed"
    assert page.tree.one(class_="order-link").text == f"http://localhost{address}"
    for words in (
        placed.number,
        "Teapot",
        "2 × €34.00",
        "€68.00",
        "Test Customer",
        "Germany",
        "You pay",
        "at your door",
    ):
        assert words in page.main.text


@pytest.mark.parametrize("more", ["=", "= EXPIRED", "%00", '"><', "A"])
def test_a_token_has_one_spelling(visitor, address, more):
    """Base64 would be read with almost anything in it, and the page repeats the link."""
    assert visitor.get(f"{address}{more}").status == 404


def test_the_order_is_followed_to_the_far_side(visitor, replication, clock, address):
    def crossing():
        return visitor.get(address).tree.one(class_="crossing").text

    assert "safe on this side; in about 5 seconds it will be on the far side" in crossing()
    clock.advance(3)
    assert "in about 2 seconds" in crossing()
    clock.advance(DELAY_SECONDS)
    assert "as soon as the link lets it" in crossing()
    while replication.sync_once(clock.monotonic()).applied:
        pass
    assert "safe on both sides of the Earth" in crossing()


@pytest.mark.parametrize(
    ("change", "heading"),
    [(orders.mark_sent, "Your parcel is on its way"), (orders.cancel, "This order was cancelled")],
)
def test_the_page_says_where_the_order_stands_now(visitor, repository, placed, address, change, heading):
    with repository.update() as unit:
        change(unit, placed.number, placed.version, NOW)

    assert visitor.get(address).heading == heading


def test_a_wrong_link_does_not_tell_whether_there_is_such_an_order(visitor, placed, address):
    token = address.partition("token=")[2]
    wrong = [
        f"/orders/{placed.number}",
        f"/orders/{placed.number}?token=",
        f"/orders/{placed.number}?token={token[:-1]}",
        f"/orders/{placed.number}?token={token}x",
        f"/orders/{placed.number}?token=%E2%82%AC%00",
        f"/orders/{placed.number}?token={'x' * 5000}",
        f"/orders/{placed.number}x?token={token}",
        f"/orders/A1-99999?token={token}",
        "/orders/A1-99999?token=x",
    ]

    pages = [visitor.get(link) for link in wrong]

    assert {page.status for page in pages} == {404}
    assert len({page.text for page in pages}) == 1


def test_a_good_link_to_an_order_that_is_not_here_is_explained(app, visitor):
    with app.test_request_context():
        lost = order_address("A1-99999")

    page = visitor.get(lost)

    assert page.status == 404
    assert page.heading == "Order A1-99999 is not here"
    assert "Your link is genuine" in page.text
    assert "You have not paid anything" in page.text


def test_a_link_is_good_on_another_day_and_for_this_shop_only(app, visitor, placed, address, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW.timestamp() + 10**9)
    assert visitor.get(address).status == 200

    app.secret_key = "another key"
    assert visitor.get(address).status == 404


def test_the_page_is_kept_by_no_cache_and_its_link_told_to_nobody(visitor, address):
    headers = visitor.get(address).response.headers

    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "same-origin"


def test_what_the_customer_typed_is_text(visitor, app, repository):
    keep(repository, TEA, POT)
    order = order_of(repository, (POT, 1))
    evil = "<img src=x onerror=alert(1)>"
    with repository.update() as unit:
        unit.put_order(replace(order, customer=replace(order.customer, name=evil, note=evil)))
    with app.test_request_context():
        page = visitor.get(order_address(order.number))

    assert page.main.text.count(evil) == 2
