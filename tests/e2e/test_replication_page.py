"""The replication page in a real browser."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, WIDE
from tests.e2e.shop_process import ADMIN_PASSWORD

SLUG = "enamel-mug-two-peaks"
PAGE = "/admin/replication"
FOLLOWS_SECONDS_MAX = 1.0


def open_replication(page: Page) -> None:
    page.goto("/admin/login")
    page.locator("input[type=password]").fill(ADMIN_PASSWORD)
    page.locator("input[type=password]").press("Enter")
    page.wait_for_url("**/admin/**")
    page.goto(PAGE)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_the_page_follows_a_purchase_without_a_reload(start_shop, visit, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="3")
    page = visit(shop.url)
    open_replication(page)
    page.evaluate("window.isTheSamePage = true")
    shopper = new_shopper(shop.url)

    number = shopper.buy(SLUG)

    page.get_by_text(number).first.wait_for(timeout=2 * FOLLOWS_SECONDS_MAX * 1000)
    expect(page.locator("main")).to_contain_text("In sync", timeout=6_000)
    assert page.evaluate("window.isTheSamePage")


def test_the_page_shows_a_commit_within_a_second_of_it(start_shop, visit, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="1")
    page = visit(shop.url)
    open_replication(page)
    shopper = new_shopper(shop.url)

    taken = []
    for _ in range(5):
        number = shopper.buy(SLUG)
        bought_at = time.monotonic()
        page.get_by_text(number).first.wait_for()
        taken.append(time.monotonic() - bought_at)
    assert sorted(taken)[2] <= FOLLOWS_SECONDS_MAX, "the median: one glance may fall into a busy moment of the machine"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_page_is_complete_without_javascript(start_shop, visit, new_shopper, size):
    shop = start_shop(SHOP_REPLICATION_DELAY="600")
    number = new_shopper(shop.url).buy(SLUG)
    page = visit(shop.url, javascript=False, size=size)

    open_replication(page)

    main = page.locator("main")
    for words in ("db.json", "db_async.json", number, "Primary", "Replica"):
        expect(main).to_contain_text(re.compile(re.escape(words), re.IGNORECASE))
    page.get_by_role("button", name=re.compile("sync now|bring", re.IGNORECASE)).click()
    expect(main).to_contain_text("In sync")


def test_the_knobs_work_by_keyboard(start_shop, visit, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="600")
    page = visit(shop.url)
    open_replication(page)

    tab_to(page, "input[name=delay]")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("0.5")
    page.keyboard.press("Enter")
    expect(page.locator("main, [role=status]").first).to_contain_text("0.5")
    new_shopper(shop.url).buy(SLUG)
    expect(page.locator("main")).to_contain_text("In sync", timeout=5_000)

    tab_to(page, "button[form='pause-form']")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Paused")
    tab_to(page, "button[form='resume-form']")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("In sync")


def test_a_delay_that_is_none_is_refused_beside_its_field(start_shop, visit):
    page = visit(start_shop().url, javascript=False)
    open_replication(page)

    page.locator("input[name=delay]").fill("soon")
    page.locator("input[name=delay]").press("Enter")

    expect(page.locator("input[name=delay]")).to_have_value("soon")
    expect(page.locator("input[name=delay]")).to_have_attribute("aria-invalid", "true")


def tab_to(page: Page, selector: str) -> None:
    """Move the focus with the Tab key alone, as somebody without a mouse does."""
    page.locator("body").press("Tab")
    for _ in range(80):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by keyboard")
