"""The pages of the replication over a real pair: complete, without a script, and honest about what cannot be done there."""

import pytest
from flask import Flask

from shop.cluster.machine import Machine
from shop.config import Config
from shop.errors import Conflict
from shop.replication.contract import Outcome, Policy
from shop.replication.postgres.knobs import NO_LINK, ClusterOperator
from shop.web.factory import create_app
from shop.web.services import Services
from tests.builders import a_product, keep
from tests.pairkit import PairShop, wait_until
from tests.web.admin import keep_admin, logged_in
from tests.web.visitor import Page, Visitor

ROOT = "/admin/replication"


def app_of(shop: PairShop) -> Flask:
    config = Config(instance=shop.instance)
    services = Services(
        config,
        shop.clock,
        shop.repository,
        shop.replication,
        shop.failover,
        laboratory=shop.laboratory,
        reads=shop.reads,
    )
    app = create_app(services, secret_key="a key for tests, long enough to be one")
    app.config["TESTING"] = True
    return app


def admin_of(shop: PairShop) -> Visitor:
    keep_admin(shop.repository)
    shop.cross()
    return logged_in(app_of(shop))


def stage(page: Page, name: str) -> str:
    return page.main.one("p", data_stage=name).text


def test_the_page_shows_the_lags_apart_and_the_log_that_is_kept(shop: PairShop) -> None:
    admin = admin_of(shop)
    shop.settle()

    page = admin.get(ROOT)

    assert [stage(page, name) for name in ("sent", "flushed", "replayed")] == ["0 s", "0 s", "0 s"]
    assert "standby_b, in use" in page.text
    assert "a/shop" in page.text and "b/shop" in page.text
    assert "Not here: PostgreSQL keeps no earlier states" in page.text
    assert "Not here:" in admin.get(f"{ROOT}/history").text


def test_the_apply_delay_is_a_knob_of_its_own(shop: PairShop) -> None:
    admin = admin_of(shop)

    refused = admin.get(ROOT).send(f"{ROOT}/apply-delay", apply_delay="lots")
    assert refused.status == 400
    assert "from 0 to 3600" in refused.text
    admin.get(ROOT).send(f"{ROOT}/apply-delay", apply_delay="2,5")
    page = admin.get(ROOT)

    assert shop.status().link.apply_delay_seconds == 2.5
    assert "It is applied 2.5 s after it was made." in page.text


def test_a_test_write_is_followed_to_its_page(shop: PairShop) -> None:
    admin = admin_of(shop)
    shop.replication.pause()
    admin.get(ROOT).send(f"{ROOT}/test-write")
    wait_until(lambda: shop.status().at_risk.commits == 0)

    page = admin.get(ROOT)
    assert "arrived, not applied" in page.text
    [commit] = shop.status().in_flight
    followed = admin.get(f"{ROOT}/commits/{commit.timeline}-{commit.lsn}")

    assert followed.status == 200
    assert "Arrived" in followed.text
    shop.replication.resume()
    shop.cross()
    admin.get(ROOT).send(f"{ROOT}/verify")
    journey = shop.laboratory.journey(commit.timeline, commit.lsn)
    assert journey is not None
    assert [step.is_done for step in journey.steps] == [True] * 5
    after = [step.after_seconds for step in journey.steps if step.name in ("arrived", "applied")]
    assert after[0] is not None and after[1] is not None and 0 <= after[0] <= after[1]
    assert admin.get(f"{ROOT}/commits/9-9").status == 404


