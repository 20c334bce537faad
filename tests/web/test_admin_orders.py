"""The orders as the shopkeeper sees and changes them, and the first page of the admin."""

from contextlib import contextmanager

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from shop.errors import WritesUnavailable
from shop.models import Order, OrderStatus, Product
from tests.builders import a_customer, a_product, an_order, keep, keep_products, order_of, product_in, stock_of
from tests.web.visitor import Page

INDEX = "/admin/orders"
DASHBOARD = "/admin/"


@pytest.fixture
def teapot(repository) -> Product:
    product = a_product(name="Teapot", sku="TEA-POT", slug="teapot", category_id="tea", price_cents=2000, stock=100)
    keep_products(repository, product)
    return product


@pytest.fixture
def mug(repository, teapot) -> Product:
    product = a_product(name="Mug", sku="TEA-MUG", slug="mug", category_id="tea", price_cents=1450, stock=50)
    keep_products(repository, product)
    return product


@pytest.fixture
def order(repository, teapot, mug) -> Order:
    return order_of(repository, (teapot, 2), (mug, 3))


def address(order: Order, action: str = "") -> str:
    return f"{INDEX}/{order.number}{action}"


def order_in(repository, order: Order) -> Order:
    with repository.view() as unit:
        found = unit.order(order.number)
    assert found is not None
    return found


def numbers_on(page: Page) -> list[str]:
    return [link.text for link in page.main.all("a", class_="rows__name")]


def rows(page: Page) -> list[list[str]]:
    return [[cell.text for cell in row.all("td")] for row in page.main.one("tbody").all("tr")]


def is_open(page: Page) -> bool:
    """Whether the page offers to do something with the order."""
    return any(form.attributes.get("action", "").endswith("/sent") for form in page.main.all("form"))


# ---- the list


def test_the_list_shows_the_newest_order_first(shopkeeper, repository, teapot, order):
    newer = order_of(repository, (teapot, 1))

    page = shopkeeper.get(INDEX)

    assert numbers_on(page) == [newer.number, order.number]
    assert rows(page)[1][0] == order.number
    assert rows(page)[1][1].startswith("Test Customer")
    assert rows(page)[1][2:] == ["1 January 2026, 12:00 UTC", "Placed", "€83.50"]
    assert page.tree.one("nav", aria_label="Admin").one("a", aria_current="page").text == "Orders"


def test_the_list_can_be_narrowed_to_a_status(shopkeeper, repository, teapot):
    orders = {
        status: an_order(teapot, status=status, sent_at="2026-01-02T12:00:00Z", cancelled_at="2026-01-02T12:00:00Z")
        for status in OrderStatus
    }
    keep(repository, *orders.values())
    page = shopkeeper.get(INDEX)

    for tab, expected in (
        ("All", set(OrderStatus)),
        ("To send", {OrderStatus.PLACED}),
        ("Sent", {OrderStatus.SENT}),
        ("Cancelled", {OrderStatus.CANCELLED}),
    ):
        link = next(link for link in page.main.one("nav", aria_label="Which orders").all("a") if link.text == tab)
        narrowed = shopkeeper.get(link["href"])
        assert set(numbers_on(narrowed)) == {orders[status].number for status in expected}
        assert narrowed.main.one("nav", aria_label="Which orders").one("a", aria_current="true").text == tab

    assert len(numbers_on(shopkeeper.get(INDEX, status="nonsense"))) == 3


@pytest.mark.parametrize("words", ["anna", "A1-20", "anna@example.org", "ÄNNA"])
def test_an_order_is_found_by_number_name_and_address(shopkeeper, repository, teapot, words):
    wanted = an_order(teapot, number="A1-20000", customer=a_customer(name="Änna Example", email="anna@example.org"))
    keep(repository, wanted, an_order(teapot, number="A1-10000"))

    page = shopkeeper.get(INDEX).send(INDEX, q=words)

    assert numbers_on(page) == ["A1-20000"]
    assert page.main.one("input", name="q")["value"] == words


