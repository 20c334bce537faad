"""Every state of the shop's pages, looked at by axe in a real browser, and a purchase by keyboard alone.

The shop runs in a thread of the test, so that a price or a stock can change between two clicks.
"""

import threading
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from msgspec.structs import replace
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from shop.clock import SystemClock
from shop.config import Config
from shop.demo.seed import seed
from shop.replication.embedded import EmbeddedReplication
from shop.replication.pair import open_pair
from shop.replication.reads import EmbeddedReads
from shop.repository.embedded import EmbeddedRepository
from shop.web.factory import create_app
from shop.web.links import order_address
from shop.web.services import Services
from tests.builders import customer_form
from tests.e2e.conftest import PHONE, WIDE

PEN, GLOBE, MUG = "fountain-pen", "desk-globe", "enamel-mug-two-peaks"


class Shop:
    def __init__(self, url: str, repository: EmbeddedRepository, lost_address: str) -> None:
        self.url = url
        self.repository = repository
        self.lost_address = lost_address

    def change(self, slug: str, **fields: int) -> None:
        with self.repository.update() as unit:
            product = unit.product_by_slug(slug)
            assert product
            unit.put_product(replace(product, **fields))


@pytest.fixture
def shop(tmp_path) -> Iterator[Shop]:
    clock = SystemClock()
    pair = open_pair(tmp_path, clock)
    repository = EmbeddedRepository(pair.primary)
    seed(repository, clock)
    replication = EmbeddedReplication(pair, clock=clock, delay_seconds=60, currency="EUR")
    replication.sync_now()
    reads = EmbeddedReads(pair, repository, clock=clock)
    services = Services(Config(instance=tmp_path), clock, repository, replication, reads=reads)
    app = create_app(services, secret_key="a key for tests")
    with app.test_request_context():
        lost_address = order_address("A1-99999")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Shop(f"http://127.0.0.1:{server.port}", repository, lost_address)
    server.shutdown()
    thread.join()
    server.server_close()
    pair.close()


class Eyes:
    """Looks at a page as axe does, and for anything that scrolls sideways."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._axe = Axe()

    def look(self, name: str, path: str = "") -> None:
        if path:
            self.page.goto(path)
        expect(self.page.get_by_role("heading", level=1)).to_have_count(1)
        results = self._axe.run(self.page)
        assert not results.violations_count, f"{name}: {results.generate_report()}"
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.page.evaluate("innerWidth"), f"{name} scrolls sideways"

    def press(self, name: str) -> None:
        with self.page.expect_navigation():  # or axe may look at the page that is just being left
            self.page.get_by_role("button", name=name).first.click()

    def add(self, slug: str) -> None:
        self.page.goto(f"/products/{slug}")
        self.press("Add to cart")
        expect(self.page).to_have_url(f"{self.page.url.split('/products')[0].split('/cart')[0]}/cart")

    def fill_in_checkout(self) -> None:
        for name, value in customer_form().items():
            if name == "country":
                self.page.locator("[name=country]").select_option(value)
            else:
                self.page.locator(f"[name={name}]").fill(value)


@pytest.mark.parametrize(("size", "dark"), [(WIDE, False), (PHONE, True)], ids=["wide-light", "phone-dark"])
def test_axe_finds_nothing_in_any_state_of_the_shop(shop, visit, size, dark):
    eyes = Eyes(visit(shop.url, size=size, dark=dark))

    eyes.look("catalog", "/")
    eyes.look("nothing found", "/?q=zebra&in_stock=1")
    eyes.look("empty cart", "/cart")
    eyes.look("not found", "/nowhere")
    eyes.look("lost order", shop.lost_address)
    eyes.look("few left", f"/products/{GLOBE}")
    eyes.page.locator("#field-quantity").fill("1.5")
    eyes.press("Add to cart")
    eyes.look("quantity refused")
    for slug in (PEN, GLOBE, MUG):
        eyes.add(slug)
    eyes.look("cart with a message")
    eyes.press("Remove Enamel Mug")
    eyes.look("cart with undo")
    eyes.page.locator("[name=quantity]").first.fill("many")
    eyes.press("Update")
    eyes.look("cart with an error")
    shop.change(PEN, price_cents=9900)
    shop.change(GLOBE, stock=0)
    eyes.look("cart that changed", "/cart")
    eyes.look("checkout that changed", "/checkout")
    eyes.fill_in_checkout()
    eyes.press("Take it out")
    eyes.press("Accept the new price")
    eyes.page.locator("[name=email]").fill("nobody")
    eyes.press("Place the order")
    eyes.look("checkout with an error")
    eyes.page.locator("[name=email]").fill("somebody@example.com")
    eyes.press("Place the order")
    eyes.look("order")


@pytest.mark.parametrize(("size", "dark"), [(WIDE, False), (PHONE, True)], ids=["wide-light", "phone-dark"])
def test_axe_finds_nothing_on_the_far_side(shop, visit, size, dark):
    """The replica has the goods of the start, and nothing that came after."""
    eyes = Eyes(visit(shop.url, size=size, dark=dark))
    shop.change(GLOBE, price_cents=9900)

    eyes.look("one product from both sides", f"/products/{GLOBE}/both")
    eyes.look("choosing", "/far-side")
    eyes.page.get_by_label("Far side, as it is").check()
    with eyes.page.expect_navigation():
        eyes.press("Shop like this")
    eyes.add(PEN)
    eyes.look("a stale product", f"/products/{GLOBE}")
    expect(eyes.page.get_by_text("Missed own write.")).to_be_visible()
    expect(eyes.page.get_by_text("commits behind")).to_be_visible()
    eyes.look("a stale catalog", "/")
    eyes.page.get_by_label("Shop from", exact=True).select_option("monotonic")
    with eyes.page.expect_navigation():
        eyes.press("Change")
    eyes.look("another policy")


def test_a_purchase_by_keyboard_alone(shop, visit):
    page = visit(f"{shop.url}")
    page.goto(f"/products/{PEN}")
    keyboard = page.keyboard

    keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    tab_to(page, "#field-quantity")
    keyboard.press("ControlOrMeta+a")
    keyboard.type("2")
    keyboard.press("Enter")
    expect(page).to_have_url(f"{shop.url}/cart")
    tab_to(page, "a[href='/checkout']")
    keyboard.press("Enter")
    expect(page).to_have_url(f"{shop.url}/checkout")
    for name, value in customer_form().items():
        tab_to(page, f"[name={name}]")
        keyboard.type("Germany" if name == "country" else value)
    keyboard.press("Tab")
    tab_to(page, "button:has-text('Place the order')")
    keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you, your order is placed")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until *selector* has the focus, which must be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector.partition(":has")[0]):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"{selector} does not show that it has the focus"
            if ":has" not in selector or page.locator(selector).evaluate("e => e === document.activeElement"):
                return
    raise AssertionError(f"no way to {selector} by Tab")
