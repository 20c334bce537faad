"""A purchase in a real browser, followed into the files."""

import re
import threading
import time

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import shop_files
from tests.e2e.conftest import PHONE, WIDE
from tests.e2e.shop_process import ShopProcess, wait_until
from tests.e2e.shopper import CUSTOMER

SLUG = "enamel-mug-two-peaks"
DELAY_SECONDS = 2.0
LATE_SECONDS_MAX = 0.25
ORDER_BUTTON = re.compile("place (the )?order|order now|buy now|order and pay", re.IGNORECASE)


def put_in_cart(page: Page, slug: str = SLUG) -> None:
    page.goto(f"/products/{slug}")
    page.get_by_role("button", name=re.compile("add to cart", re.IGNORECASE)).first.click()


def fill_in_checkout(page: Page) -> None:
    page.goto("/checkout")
    for field in ("name", "email", "street", "postcode", "city"):
        page.locator(f"input[name={field}]").fill(CUSTOMER[field])
    page.locator("select[name=country]").select_option(CUSTOMER["country"])


def order_number(page: Page) -> str:
    """On the confirmation page: which order it confirms."""
    page.wait_for_url("**/orders/**")
    found = re.search(r"/orders/([A-Z0-9-]+)\?token=", page.url)
    assert found, page.url
    return found[1]


class Arrival:
    """Watches the replica's file from the side, every few milliseconds, until an order is in it."""

    def __init__(self, shop: ShopProcess) -> None:
        self.seen_at: dict[str, float] = {}
        self._path = shop.instance / "db_async.json"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Arrival":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        identity = None
        while not self._stopping.wait(0.003):
            now = time.time()
            if identity != (identity := self._path.stat().st_ino):
                for number in shop_files.read_database(self._path)["orders"]:
                    self.seen_at.setdefault(number, now)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_an_order_is_in_the_primary_when_confirmed_and_in_the_replica_after_the_delay(start_shop, visit, size):
    shop = start_shop(SHOP_REPLICATION_DELAY=str(DELAY_SECONDS))
    page = visit(shop.url, size=size)
    with Arrival(shop) as arrival:
        put_in_cart(page)
        fill_in_checkout(page)
        sent_at = time.time()
        page.get_by_role("button", name=ORDER_BUTTON).click()
        number = order_number(page)
        primary, replica = shop_files.primary(shop.instance), shop_files.replica(shop.instance)
        confirmed_at = time.time()

        assert number in primary["orders"]
        assert number not in replica["orders"]
        expect(page.locator("main")).to_contain_text(number)
        wait_until(lambda: number in arrival.seen_at, seconds=DELAY_SECONDS + 5, what="the order is in the replica")

    committed_at = committed(shop, number)
    assert sent_at <= committed_at <= confirmed_at
    assert DELAY_SECONDS <= arrival.seen_at[number] - committed_at <= DELAY_SECONDS + LATE_SECONDS_MAX
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=3, what="both files hold equal data")
    order = shop_files.replica(shop.instance)["orders"][number]
    assert order["customer"] == {**CUSTOMER, "note": ""}
    assert [(line["sku"], line["quantity"]) for line in order["lines"]] == [("TEA-MUG", 1)]


def test_a_shopper_finds_a_product_changes_the_cart_and_buys(start_shop, visit):
    shop = start_shop()
    page = visit(shop.url, size=PHONE)

    page.goto("/?q=compass")
    page.get_by_role("link", name=re.compile("Brass Compass")).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Brass Compass")
    page.locator("input[name=quantity]").fill("2")
    page.get_by_role("button", name=re.compile("add to cart", re.IGNORECASE)).click()
    page.goto("/cart")

    expect(page.locator("main")).to_contain_text("92.00")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "the page scrolls sideways"
    fill_in_checkout(page)
    page.get_by_role("button", name=ORDER_BUTTON).click()
    order = shop_files.primary(shop.instance)["orders"][order_number(page)]
    assert order["subtotal_cents"] == 9200


def test_a_double_click_on_the_order_button_makes_one_order(start_shop, visit):
    shop = start_shop()
    page = visit(shop.url)
    put_in_cart(page)
    fill_in_checkout(page)

    page.get_by_role("button", name=ORDER_BUTTON).dblclick(no_wait_after=True)

    number = order_number(page)
    assert set(shop_files.primary(shop.instance)["orders"]) == {number}


def test_an_order_sent_twice_without_a_script_makes_one_order(start_shop, new_shopper):
    """As a double click does where no JavaScript holds the second one back: both are on the way at once."""
    shop = start_shop()
    shopper = new_shopper(shop.url)
    shopper.add_to_cart(SLUG)
    form = shopper.checkout_form()
    twin = new_shopper(shop.url)
    twin.cookies.update(shopper.cookies)
    locations = []

    threads = [
        threading.Thread(target=lambda who=who: locations.append(who.send(form).location)) for who in (shopper, twin)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(shop_files.primary(shop.instance)["orders"]) == 1
    assert len(locations) == 2
    assert {location.split("?")[0] for location in locations} == {locations[0].split("?")[0]}


def test_a_reload_of_the_confirmation_and_a_way_back_make_no_second_order(start_shop, visit):
    shop = start_shop()
    page = visit(shop.url)
    put_in_cart(page)
    fill_in_checkout(page)
    page.get_by_role("button", name=ORDER_BUTTON).click()
    number = order_number(page)

    page.reload()
    page.reload()
    page.go_back()

    assert set(shop_files.primary(shop.instance)["orders"]) == {number}


def test_a_purchase_works_without_javascript(start_shop, visit):
    shop = start_shop()
    page = visit(shop.url, javascript=False)
    put_in_cart(page)
    fill_in_checkout(page)

    page.get_by_role("button", name=ORDER_BUTTON).click()

    assert set(shop_files.primary(shop.instance)["orders"]) == {order_number(page)}


def committed(shop: ShopProcess, number: str) -> float:
    """When the journal says that the order was committed, in seconds of the wall clock."""
    return shop_files.committed_at(shop.instance / "db.journal", "orders", number)