def test_a_long_list_comes_in_pages_that_keep_what_was_asked(shopkeeper, repository, teapot):
    keep(repository, *[an_order(teapot, number=f"A1-{n}") for n in range(10_001, 10_061)])
    keep(repository, an_order(teapot, number="A1-10061", status=OrderStatus.SENT, sent_at="2026-01-02T12:00:00Z"))

    first = shopkeeper.get(INDEX, status="placed", q="customer")
    second = shopkeeper.get(first.main.one("a", rel="next")["href"])

    assert "60 orders" in first.main.text
    assert (numbers_on(first)[0], numbers_on(first)[-1]) == ("A1-10060", "A1-10036")
    assert (numbers_on(second)[0], numbers_on(second)[-1]) == ("A1-10035", "A1-10011")
    assert len(numbers_on(shopkeeper.get(INDEX, page="9" * 50))) == 11


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "Nobody has ordered yet."),
        ({"status": "placed"}, "Nothing waits to be sent."),
        ({"status": "sent"}, "There are none."),
        ({"q": "<i>zzz"}, "No order has a number, name or e-mail address that begins like “<i>zzz”."),
        ({"q": "zzz", "status": "sent"}, "No order of these has"),
    ],
)
def test_an_empty_list_says_why(shopkeeper, query, words):
    assert words in shopkeeper.get(INDEX, **query).main.text


# ---- one order


def test_an_order_shows_what_who_and_when(shopkeeper, order):
    page = shopkeeper.get(address(order))

    assert page.heading == f"Order {order.number}"
    assert rows(page) == [
        ["Teapot TEA-POT", "2", "€20.00", "€40.00"],
        ["Mug TEA-MUG", "3", "€14.50", "€43.50"],
    ]
    assert "Total €83.50" in page.main.text
    goes_to = page.main.one("section", aria_labelledby="customer").text
    for words in ("Test Customer", "Example Street 1", "12345 Example City", "Germany", "customer@example.com"):
        assert words in goes_to
    assert page.main.one("section", aria_labelledby="timeline").text == (
        "What happened Placed 1 January 2026, 12:00 UTC Not sent yet"
    )
    assert is_open(page)


def test_what_the_customer_typed_is_text_and_never_markup(shopkeeper, repository, teapot):
    evil = '"><script>alert(1)</script>'
    order = an_order(teapot, customer=a_customer(name=evil, street=evil, city=evil, note=evil))
    keep(repository, order)

    for path in (INDEX, address(order), DASHBOARD, address(order, "/cancellation")):
        page = shopkeeper.get(path)
        assert evil in page.main.text
        assert not list(page.main.all("script"))


def test_the_customers_link_opens_the_order_for_anybody(app, shopkeeper, order):
    link = shopkeeper.get(address(order)).main.one(id="customer-link")["value"]

    assert link.startswith(f"http://localhost/orders/{order.number}?token=")
    answer = app.test_client().get(link)
    assert answer.status_code == 200
    assert order.number in answer.text


def test_a_line_leads_to_its_product_while_that_is_kept(shopkeeper, repository, teapot, order):
    stray = an_order(a_product(name="Gone"))
    keep(repository, stray)

    assert shopkeeper.get(address(order)).main.one("tbody").one("a", href=f"/admin/products/{teapot.id}")
    assert not list(shopkeeper.get(address(stray)).main.one("tbody").all("a"))


def test_an_order_that_never_was_is_a_page_in_the_admins_frame(shopkeeper, order):
    token = shopkeeper.get(INDEX).fields("/admin/logout")["csrf_token"]
    form = {"csrf_token": token, "version": "1"}

    for page in (
        shopkeeper.get(f"{INDEX}/A1-99999"),
        shopkeeper.get(f"{INDEX}/A1-99999/cancellation"),
        shopkeeper.post(f"{INDEX}/A1-99999/sent", form),
        shopkeeper.post(f"{INDEX}/A1-99999/cancellation", form),
    ):
        assert (page.status, page.heading) == (404, "There is nothing here")
        assert "There is no such order." in page.main.text
        assert page.tree.one("nav", aria_label="Admin")


