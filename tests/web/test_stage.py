"""The public stage: closed unless it is opened, and without anything about a person."""

from dataclasses import replace as with_parts

import pytest
from msgspec.structs import replace

from shop.replication.contract import Change, Retry, State
from tests.builders import a_category, a_product, keep, order_of
from tests.web.replication_fakes import FakeReplication, a_commit, a_side, a_status_behind

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id, price_cents=3400, stock=10)


def open_stage(app, **parts):
    services = app.extensions["antipode"]
    app.extensions["antipode"] = with_parts(services, config=replace(services.config, public_stage=True), **parts)


def test_it_is_closed_unless_it_is_opened(client):
    assert client.get("/replication").status_code == 404
    assert 'href="/admin/replication"' in client.get("/").text


def test_the_footer_leads_to_it_when_it_is_open(app, client):
    open_stage(app)

    assert 'href="/replication"' in client.get("/").text
    assert client.get("/replication").status_code == 200


def test_an_order_is_seen_crossing_and_nothing_of_the_person_or_the_order(app, client, repository, replication, clock):
    open_stage(app)
    keep(repository, TEA, POT)
    replication.sync_now()
    order = order_of(repository, (POT, 2))
    crossing = client.get("/replication").text

    clock.advance(6)
    replication.sync_once(clock.monotonic())
    arrived = client.get("/replication").text

    assert "1 order" in crossing and "Behind" in crossing
    assert "In sync" in arrived
    customer = order.customer
    personal = (customer.name, customer.email, customer.street, customer.postcode, customer.city)
    for page in (crossing, arrived):
        for secret in (order.number, *personal):
            assert secret and secret not in page
        assert "/orders/" not in page and "/admin/replication/" not in page and "token=" not in page


def test_what_a_status_may_hold_in_texts_is_left_out(app, client):
    secret = "Test Customer, test@example.org"
    status = a_status_behind(
        State.FAILING,
        sentence=secret,
        primary=a_side("primary", 1045, is_writable=False, problem=secret),
        in_flight=[a_commit(summary=f"order A1-10007, {secret}", changes=(Change("orders", secret),))],
        recent=[a_commit(1042, summary=secret, changes=(Change("carts", secret),))],
        retry=Retry(attempts=3, error=secret, next_in_seconds=2),
    )
    open_stage(app, replication=FakeReplication(status))

    page = client.get("/replication").text

    assert "test@example.org" not in page and "A1-10007" not in page
    assert "Order" in page and "It takes no writes now." in page


@pytest.mark.parametrize("query", ["", "?watch=1"])
def test_it_has_no_control_and_sets_no_cookie(app, client, query):
    open_stage(app)

    reply = client.get(f"/replication{query}")

    assert "Set-Cookie" not in reply.headers
    assert 'method="post"' not in reply.text.lower()
    assert ('http-equiv="refresh"' in reply.text) is bool(query)


def test_one_address_cannot_keep_the_shop_busy_with_it(app, client):
    open_stage(app)
    app.config["STAGE_LOOKS_PER_ADDRESS"] = "3 per minute"

    def look(address):
        return client.get("/replication", environ_base={"REMOTE_ADDR": address}).status_code

    assert [look("203.0.113.7") for _ in range(5)] == [200, 200, 200, 429, 429]
    assert {look("127.0.0.1"), look("203.0.113.8")} == {200}