def test_on_servers_of_ones_own_what_needs_their_operator_is_switched_off_with_the_reason(
    shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = admin_of(shop)
    monkeypatch.setattr(ClusterOperator, "is_there", lambda self: False)
    shop.side.knobs.forget()

    page = admin.get(ROOT)

    assert page.text.count(NO_LINK) == len(("delay", "jitter", "bandwidth", "loss", "outage", "mend"))
    assert not list(page.main.all("input", name="delay"))
    with pytest.raises(Conflict, match="only make cluster simulates it"):
        shop.laboratory.set_jitter(1)
    with pytest.raises(Conflict, match="pg_basebackup"):
        shop.replication.resync()
    monkeypatch.undo()
    shop.side.knobs.forget()


def test_the_metrics_tell_the_lags_apart(shop: PairShop) -> None:
    shop.replication.pause()
    keep_admin(shop.repository)
    wait_until(lambda: shop.status().at_risk.commits == 0)

    lines = dict(
        line.rsplit(" ", 1)
        for line in app_of(shop).test_client().get("/metrics").text.splitlines()
        if not line.startswith("#")
    )

    assert float(lines['shop_stage_behind_bytes{stage="flushed"}']) == 0
    assert float(lines['shop_stage_behind_bytes{stage="replayed"}']) > 0
    assert float(lines['shop_stage_seconds{stage="replayed"}']) > 0
    assert float(lines["shop_log_left_bytes"]) > 1_000_000


def test_promoting_on_the_page_shows_the_invoice_of_a_real_failover(own_shop: PairShop) -> None:
    admin = admin_of(own_shop)
    own_shop.replication.set_delay(1.5)
    admin.get(ROOT).send(f"{ROOT}/test-write")

    confirm = admin.get(f"{ROOT}/failover")
    assert "Promote b/shop now" in confirm.text
    page = confirm.send(f"{ROOT}/failover/promote").follow()

    assert "b/shop is the primary now, on timeline 2. Lost: 1 write, 1 cart." in page.text
    assert "Invoice of losses, timeline 1" in page.text


def test_an_invoice_that_is_not_yet_known_says_what_is_known_and_what_to_do(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = admin_of(own_shop)
    own_shop.replication.set_delay(1.5)
    admin.get(ROOT).send(f"{ROOT}/test-write")
    wait_until(lambda: own_shop.status().at_risk.carts == 1)
    own_shop.machine.kill_server("a")
    monkeypatch.setattr(ClusterOperator, "is_there", lambda self: False)

    page = admin.get(f"{ROOT}/failover").send(f"{ROOT}/failover/promote").follow()

    assert "Invoice of losses, timeline 1: not yet known" in page.text
    assert "Confirmed and known to be missing: 1." in page.text
    assert "What to do:" in page.text
    for password in own_shop.machine.ground.passwords.values():
        assert password not in page.text


def test_the_goods_are_read_from_the_standby_for_who_wants_that_and_no_connection_is_kept(shop: PairShop) -> None:
    keep(shop.repository, a_product(name="Teapot"))
    shop.cross()
    shop.replication.pause()
    keep(shop.repository, a_product(name="Kettle"))
    visitor = Visitor(app_of(shop).test_client())
    visitor.get("/far-side").send("/far-side", policy="replica")

    for _ in range(20):  # more than a pool holds
        page = visitor.get("/")

    assert "Teapot" in page.text and "Kettle" not in page.text
    assert "1 commit behind" in page.text
    shop.replication.resume()
    shop.cross()
    assert "Kettle" in visitor.get("/").text


def test_a_standby_to_which_the_tables_have_not_come_yet_is_no_fault(postgres_machine: Machine) -> None:
    postgres_machine.wan.set(delay=2)
    shop = PairShop(postgres_machine)
    try:
        keep(shop.repository, a_product(name="Teapot"))
        unit, reading = shop.reads.read(Policy.REPLICA, wrote=None, seen=None)

        assert reading.side == "primary"
        assert unit.counts()["products"] == 1
        assert shop.status().lag.commits >= 1
        assert shop.status().replica.counts["products"] == 0
        assert shop.replication.verify().outcome is Outcome.INCONCLUSIVE
        shop.reads.release()
        shop.replication.set_delay(0)
        shop.cross()
        assert shop.replication.verify().outcome is Outcome.IN_SYNC
    finally:
        shop.close()