# ---- sent


def test_a_parcel_that_left_is_marked_as_sent(shopkeeper, repository, clock, order):
    clock.advance(600)
    with capture_logs() as lines:
        answer = shopkeeper.get(address(order)).send(address(order, "/sent"))

    page = answer.follow()
    assert answer.status == 303
    assert page.notices == [f"Order {order.number} is marked as sent."]
    assert page.main.one("section", aria_labelledby="timeline").text.endswith("Sent 1 January 2026, 12:10 UTC")
    assert page.main.one(class_="badge").text == "Sent"
    assert not is_open(page)
    assert order_in(repository, order).status is OrderStatus.SENT
    assert [(line["event"], line["order"], line["admin"]) for line in lines] == [("order sent", order.number, "admin")]


def test_sending_takes_nothing_more_from_the_stock(shopkeeper, repository, teapot, order):
    shopkeeper.get(address(order)).send(address(order, "/sent"))

    assert stock_of(repository, teapot) == 98


def test_a_parcel_leaves_once(shopkeeper, repository, order):
    page = shopkeeper.get(address(order))
    page.send(address(order, "/sent"))
    sent = order_in(repository, order)

    again = page.send(address(order, "/sent"))

    assert again.status == 409
    assert again.main.one(role="alert").text == f"Order {order.number} has already been sent."
    assert order_in(repository, order) == sent


# ---- cancelled


def test_a_cancellation_is_asked_for_and_says_what_goes_back(shopkeeper, repository, order):
    page = shopkeeper.get(shopkeeper.get(address(order)).main.one("a", class_="button--danger")["href"])

    assert page.heading == f"Cancel order {order.number}?"
    assert [item.text for item in page.main.all("li")] == ["2 × Teapot TEA-POT", "3 × Mug TEA-MUG"]
    assert "€83.50" in page.main.text
    assert page.main.one("a", href=address(order)).text == "Keep it"
    assert order_in(repository, order) == order


def test_a_cancelled_order_gives_its_stock_back(shopkeeper, repository, teapot, mug, order):
    assert (stock_of(repository, teapot), stock_of(repository, mug)) == (98, 47)

    with capture_logs() as lines:
        answer = shopkeeper.get(address(order, "/cancellation")).send(address(order, "/cancellation"))

    page = answer.follow()
    assert (answer.status, answer.location) == (303, address(order))
    assert page.notices == [f"Order {order.number} is cancelled; 5 pieces are back in stock."]
    assert page.main.one(class_="badge").text == "Cancelled"
    assert not is_open(page)
    assert (stock_of(repository, teapot), stock_of(repository, mug)) == (100, 50)
    assert [(line["event"], line["order"]) for line in lines] == [("order cancelled", order.number)]


def test_a_cancellation_does_not_disturb_an_edit_of_the_product(shopkeeper, repository, teapot, order):
    form = shopkeeper.get(f"/admin/products/{teapot.id}")
    shopkeeper.get(address(order, "/cancellation")).send(address(order, "/cancellation"))

    page = form.send(f"/admin/products/{teapot.id}", stock="200", name="Big teapot").follow()

    assert page.notices[-1] == "Big teapot is saved. 2 came back meanwhile, so the stock is 202."
    assert product_in(repository, teapot).stock == 202


def test_an_order_is_cancelled_once(shopkeeper, repository, teapot, order):
    page = shopkeeper.get(address(order, "/cancellation"))
    page.send(address(order, "/cancellation"))

    again = page.send(address(order, "/cancellation"))

    assert again.status == 409
    assert again.main.one(role="alert").text == f"Order {order.number} has already been cancelled."
    assert stock_of(repository, teapot) == 100


