"""The checkout: one order at most, at the price that was shown, with nothing typed lost on the way."""

from threading import Barrier, Thread

import pytest
from msgspec.structs import replace

from tests.builders import a_category, a_product, customer_form, keep, stock_of
from tests.web.visitor import Visitor

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id, price_cents=3400, stock=10)
CUP = a_product(slug="cup", name="Cup", category_id=TEA.id, price_cents=900, stock=3)


@pytest.fixture(autouse=True)
def goods(repository):
    keep(repository, TEA, POT, CUP)


@pytest.fixture
def at_checkout(visitor):
    """The checkout of one pot and two cups: €52.00, shipping free."""
    visitor.add("pot")
    visitor.add("cup", "2")
    return visitor.get("/checkout")


def orders_in(repository):
    with repository.view() as unit:
        return unit.orders(words="", status="", page=1, size=100).items


def order(page, **typed):
    return page.send("/checkout", **(customer_form() | typed))


def test_an_empty_cart_has_no_checkout(visitor):
    page = visitor.get("/checkout")

    assert (page.status, page.location) == (303, "/cart")


def test_the_checkout_shows_what_is_bought_what_it_costs_and_how_it_is_paid(at_checkout):
    assert [line.one(class_="order-line__total").text for line in at_checkout.tree.all(class_="order-line")] == [
        "€34.00",
        "€18.00",
    ]
    assert "Place the order for €52.00" in at_checkout.text
    assert "You pay €52.00 on delivery" in at_checkout.text


def test_an_order_leads_to_its_page_and_empties_the_cart(visitor, repository, at_checkout):
    page = order(at_checkout)

    (made,) = orders_in(repository)
    assert page.status == 303
    assert page.location.startswith(f"/orders/{made.number}?token=")
    assert page.follow().heading == "Thank you, your order is placed"
    assert (made.total_cents, made.customer.name) == (5200, "Test Customer")
    assert (stock_of(repository, POT), stock_of(repository, CUP)) == (9, 1)
    assert visitor.cart_lines() == {}


def test_sending_the_same_checkout_again_makes_no_second_order(repository, at_checkout):
    first = order(at_checkout)
    again = order(at_checkout)
    changed = order(at_checkout, name="Somebody Else")

    assert first.location == again.location == changed.location
    assert len(orders_in(repository)) == 1
    assert stock_of(repository, POT) == 9


def test_a_double_click_makes_one_order(app, repository, visitor, at_checkout):
    cookie = visitor.client.get_cookie("session")
    data = at_checkout.fields("/checkout") | customer_form()
    barrier, answers = Barrier(8), []

    def click():
        client = app.test_client()
        client.set_cookie("session", cookie.value)
        barrier.wait()
        answers.append(client.post("/checkout", data=data).headers.get("Location"))

    threads = [Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(answers)) == 1
    assert len(orders_in(repository)) == 1


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("name", "", "Enter your name."),
        ("name", "x" * 10_000, "Use at most 120 characters here; these are 10,000."),
        ("name", "a\x00b", "Take out the characters that cannot be printed."),
        ("email", "nobody", "Enter an e-mail address like name@example.com."),
        ("email", "a@b@example.com", "Enter an e-mail address like name@example.com."),
        ("street", "   ", "Enter the street and number."),
        ("postcode", "1" * 17, "Use at most 16 characters here; these are 17."),
        ("city", "", "Enter the city."),
        ("country", "", "Choose a country from the list."),
        ("country", "XX", "Choose a country from the list."),
        ("note", "y" * 501, "Use at most 500 characters here; these are 501."),
    ],
)
def test_what_cannot_be_accepted_is_said_beside_its_field(repository, at_checkout, field, typed, sentence):
    page = order(at_checkout, **{field: typed})

    assert page.status == 400
    assert page.error_of(f"field-{field}") == sentence
    assert sentence in page.tree.one(role="alert").text
    assert orders_in(repository) == []


def test_everything_typed_is_kept_when_one_field_is_refused(at_checkout):
    typed = customer_form(email="<b>@", note="Two\nlines & <more>", name='O"Neil')

    kept = order(at_checkout, **typed).fields("/checkout")

    assert {name: kept[name] for name in typed} == typed


def test_a_corrected_form_is_accepted(repository, at_checkout):
    page = order(order(at_checkout, email="nobody"), email="somebody@example.com")

    assert page.status == 303
    assert len(orders_in(repository)) == 1


def test_a_price_that_changed_is_said_at_its_line_and_nothing_is_ordered(repository, at_checkout):
    keep(repository, replace(POT, price_cents=3600))

    page = order(at_checkout)

    assert page.status == 409
    assert "Nothing has been ordered." in page.notices[0]
    assert "The price changed: it was €34.00, now it is €36.00." in page.tree.one(class_="line-problem").text
    assert page.fields("/checkout")["name"] == "Test Customer"
    assert orders_in(repository) == []
    assert stock_of(repository, POT) == 10


