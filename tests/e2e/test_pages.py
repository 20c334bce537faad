"""Every page in a real browser: nothing for the console to complain of, nothing that scrolls sideways."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import PHONE, WIDE
from tests.e2e.shop_process import ShopProcess
from tests.e2e.shopper import Shopper
from tests.e2e.test_replication_page import open_replication

SLUG = "enamel-mug-two-peaks"
SHOP_PAGES = (
    "/",
    "/?q=tea&in_stock=1&sort=-price",
    "/?q=nothing-like-this",
    "/?category=desk",
    "/?page=2",
    f"/products/{SLUG}",
    "/products/storm-lantern",
    "/products/desk-globe",
    "/cart",
    "/checkout",
    "/nowhere",
)
ADMIN_PAGES = (
    "/admin/",
    "/admin/products",
    "/admin/products/new",
    "/admin/products/p-tea-mug",
    "/admin/orders",
    "/admin/replication",
    "/admin/replication/failover",
    "/admin/replication/lost",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = ShopProcess(tmp_path_factory.mktemp("shop"), SHOP_REPLICATION_DELAY="600").start()
    yield shop
    shop.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_page_makes_the_browser_complain_or_scroll_sideways(shop, visit, size, dark):
    page = visit(shop.url, size=size, dark=dark)
    shopper = Shopper(shop.url)
    shopper.add_to_cart(SLUG, 2)
    confirmation = shopper.send(shopper.checkout_form()).location
    number = confirmation.removeprefix("/orders/").split("?")[0]
    shopper.add_to_cart(SLUG, 2)
    page.context.add_cookies(
        [{"name": name, "value": value, "url": shop.url} for name, value in shopper.cookies.items()]
    )
    shopper.close()

    for path in (*SHOP_PAGES, confirmation):
        check_page(page, path)
    open_replication(page)
    for path in (*ADMIN_PAGES, f"/admin/orders/{number}"):
        check_page(page, path)


def check_page(page, path):
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} scrolls sideways"
    broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    assert not broken, f"{path}: {broken}"