def test_what_was_sent_cannot_be_cancelled_and_the_other_way_round(
    shopkeeper, second_shopkeeper, repository, teapot, order
):
    asked, shown = second_shopkeeper.get(address(order, "/cancellation")), second_shopkeeper.get(address(order))
    shopkeeper.get(address(order)).send(address(order, "/sent"))

    refused = asked.send(address(order, "/cancellation"))

    assert (refused.status, refused.notices) == (409, [f"Order {order.number} has already been sent."])
    assert stock_of(repository, teapot) == 98
    not_asked = shopkeeper.get(address(order, "/cancellation"))
    assert not_asked.follow().notices[-1] == f"Order {order.number} cannot be cancelled: it was sent before."
    assert shown.send(address(order, "/sent")).status == 409


@pytest.mark.parametrize("action", ["/sent", "/cancellation"])
@pytest.mark.parametrize("version", ["", "0", "2", "abc", "-1", "9" * 5000])
def test_an_order_that_is_not_as_it_was_shown_is_left_alone(shopkeeper, repository, order, action, version):
    path = address(order, "/cancellation" if action == "/cancellation" else "")

    page = shopkeeper.get(path).send(address(order, action), version=version)

    assert page.status == 409
    assert "was changed since this page was shown" in page.notices[0]
    assert order_in(repository, order) == order


def test_looking_at_an_address_that_sends_sends_nothing(shopkeeper, repository, order):
    assert shopkeeper.get(address(order, "/sent")).status == 405
    assert order_in(repository, order) == order


def test_a_shop_that_cannot_be_written_says_so(shopkeeper, repository, order, monkeypatch):
    page = shopkeeper.get(address(order))

    @contextmanager
    def refuse():
        raise WritesUnavailable("The shop can be read but not changed at the moment.", 5)
        yield

    monkeypatch.setattr(repository, "update", refuse)

    for answer in (page.send(address(order, "/sent")),):
        assert (answer.status, answer.response.headers["Retry-After"]) == (503, "5")
        assert "not changed at the moment" in answer.main.text
        assert answer.tree.one("nav", aria_label="Admin")


# ---- the first page


def figures(page: Page) -> list[str]:
    return [figure.text for figure in page.main.one("ul", class_="figures").all("a")]


def test_the_dashboard_of_an_empty_shop_says_what_will_be_there(shopkeeper):
    page = shopkeeper.get(DASHBOARD)

    assert figures(page) == ["0 orders to send", "0 orders ever", "0 products in the shop", "0 low in stock"]
    assert "Nobody has ordered yet." in page.main.text
    assert "Nothing is running out." in page.main.text


def test_the_dashboard_shows_what_wants_attention(shopkeeper, repository, teapot, mug, order):
    keep_products(repository, replace(product_in(repository, mug), stock=2))
    keep(repository, an_order(teapot, number="A1-10000", status=OrderStatus.SENT, sent_at="2026-01-02T12:00:00Z"))

    page = shopkeeper.get(DASHBOARD)

    assert figures(page) == ["1 order to send", "2 orders ever", "2 products in the shop", "1 low in stock"]
    assert numbers_on(page) == [order.number, "A1-10000"]
    assert [item.text for item in page.main.one("ul", class_="low").all("li")] == ["Mug Only 2 left"]


def test_every_figure_leads_to_its_list(shopkeeper, order):
    for link in shopkeeper.get(DASHBOARD).main.one("ul", class_="figures").all("a"):
        assert link["href"].startswith("#") or shopkeeper.get(link["href"]).status == 200


def test_the_dashboard_says_how_the_far_side_is_and_leads_there(shopkeeper, replication, order):
    behind = shopkeeper.get(DASHBOARD).main.one(class_="health")
    assert behind.one(class_="badge").text == "Behind"
    assert replication.status().sentence in behind.text
    assert behind.one("a")["href"] == "/admin/replication"

    replication.sync_now()

    assert shopkeeper.get(DASHBOARD).main.one(class_="health").one(class_="badge").text == "In sync"
