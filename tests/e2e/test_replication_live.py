"""What the replication page's script does beyond the server's HTML: it follows, and it is in nobody's way."""

import re

from playwright.sync_api import Browser, Page, Request, expect

from tests.e2e.shop_process import ADMIN_PASSWORD, ShopProcess

SLUG = "enamel-mug-two-peaks"
LIVE = "/admin/replication/live"


def open_replication(page: Page) -> Page:
    page.goto("/admin/login")
    page.locator("input[type=password]").fill(ADMIN_PASSWORD)
    page.locator("input[type=password]").press("Enter")
    page.wait_for_url("**/admin/**")
    page.goto("/admin/replication")
    return page


def test_what_is_half_typed_and_the_focus_stay_while_the_page_follows(start_shop, visit, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="1")
    page = open_replication(visit(shop.url))
    delay = page.locator("input[name=delay]")
    delay.fill("12")
    delay.press("ArrowLeft")

    number = new_shopper(shop.url).buy(SLUG)

    page.get_by_text(number).first.wait_for()
    expect(page.locator(".arrivals")).to_contain_text(number)
    expect(delay).to_have_value("12")
    expect(delay).to_be_focused()
    assert delay.evaluate("field => field.selectionStart") == 1


def test_a_commit_travels_as_one_thing_rather_than_being_drawn_anew(start_shop, visit, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="3")
    page = open_replication(visit(shop.url))
    number = new_shopper(shop.url).buy(SLUG)
    lane = page.locator(".lane", has_text=number)
    lane.wait_for()
    lane.evaluate("lane => { window.followed = lane; lane.start = lane.querySelector('.lane__parcel').offsetLeft; }")

    expect(lane).to_contain_text("arrived", timeout=6_000)

    assert lane.evaluate("lane => lane === window.followed")
    assert lane.evaluate("lane => lane.querySelector('.lane__parcel').offsetLeft > lane.start")


def test_the_button_on_the_link_keeps_the_focus_when_somebody_else_resumes(start_shop, visit, new_shopper):
    shop = start_shop()
    page = open_replication(visit(shop.url))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-state]")).to_have_text("Paused")
    page.get_by_role("button", name="Resume").focus()
    somebody = new_shopper(shop.url)
    somebody.log_in(ADMIN_PASSWORD)

    somebody.send(somebody.get("/admin/replication").form("/admin/replication/resume"))

    expect(page.get_by_role("button", name="Pause")).to_be_focused()


def test_a_hidden_page_asks_for_nothing_and_looks_at_once_when_it_is_back(start_shop, visit):
    page = visit(start_shop().url)
    page.clock.install()
    open_replication(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if is_look(request) else None)
    page.clock.run_for(1_000)
    assert asked

    show_page(page, False)
    page.wait_for_load_state("networkidle")  # an answer under way would time out when the clock leaps
    asked.clear()
    page.clock.run_for(10_000)
    assert asked == []

    with page.expect_request(is_look):
        show_page(page, True)


def test_a_lost_server_is_told_and_a_lost_login_too(start_shop, browser: Browser):
    shop: ShopProcess = start_shop()
    port = shop.url.rsplit(":", 1)[1]
    context = browser.new_context(
        base_url=shop.url
    )  # not `visit`: the browser complains about the lost server, rightly
    page = open_replication(context.new_page())
    lost = page.locator("[data-lost]")
    expect(page.locator("[data-pulse]")).to_be_visible()

    shop.kill()
    expect(lost).to_contain_text(re.compile(r"The page has lost the server\..* from \d\d:\d\d:\d\d UTC"))
    expect(page.locator("[data-pulse]")).to_be_hidden()

    shop.settings["PORT"] = port
    shop.start()
    expect(lost).to_contain_text("no longer logged in", timeout=15_000)
    expect(page.locator("#live")).to_contain_text("Primary")
    context.close()


def test_nothing_moves_for_those_who_asked_for_no_motion(start_shop, browser: Browser):
    shop = start_shop(SHOP_REPLICATION_DELAY="600")
    context = browser.new_context(base_url=shop.url, reduced_motion="reduce")
    page = open_replication(context.new_page())
    page.get_by_role("button", name="Send a test write").click()

    parcel = page.locator(".lane__parcel").first

    assert parcel.evaluate("parcel => parseFloat(getComputedStyle(parcel).transitionDuration)") < 0.001
    context.close()


def is_look(request: Request) -> bool:
    return request.url.endswith(LIVE)


def show_page(page: Page, is_shown: bool) -> None:
    """Tell the page what a browser tells it when its tab is left or come back to."""
    page.evaluate(
        """isShown => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => !isShown });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_shown,
    )
