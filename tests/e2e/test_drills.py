"""The drills in a real browser: by keyboard alone, without JavaScript, as axe sees them; and over a server that is killed."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from shop.config import Config
from shop.drills.catalog import DRILLS
from shop.drills.records import RunState
from shop.web.extensions import limiter
from shop.web.factory import create_app
from shop.web.services import Services
from tests.builders import CURRENCY
from tests.drillkit import LiveShop, live_shop
from tests.e2e.conftest import PHONE, WIDE
from tests.e2e.shop_process import ROOT, ShopProcess, wait_until
from tests.web.admin import PASSWORD, keep_admin

INDEX = "/admin/replication/drills"
CHANGING = {drill.name for drill in DRILLS if drill.changes_primary}


class Served:
    """A live shop behind an address."""

    def __init__(self, shop: LiveShop, url: str) -> None:
        self.shop = shop
        self.url = url


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with live_shop(tmp_path) as shop:
        keep_admin(shop.repository)
        shop.replication.sync_now()
        services = Services(
            Config(instance=tmp_path, currency=CURRENCY),
            shop.clock,
            shop.repository,
            shop.replication,
            shop.failover,
            laboratory=shop.replication.laboratory,
            reads=shop.reads,
            audit=shop.audit,
            drills=shop.drills,
        )
        server = make_server("127.0.0.1", 0, create_app(services, secret_key="a key for tests"), threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Served(shop, f"http://127.0.0.1:{server.port}")
        server.shutdown()
        thread.join()
        server.server_close()
        limiter.reset()


def log_in(page: Page, url: str) -> Page:
    page.goto(f"{url}/admin/login?next={INDEX}")
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("input[type=password]").press("Enter")
    page.wait_for_url(f"**{INDEX}")
    return page


def tab_to(page: Page, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            return
    raise AssertionError(f"{selector} is not reached by the keyboard")


def test_each_drill_by_keyboard_alone_and_without_javascript_ends_in_the_state_that_it_promises(
    served: Served, visit: Any
) -> None:
    page = log_in(visit(served.url, javascript=False), served.url)
    before = served.shop.picture()

    for drill in DRILLS:
        page.goto(INDEX)
        if drill.name in CHANGING:
            tab_to(page, f"#drill-{drill.name} [name=confirmed]")
            page.keyboard.press("Space")
        tab_to(page, f"#drill-{drill.name} button")
        page.keyboard.press("Enter")

        expect(page.locator(".run__head")).to_contain_text("Passed", timeout=20_000)  # it loads itself again
        expect(page.get_by_role("heading", level=1)).to_have_text(drill.title)
        expect(page.locator(".run__sentence")).to_be_visible()
        assert page.locator(".run__figure").count() >= 3
        assert served.shop.picture() == before, drill.name


def test_a_run_is_followed_without_a_reload_to_its_end_and_stopped_by_keyboard(served: Served, visit: Any) -> None:
    page = log_in(visit(served.url), served.url)
    before = served.shop.picture()
    served.shop.drills.pace_seconds = 0.1
    page.goto(f"{INDEX}/two-admins")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Run this drill").click()
    expect(page.locator(".run__head")).to_contain_text("Passed", timeout=20_000)
    served.shop.drills.pace_seconds = 2.0  # long enough to be looked at
    page.goto(f"{INDEX}/stale-read")
    page.get_by_role("button", name="Run this drill").click()
    expect(page.locator(".run__moving")).to_be_visible()
    page.evaluate("window.isTheSamePage = true")

    expect(page.locator(".story__step--did")).to_have_count(2, timeout=10_000)

    assert page.evaluate("window.isTheSamePage") is True
    tab_to(page, "button:has-text('Stop it')")
    page.keyboard.press("Enter")
    expect(page.locator(".run__head")).to_contain_text("Stopped", timeout=10_000)
    assert served.shop.picture() == before


@pytest.mark.parametrize(("size", "dark"), [(WIDE, False), (PHONE, True)], ids=["wide-light", "phone-dark"])
def test_axe_finds_nothing_on_the_drills(served: Served, visit: Any, size: Any, dark: bool) -> None:
    served.shop.drills.pace_seconds = 2.0
    page = log_in(visit(served.url, size=size, dark=dark), served.url)
    look(page, "the seven")
    page.goto(f"{INDEX}/primary-lost")
    look(page, "before")
    page.goto(f"{INDEX}/stale-read")
    page.get_by_role("button", name="Run this drill").click()
    expect(page.locator(".story__step--did").first).to_be_visible(timeout=10_000)
    look(page, "running")
    served.shop.drills.pace_seconds = 0.1
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator(".run__head")).to_contain_text("Stopped", timeout=10_000)
    look(page, "stopped")
    served.shop.drill("damage")
    page.goto(f"{INDEX}/damage")
    look(page, "after")
    served.shop.replication.sabotage.damage_replica("pot")
    served.shop.replication.verify()
    page.goto(INDEX)
    look(page, "not now")


def look(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    results = Axe().run(page)
    assert not results.violations_count, f"{name}: {results.generate_report()}"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"


# ---- the command, and a server that is killed


def flask_drill(shop: ShopProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SHOP_INSTANCE": str(shop.instance)}
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), "shop", "drill", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False, input=""
    )


def assert_told(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode == 0, ended
    assert ended.stderr == ""
    for word in words:
        assert word in ended.stdout, ended.stdout


def test_the_command_asks_the_running_server_and_does_without_one(start_shop: Any) -> None:
    shop: ShopProcess = start_shop()

    assert_told(flask_drill(shop), "outage", "What happens to orders while the two sides cannot reach each other?")
    assert_told(
        flask_drill(shop, "damage"),
        "What other people notice:",
        "s * Damaged the replica",
        "Passed after",
        "compared: ",
    )
    refused = flask_drill(shop, "primary-lost")
    assert refused.returncode == 2 and "add --yes" in refused.stderr and refused.stdout == ""
    unknown = flask_drill(shop, "fire")
    assert unknown.returncode == 2 and "There are: outage, " in unknown.stderr

    shop.terminate()
    assert_told(flask_drill(shop, "primary-lost", "--yes"), "The invoice of losses: 2 writes, 2 orders", "Passed after")
    assert_told(flask_drill(shop), "last run: passed")
    shop.start()
    assert (shop.instance / "db.json").exists()
    assert '"drill-' not in (shop.instance / "db.json").read_text()


def test_a_server_that_is_killed_in_a_drill_starts_well_and_the_next_drill_cleans_up(start_shop: Any) -> None:
    shop: ShopProcess = start_shop(SHOP_REPLICATION_DELAY="0.2")
    drill = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), "shop", "drill", "primary-lost", "--yes"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SHOP_INSTANCE": str(shop.instance)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    story = shop.instance / "drills" / "primary-lost.json"
    wait_until(lambda: story.exists() and "took orders again" in story.read_text(), seconds=30, what="it is lost")

    shop.kill()
    assert drill.wait(timeout=30) == 2
    shop.start()

    listed = flask_drill(shop).stdout
    assert "last run: cut-short" in listed
    assert "then db.json becomes the primary again, in place of db_async.json" in listed
    assert_told(flask_drill(shop, "damage"), "Passed after")
    assert "becomes the primary again" not in flask_drill(shop).stdout
    wait_until(
        lambda: '"drill-' not in (shop.instance / "db.json").read_text(),
        seconds=10,
        what="nothing of the drill is left",
    )
    assert RunState.CUT_SHORT.value in flask_drill(shop).stdout
