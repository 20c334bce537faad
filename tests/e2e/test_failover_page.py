"""Losing the primary in a real browser, and the link's knobs: by keyboard alone, without JavaScript, and as axe sees it."""

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import shop_files
from tests.e2e.conftest import PHONE, WIDE
from tests.e2e.shop_process import ShopProcess, wait_until
from tests.e2e.test_accessibility import Eyes, tab_to
from tests.e2e.test_replication_page import SLUG, open_replication

FAILOVER, LOST, AUDIT = (f"/admin/replication/{page}" for page in ("failover", "lost", "audit"))


@pytest.fixture
def shop(start_shop) -> ShopProcess:
    """Nothing crosses by itself while the test lasts."""
    return start_shop(SHOP_REPLICATION_DELAY="600", SHOP_PUBLIC_STAGE="1")


def sync(page: Page) -> None:
    open_page(page, "/admin/replication")
    with page.expect_navigation():
        page.get_by_role("button", name="Sync now").click()


def open_page(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def card_of(page: Page, number: str) -> str:
    return f"li.card:has(h3:has-text('{number}'))"


def test_without_javascript_the_lost_orders_are_listed_and_re_entered_and_the_old_primary_follows(
    shop, visit, new_shopper
):
    page = visit(shop.url, javascript=False)
    open_replication(page)
    sync(page)
    kept, thrown = new_shopper(shop.url).buy(SLUG), new_shopper(shop.url).buy(SLUG)

    open_page(page, FAILOVER)
    expect(page.locator("main")).to_contain_text("2 orders")
    page.get_by_role("button", name="Promote db_async.json now").click()

    main = page.locator("main")
    expect(main).to_contain_text("Invoice of losses, timeline 1")
    for number in (kept, thrown):
        expect(main.locator("h3", has_text=number)).to_have_count(1)
    page.locator(card_of(page, kept)).get_by_role("button", name="Re-enter").click()
    expect(page.locator(card_of(page, kept))).to_contain_text("Re-entered")
    page.locator(card_of(page, thrown)).locator("summary").click()
    page.locator(card_of(page, thrown)).get_by_role("button", name="Discard").click()
    expect(page.locator("[aria-invalid=true]")).to_have_count(1)
    page.locator(card_of(page, thrown)).locator("[name=reason]").fill("Ordered again by telephone.")
    page.locator(card_of(page, thrown)).get_by_role("button", name="Discard").click()
    expect(page.locator(card_of(page, thrown))).to_contain_text("Ordered again by telephone.")
    sync(page)
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=10, what="the old primary follows")
    assert set(shop_files.replica(shop.instance)["orders"]) == {kept}

    shop.kill()
    shop.start()
    page.goto(f"{shop.url}{FAILOVER}")
    assert set(shop_files.primary(shop.instance)["orders"]) == {kept}
    assert new_shopper(shop.url).buy(SLUG).startswith("A2-")


@pytest.mark.parametrize(("size", "dark"), [(WIDE, False), (PHONE, True)], ids=["wide-light", "phone-dark"])
def test_by_keyboard_alone_and_axe_finds_nothing_on_the_way(shop, visit, new_shopper, size, dark):
    page = visit(shop.url, size=size, dark=dark)
    open_replication(page)
    sync(page)
    number = new_shopper(shop.url).buy(SLUG)
    eyes = Eyes(page)

    eyes.look("the public stage", "/replication")
    eyes.look("before promoting", FAILOVER)
    tab_to(page, "button:has-text('Promote')")
    with page.expect_navigation(url=f"**{LOST}"):
        page.keyboard.press("Enter")
    eyes.look("the invoice")
    tab_to(page, f"button.button--primary:has-text('order {number}')")
    with page.expect_navigation(url=f"**{LOST}*"):
        page.keyboard.press("Enter")
    expect(page.locator(card_of(page, number))).to_contain_text("Re-entered")
    eyes.look("re-entered")
    eyes.look("the audit list", AUDIT)
    expect(page.locator("main")).to_contain_text("failover/promote")


@pytest.mark.parametrize("javascript", [True, False], ids=["keyboard", "no-javascript"])
def test_each_mode_and_each_knob_of_the_link(shop, visit, new_shopper, javascript):
    page = visit(shop.url, javascript=javascript)
    open_replication(page)
    sync(page)

    for name, value, said in (
        ("jitter", "0.5", "up to 0.5 s longer by chance"),
        ("bandwidth", "2000", "2.0 kB a second"),
        ("loss", "25", "25 % of the tries lost"),
        ("timeout", "1", ""),
        ("outage", "30", "The cable is broken"),
    ):
        turn(page, f"#field-{name}", value, by_keyboard=javascript)
        expect(page.locator("main")).to_contain_text(said)
        if name != "outage":
            expect(page.locator(f"#field-{name}")).to_have_value(value)
    for mode in ("sync", "semi-sync", "async"):
        press(page, f"button[form='mode-form'][value='{mode}']", by_keyboard=javascript)
        expect(page.locator(f"button[form='mode-form'][value='{mode}']")).to_have_count(0)
    press(page, "form[action$='/mend'] button", by_keyboard=javascript)
    expect(page.locator("main")).not_to_contain_text("The cable is broken for")


def turn(page: Page, selector: str, value: str, *, by_keyboard: bool) -> None:
    if not by_keyboard:
        page.locator(selector).fill(value)
        with page.expect_navigation():
            page.locator(selector).press("Enter")
        return
    page.locator("body").press("Tab")
    reach(page, selector)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(value)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def press(page: Page, selector: str, *, by_keyboard: bool) -> None:
    if by_keyboard:
        page.locator("body").press("Tab")
        reach(page, selector)
    with page.expect_navigation():
        page.keyboard.press("Enter") if by_keyboard else page.locator(selector).click()


def reach(page: Page, selector: str) -> None:
    """By the Tab key alone."""
    for _ in range(120):
        if page.locator(f"{selector}:focus").count():
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by keyboard")
