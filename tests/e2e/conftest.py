"""A real shop, a shopper and a real browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from tests.e2e.shop_process import ShopProcess
from tests.e2e.shopper import Shopper
from tests.needs import chromium

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

StartShop = Callable[..., ShopProcess]
Visit = Callable[..., Page]


@pytest.fixture
def start_shop(tmp_path: Path) -> Iterator[StartShop]:
    """Starts shops: `start_shop()` or `start_shop(SHOP_REPLICATION_DELAY="0.2")`; all of them end with the test."""
    shops: list[ShopProcess] = []

    def start(**settings: str) -> ShopProcess:
        folder = tmp_path / f"shop{len(shops) + 1}"
        folder.mkdir()
        shops.append(ShopProcess(folder, **settings))
        return shops[-1].start()

    yield start
    for shop in shops:
        shop.close()


@pytest.fixture
def new_shopper() -> Iterator[Callable[[str], Shopper]]:
    """Makes shoppers without a browser: `new_shopper(shop.url)`."""
    shoppers: list[Shopper] = []

    def make(url: str) -> Shopper:
        shoppers.append(Shopper(url))
        return shoppers[-1]

    yield make
    for shopper in shoppers:
        shopper.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens browser windows, each a visitor of its own; whatever the browser complains about fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_window(url: str, *, size: dict[str, int] = WIDE, javascript: bool = True, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport=size, java_script_enabled=javascript, color_scheme="dark" if dark else "light", base_url=url
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        _collect_complaints(page, complaints)
        page.goto("/")
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)


def _collect_complaints(page: Page, complaints: list[str]) -> None:
    def on_console(said: ConsoleMessage) -> None:
        is_page_itself = said.text.startswith("Failed to load resource") and said.location["url"] == page.url
        if said.type in ("error", "warning") and not is_page_itself:  # an error page is told of, and meant
            complaints.append(f"{page.url}: {said.text}")

    def on_failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # leaving a page ends what it was still fetching
            complaints.append(f"{request.url}: {request.failure}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("requestfailed", on_failed)
