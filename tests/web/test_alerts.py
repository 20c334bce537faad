"""What an alert does to the pages: a banner for the admin on each of them, a metric, and nothing for visitors."""

from dataclasses import replace as with_parts

import pytest
from msgspec.structs import replace

from shop.replication.alerts import RETRIES, Alerts
from tests.builders import a_category, a_product, keep

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id, price_cents=3400, stock=10)
SENTENCE = f"The replica has refused the next write {RETRIES} times in a row."


@pytest.fixture
def alerts(app, replication, clock):
    """Alerts of the application that look only when a test says so."""
    alerts = Alerts(replication.status, clock)
    app.extensions["antipode"] = with_parts(app.extensions["antipode"], alerts=alerts)
    return alerts


@pytest.fixture
def failing(repository, replication, pair, clock, alerts, monkeypatch):
    """A replica that takes nothing any more, and alerts that have noticed."""

    def refuse(commits):
        raise OSError("No space left on device")

    keep(repository, TEA, POT)
    monkeypatch.setattr(pair.replica, "apply", refuse)
    for _ in range(RETRIES):
        clock.advance(100)
        replication.sync_once(clock.monotonic())
    look_twice(alerts, clock)
    return monkeypatch


def look_twice(alerts, clock):
    """Long enough apart for everything that is well to be cleared."""
    alerts.look()
    clock.advance(10)
    alerts.look()


@pytest.mark.parametrize("path", ["/admin/", "/admin/orders", "/admin/products", "/admin/replication"])
def test_the_admin_sees_what_is_wrong_on_every_page(shopkeeper, failing, path):
    assert SENTENCE in shopkeeper.get(path).text


@pytest.mark.parametrize("path", ["/", "/admin/login"])
def test_a_stranger_does_not(stranger, failing, path):
    assert SENTENCE not in stranger.get(path).text


def test_the_banner_goes_when_it_is_over(shopkeeper, failing, replication, clock, alerts):
    failing.undo()
    replication.sync_now()
    look_twice(alerts, clock)

    assert SENTENCE not in shopkeeper.get("/admin/").text


def test_each_alert_has_a_metric(client, failing):
    lines = client.get("/metrics").text.splitlines()

    assert 'shop_alert{alert="retries"} 1.0' in lines
    assert 'shop_alert{alert="refused"} 0.0' in lines


def test_a_divergence_found_by_a_verification_is_an_alert_until_the_replica_is_rebuilt(
    shopkeeper, repository, replication, pair, alerts
):
    keep(repository, TEA, POT)
    replication.sync_now()
    far = pair.replica.state
    far._maps["products"] = far._maps["products"].with_changes({POT.id: replace(POT, stock=7)})

    replication.verify()
    alerts.look()
    assert "have diverged" in shopkeeper.get("/admin/").text

    replication.resync()
    alerts.look()
    assert "have diverged" not in shopkeeper.get("/admin/").text