def test_the_new_price_can_be_accepted_with_everything_typed_kept(repository, at_checkout):
    keep(repository, replace(POT, price_cents=3600))
    changed = order(at_checkout)

    settled = changed.send("/checkout", settle=POT.id)

    assert settled.status == 200
    assert not list(settled.tree.all(class_="line-problem"))
    assert order(settled).status == 303
    assert orders_in(repository)[0].total_cents == 5400


def test_what_is_left_can_be_taken_and_what_is_sold_out_dropped(repository, at_checkout):
    keep(repository, replace(CUP, stock=1), replace(POT, stock=0))
    page = order(at_checkout)
    assert [button.text for button in page.tree.all("button", name="settle")] == ["Take it out Teapot", "Order 1 Cup"]

    page = page.send("/checkout", settle=POT.id).send("/checkout", settle=CUP.id)

    assert page.fields("/checkout")["city"] == "Example City"
    assert order(page).status == 303
    assert [(line.name, line.quantity) for line in orders_in(repository)[0].lines] == [("Cup", 1)]


def test_dropping_the_last_line_leads_back_to_the_cart(visitor, repository):
    visitor.add("cup")
    page = visitor.get("/checkout")
    keep(repository, replace(CUP, is_archived=True))

    assert page.send("/checkout", settle=CUP.id).location == "/cart"


def test_settling_what_is_not_in_the_way_or_not_there_changes_nothing(visitor, at_checkout):
    for product_id in (POT.id, "nope", "x" * 5000):
        assert at_checkout.send("/checkout", settle=product_id).status == 200

    assert visitor.cart_lines() == {"Teapot": "1", "Cup": "2"}


@pytest.mark.parametrize("total", ["1", "", "-5200", "5200.0", "abc", "9" * 5000])
def test_the_browser_does_not_set_the_price(repository, at_checkout, total):
    page = order(at_checkout, expected_total_cents=total)

    assert page.status == 409
    assert orders_in(repository) == []


def test_a_foreign_or_missing_checkout_key_orders_nothing(repository, at_checkout):
    for key in ("", "0" * 32, "x" * 10_000):
        page = order(at_checkout, checkout_key=key)
        assert page.status == 409
        assert "out of date" in page.notices[0]
    assert orders_in(repository) == []


def test_a_cart_changed_in_another_tab_is_ordered_only_after_another_look(visitor, repository, at_checkout):
    visitor.add("pot")

    page = order(at_checkout)

    assert page.status == 409
    assert any("Your cart changed since this page was shown." in notice for notice in page.notices)
    assert order(page).status == 303
    assert orders_in(repository)[0].total_cents == 8600


def test_a_read_only_shop_orders_nothing_and_says_when_to_come_back(repository, store, at_checkout):
    store.refuse_writes("The disk said no.")

    page = order(at_checkout)

    assert page.status == 503
    assert orders_in(repository) == []


def test_one_address_cannot_order_without_end(app, at_checkout):
    app.config["ORDERS_PER_ADDRESS"] = "5 per minute"
    data = at_checkout.fields("/checkout")
    far_away = {"REMOTE_ADDR": "203.0.113.7"}

    answers = [
        at_checkout.visitor.client.post("/checkout", data=data, environ_base=far_away).status_code for _ in range(7)
    ]

    assert answers.count(400) == 5
    assert answers[-1] == 429
    refused = at_checkout.visitor.client.post("/checkout", data=data, environ_base=far_away)
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert "Please try again in" in refused.text
    other = at_checkout.visitor.client.post("/checkout", data=data, environ_base={"REMOTE_ADDR": "203.0.113.8"})
    assert other.status_code == 400


def test_a_proxy_on_this_machine_is_not_taken_for_one_customer(at_checkout):
    data = at_checkout.fields("/checkout")

    answers = {at_checkout.visitor.client.post("/checkout", data=data).status_code for _ in range(40)}

    assert answers == {400}


def test_buying_again_is_a_new_order(app, repository):
    for _ in range(2):
        visitor = Visitor(app.test_client())
        for _ in range(2):
            visitor.add("pot")
            assert order(visitor.get("/checkout")).status == 303

    assert len({made.number for made in orders_in(repository)}) == 4
    assert stock_of(repository, POT) == 6


def test_an_order_that_did_not_reach_the_far_side_in_time_is_confirmed_and_says_so(
    visitor, repository, replication, at_checkout, monkeypatch
):
    repository.gate = replication.gate
    replication.gate.set_mode("sync")
    monkeypatch.setattr(replication.gate, "_wait", lambda committed, since: (replication.gate.mode, False))

    page = order(at_checkout).follow()

    assert page.heading == "Thank you, your order is placed"
    assert page.notices == ["Recorded here, not yet at the far side: it gets there as soon as the link lets it."]
    assert len(orders_in(repository)) == 1
