"""The pages of the drills: the seven, one of them, a run as it goes on; and who may do what."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from msgspec.structs import replace

from shop.config import Config
from shop.drills.catalog import DRILLS
from shop.drills.folder import DrillFolder
from shop.drills.parts import Parts
from shop.drills.records import Run, RunState
from shop.drills.runner import Drills
from shop.drills.setting import setting_of
from shop.web.extensions import limiter
from shop.web.factory import create_app
from shop.web.services import Services
from tests.builders import CURRENCY
from tests.drillkit import LiveShop, live_shop
from tests.web.admin import keep_admin, logged_in
from tests.web.visitor import Page, Visitor

INDEX = "/admin/replication/drills"


@pytest.fixture
def shop(tmp_path) -> Iterator[LiveShop]:
    with live_shop(tmp_path) as shop:
        keep_admin(shop.repository)
        shop.replication.sync_now()
        yield shop


@pytest.fixture
def app(shop: LiveShop) -> Iterator[Flask]:
    yield app_of(shop)
    limiter.reset()


def app_of(shop: LiveShop, **parts: Any) -> Flask:
    services = Services(
        Config(instance=shop.folder, currency=CURRENCY),
        shop.clock,
        shop.repository,
        shop.replication,
        shop.failover,
        laboratory=shop.replication.laboratory,
        reads=shop.reads,
        audit=shop.audit,
        drills=shop.drills,
    )
    return create_app(_with(services, **parts), secret_key="a key for tests only")


def _with(services: Services, **parts: Any) -> Services:
    return Services(**{**services.__dict__, **parts})


@pytest.fixture
def shopkeeper(app: Flask) -> Visitor:
    return logged_in(app)


def address(name: str, what: str = "") -> str:
    return f"{INDEX}/{name}{what}"


def ended(page: Page, shop: LiveShop, name: str) -> Page:
    shop.ended(name)
    return page.visitor.get(address(name))


def test_the_seven_are_told_with_their_questions_and_linked_from_the_replication(shopkeeper):
    page = shopkeeper.get(INDEX)

    assert [heading.text for heading in page.main.all("h2")] == [drill.title for drill in DRILLS]
    assert all(drill.question in page.text for drill in DRILLS)
    replication = shopkeeper.get("/admin/replication")
    links = {link["href"] for link in replication.main.all("a")}
    assert {INDEX, *(address(drill.name) for drill in DRILLS)} <= links


def test_a_drill_explains_itself_before_it_is_run(shopkeeper):
    page = shopkeeper.get(address("outage"))

    assert page.heading == "The cable breaks"
    assert "What other people notice." in page.text
    assert "the primary, which it works with, and the replica" in page.text
    assert "What happened" not in page.text


def test_one_click_runs_it_and_the_page_tells_what_happened(shopkeeper, shop):
    before = shop.picture()

    answer = shopkeeper.get(INDEX).send(address("damage", "/start"))
    assert (answer.status, answer.location) == (303, address("damage"))
    page = ended(answer, shop, "damage")

    assert "Passed" in page.main.one(class_="run__head").text
    assert "by admin" in page.main.one(class_="run__who").text
    assert "Found it: Replication drill, price: €25.00 on the primary, €25.01 on the replica." in page.text
    assert len(list(page.main.all(class_="run__figure"))) == 3
    assert shop.picture() == before
    assert "Passed" in shopkeeper.get(INDEX).main.one(id="drill-damage").text
    actions = [(one.who, one.what, one.result[:6]) for one in shop.audit.actions()]
    assert actions == [("admin", "drill damage", "passed"), ("admin", "drills/damage/start", "done")]


def test_a_run_that_goes_on_is_shown_with_a_way_to_stop_it(shopkeeper, shop):
    before = shop.picture()
    running = shopkeeper.get(address("stale-read")).send(address("stale-read", "/start")).follow()

    assert "Running" in running.main.one(class_="run__head").text
    moving = running.main.one(class_="run__moving")
    assert moving["hx-get"] == address("stale-read", "/run")
    assert [form for form in running.tree.all("form") if form["action"].endswith("/start")] == []
    refresh = running.tree.one("head").one("noscript").one("meta")
    assert refresh["http-equiv"] == "refresh"
    assert "A drill is running now." in shopkeeper.get(INDEX).text

    stopped = running.send(address("stale-read", "/stop")).follow()
    assert any("puts everything back" in notice for notice in stopped.notices)
    page = ended(stopped, shop, "stale-read")
    assert "Stopped" in page.main.one(class_="run__head").text
    assert not list(page.tree.one("head").all("noscript"))
    assert shop.picture() == before


def test_the_moving_part_is_followed_until_the_page_is_to_be_loaded_again(shopkeeper, shop):
    shopkeeper.get(address("stale-read")).send(address("stale-read", "/start"))

    part = shopkeeper.get(address("stale-read", "/run"))
    assert "HX-Refresh" not in part.response.headers
    assert "What is happening" in part.text
    assert not list(part.tree.all("form"))
    shop.ended("stale-read")
    over = shopkeeper.get(address("stale-read", "/run"))

    assert over.response.headers["HX-Refresh"] == "true"
    assert over.response.text == ""


def test_a_page_that_follows_a_run_without_a_login_is_led_to_it(app, shop):
    stranger = Visitor(app.test_client())

    followed = stranger.client.get(address("outage", "/run"), headers={"HX-Request": "true"})
    assert (followed.status_code, followed.headers["HX-Refresh"], followed.text) == (401, "true", "")
    assert stranger.get(address("outage", "/run")).location.startswith("/admin/login")
    assert stranger.get(INDEX).location.startswith("/admin/login")
    assert stranger.post(address("outage", "/start"), {}).status == 400  # no token of a form
    assert shop.drills.running() is None and shop.drills.last_run("outage") is None


@pytest.mark.parametrize("name", ["primary-lost", "two-admins"])
def test_changing_the_primary_wants_a_tick(shopkeeper, shop, name):
    page = shopkeeper.get(address(name))
    assert "refused twice for a moment" in page.text
    refused = page.send(address(name, "/start")).follow()
    assert any("say that you mean it" in notice for notice in refused.notices)
    assert shop.drills.last_run(name) is None

    answer = page.send(address(name, "/start"), confirmed="yes")

    assert "Passed" in ended(answer, shop, name).main.one(class_="run__head").text


def test_no_second_drill_is_started_while_one_runs(shopkeeper, shop):
    page = shopkeeper.get(address("outage"))
    shopkeeper.get(address("stale-read")).send(address("stale-read", "/start"))

    refused = page.send(address("outage", "/start")).follow()

    assert any("Another drill is running: An old page, and its cure." in notice for notice in refused.notices)
    assert shop.ended("stale-read").state is RunState.PASSED
    assert shop.drills.last_run("outage") is None


def test_what_stands_in_the_way_is_said_instead_of_the_button(shopkeeper, shop):
    shop.replication.sabotage.damage_replica("pot")
    shop.replication.verify()

    for path in (INDEX, address("outage")):
        page = shopkeeper.get(path)
        assert "repair the replica before a drill" in page.text
        assert [form for form in page.tree.all("form") if form["action"].endswith("/start")] == []


def test_what_is_put_aside_of_the_knobs_is_said_before(shopkeeper, shop):
    shop.replication.set_delay(600)
    shop.replication.laboratory.cut(500)
    shop.replication.pause()

    text = shopkeeper.get(address("outage")).text

    assert "The delay of 600 s is put aside" in text
    assert "The link is paused: the drill resumes it" in text
    assert "The cable is broken: the drill mends it" in text


def test_a_drill_that_cannot_be_run_here_says_why(shop):
    parts = Parts(shop.clock, shop.repository, shop.replication, CURRENCY, laboratory=shop.replication.laboratory)
    shopkeeper = logged_in(app_of(shop, drills=Drills(parts, shop.folder)))

    page = shopkeeper.get(INDEX)

    assert "The replica of this shop cannot be damaged on purpose." in page.main.one(id="drill-damage").text
    assert not list(page.main.one(id="drill-damage").all("button"))
    assert shopkeeper.get(address("unknown")).status == 404


def test_what_a_killed_server_left_is_said_and_can_be_taken_out(shopkeeper, shop):
    shop.drill("outage")
    run = shop.drills.last_run("outage")
    assert run is not None
    leave_behind(shop, run)

    page = shopkeeper.get(INDEX)
    assert "The shop ended in the middle of the drill “The cable breaks”." in page.text
    assert "Cut short" in page.main.one(id="drill-outage").text
    done = page.send(f"{INDEX}/clean-up").follow()

    assert any("taken out" in notice for notice in done.notices)
    assert "ended in the middle" not in done.text
    assert shop.drills.left_over() == ""


def leave_behind(shop: LiveShop, run: Run) -> None:
    """As a kill leaves it: a run that nobody runs, and a note of what was to be put back."""
    folder = DrillFolder(shop.folder)
    folder.keep(replace(run, state=RunState.RUNNING))
    folder.keep_note(setting_of("outage", shop.replication.status(), shop.clock.monotonic()))


def test_a_shop_without_drills_has_no_such_pages(shop):
    shopkeeper = logged_in(app_of(shop, drills=None))

    assert shopkeeper.get(INDEX).status == 404
    assert INDEX not in {link["href"] for link in shopkeeper.get("/admin/replication").main.all("a")}
