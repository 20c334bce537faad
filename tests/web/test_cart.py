"""The cart, from the first product to the last one removed."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from shop.models import CART_LINES_MAX
from tests.builders import a_category, a_product, keep, keep_products

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id, price_cents=3400, stock=500)
CUP = a_product(slug="cup", name="Cup", category_id=TEA.id, price_cents=900, stock=3)
REFUSAL = "Enter a quantity from 1 to 99, in digits."


@pytest.fixture(autouse=True)
def goods(repository):
    keep(repository, TEA, POT, CUP)


def position(repository):
    with repository.view() as unit:
        return unit.position()


def count_of_carts(repository):
    with repository.view() as unit:
        return unit.counts()["carts"]


def sums_on(page):
    return {row.one("dt").text: row.one("dd").text for row in page.tree.all(class_="sums__row")}


def test_an_empty_cart_shows_the_way_to_the_goods(visitor):
    page = visitor.get("/cart")

    assert "Nothing in it yet" in page.text
    assert page.main.one("a")["href"] == "/"


def test_what_is_added_is_in_the_cart_and_counted_in_the_header(visitor):
    page = visitor.add("pot", "2")

    assert (page.status, page.location) == (303, "/cart")
    page = page.follow()
    assert page.notices == ["Teapot is in your cart."]
    assert visitor.cart_lines() == {"Teapot": "2"}
    assert page.tree.one(class_="cart-link").text == "Cart 2 pieces"


def test_adding_again_adds_to_the_line(visitor):
    visitor.add("pot", "2")
    visitor.add("pot", "3")

    assert visitor.cart_lines() == {"Teapot": "5"}


def test_the_full_cost_is_shown_before_the_checkout(visitor):
    visitor.add("pot")

    page = visitor.get("/cart")

    assert sums_on(page) == {"Subtotal": "€34.00", "Shipping": "€4.90", "Total": "€38.90"}
    assert "€16.00 more and shipping is free." in page.text
    assert page.main.one("a", href="/checkout").text == "Go to checkout"


def test_shipping_is_free_from_fifty(visitor):
    visitor.add("pot", "2")

    assert sums_on(visitor.get("/cart"))["Shipping"] == "Free"


@pytest.mark.parametrize(
    "typed", ["0", "-1", "1000000000", "1.5", "", "abc", "NaN", "1e1", "１", " ", "9" * 10_000, "<b>"]
)
def test_a_quantity_that_is_none_is_refused_beside_its_field_and_changes_nothing(visitor, repository, typed):
    before = position(repository)

    page = visitor.add("pot", typed)

    assert page.status == 400
    assert page.error_of("field-quantity") == REFUSAL
    assert page.tree.one(id="field-quantity")["value"] == typed[:100]
    assert position(repository) == before


def test_more_than_there_are_is_refused_with_how_many_there_are(visitor):
    page = visitor.add("cup", "4")

    assert page.error_of("field-quantity") == "Only 3 of Cup are left."


def test_what_the_cart_has_counts_when_more_is_added(visitor):
    visitor.add("cup", "2")

    page = visitor.add("cup", "2")

    assert page.error_of("field-quantity") == "Only 3 of Cup are left, and your cart already has 2."
    assert visitor.cart_lines() == {"Cup": "2"}


def test_a_product_that_never_was_cannot_be_added(visitor, repository):
    form = visitor.get("/products/pot")

    for product_id in ("nope", "", "x" * 10_000):
        assert form.send("/cart/lines", product_id=product_id).status == 404
    assert count_of_carts(repository) == 0


def test_a_product_that_was_archived_meanwhile_cannot_be_added(visitor, repository):
    page = visitor.get("/products/pot")
    keep(repository, replace(POT, is_archived=True))

    answer = page.send("/cart/lines", quantity="1")

    assert answer.status == 404
    assert count_of_carts(repository) == 0


def test_a_full_cart_says_so_on_the_page_of_the_product(visitor, repository):
    products = [a_product(category_id=TEA.id) for _ in range(CART_LINES_MAX)]
    keep_products(repository, *products)
    for product in products:
        visitor.add(product.slug)

    page = visitor.add("pot")

    assert page.status == 409
    assert page.heading == "Teapot"
    assert "A cart holds at most 50 different products." in page.text


def test_a_doubled_field_is_read_once_and_harmless(visitor):
    fields = visitor.get("/products/pot").fields("/cart/lines")

    visitor.post("/cart/lines", {**fields, "quantity": ["2", "7"], "product_id": [POT.id, CUP.id]})

    assert visitor.cart_lines() == {"Teapot": "2"}


def test_another_quantity_is_kept(visitor):
    visitor.add("pot")

    page = visitor.get("/cart").send(f"/cart/lines/{POT.id}", quantity="7")

    assert page.status == 303
    assert visitor.cart_lines() == {"Teapot": "7"}


@pytest.mark.parametrize("typed", ["0", "-1", "1000000000", "1.5", ""])
def test_a_changed_quantity_that_is_none_is_refused_beside_its_line(visitor, repository, typed):
    visitor.add("pot", "2")
    visitor.add("cup")
    before = position(repository)

    page = visitor.get("/cart").send(f"/cart/lines/{POT.id}", quantity=typed)

    assert page.status == 400
    assert page.error_of(f"quantity-{POT.id}") == REFUSAL
    assert page.error_of(f"quantity-{CUP.id}") == ""
    assert page.tree.one(id=f"quantity-{POT.id}")["value"] == typed
    assert position(repository) == before


def test_a_removed_line_comes_back_where_it_was(visitor):
    visitor.add("pot", "2")
    visitor.add("cup")

    page = visitor.get("/cart").send(f"/cart/lines/{POT.id}/removal").follow()

    assert visitor.cart_lines() == {"Cup": "1"}
    assert page.notices == ["Teapot was removed from your cart. Undo"]
    page.send("/cart/restore")
    assert list(visitor.cart_lines().items()) == [("Teapot", "2"), ("Cup", "1")]


def test_undoing_twice_puts_back_once(visitor):
    visitor.add("pot")
    page = visitor.get("/cart").send(f"/cart/lines/{POT.id}/removal").follow()
    page.send("/cart/restore")

    again = page.send("/cart/restore").follow()

    assert "There is nothing to put back." in again.notices
    assert visitor.cart_lines() == {"Teapot": "1"}


def test_a_line_that_is_gone_already_is_told_and_not_an_error(visitor):
    visitor.add("pot")
    page = visitor.get("/cart")
    page.send(f"/cart/lines/{POT.id}/removal")

    for action, fields in ((f"/cart/lines/{POT.id}", {"quantity": "2"}), (f"/cart/lines/{POT.id}/removal", {})):
        answer = page.send(action, **fields)
        assert "This product is not in your cart any more." in answer.follow().notices


def test_a_changed_price_is_told_and_can_be_accepted(visitor, repository):
    visitor.add("pot")
    keep(repository, replace(POT, price_cents=3600))

    page = visitor.get("/cart")

    assert "The price changed: it was €34.00, now it is €36.00." in page.text
    assert sums_on(page)["Subtotal"] == "€36.00"
    assert not list(page.main.all("a", href="/checkout"))
    page = page.send("/cart/prices").follow()
    assert "The price changed" not in page.text
    assert page.main.one("a", href="/checkout")


def test_a_line_sold_out_meanwhile_can_only_be_removed(visitor, repository):
    visitor.add("pot")
    visitor.add("cup")
    keep(repository, replace(CUP, stock=0))

    page = visitor.get("/cart")

    assert "Sold out. Please remove it." in page.text
    assert visitor.cart_lines() == {"Teapot": "1", "Cup": ""}
    assert not list(page.main.all("a", href="/checkout"))


def test_looking_at_the_cart_changes_nothing(visitor, repository):
    visitor.add("pot")
    keep(repository, replace(POT, price_cents=3600))
    before = position(repository)

    visitor.get("/cart")
    visitor.get("/checkout")

    assert position(repository) == before


def test_each_visitor_has_a_cart_of_their_own(app, visitor):
    visitor.add("pot")
    other = type(visitor)(app.test_client())

    assert other.cart_lines() == {}
    assert "cart-link__count" not in other.get("/").response.text


def test_a_cart_is_remembered_for_a_month(visitor):
    cookie = visitor.add("pot").response.headers["Set-Cookie"]

    assert "Expires=" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_forged_cookie_is_nobody(app, visitor, repository):
    visitor.add("pot")
    visitor.client.set_cookie("session", "eyJjYXJ0IjoieCJ9.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb")

    assert visitor.cart_lines() == {}


def test_a_read_only_shop_says_so_and_keeps_nothing(visitor, store, clock):
    page = visitor.get("/products/pot")
    store.refuse_writes("The disk said no.")

    banner = visitor.get("/cart").notices[0]
    answer = page.send("/cart/lines", quantity="1")

    assert "nothing can be changed or ordered right now" in banner
    assert answer.status == 503
    assert answer.heading == "Not just now"
    clock.advance(timedelta(days=1).total_seconds())
    assert visitor.cart_lines() == {}


def test_one_address_cannot_fill_the_shop_with_carts(app, visitor, repository):
    app.config["CART_ADDS_PER_ADDRESS"] = "3 per minute"
    fields = visitor.get("/products/pot").fields("/cart/lines")

    def add(address):
        return visitor.client.post("/cart/lines", data=fields, environ_base={"REMOTE_ADDR": address}).status_code

    assert [add("203.0.113.7") for _ in range(5)] == [303, 303, 303, 429, 429]
    assert {add("127.0.0.1"), add("::1"), add("::ffff:127.0.0.1"), add("203.0.113.8")} == {303}
