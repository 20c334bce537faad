"""Changing sides on the page, the review of what was left behind, and what the customer of a lost order reads."""

import pytest

from shop.web.links import order_address
from tests.builders import a_category, a_product, keep, order_of

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id, price_cents=3400, stock=10)

SHOW = "/admin/replication/failover"
PROMOTE = "/admin/replication/failover/promote"
SWITCH = "/admin/replication/failover/switchover"
LOST = "/admin/replication/lost"


@pytest.fixture
def shop(shopkeeper, repository, replication):
    """The admin's browser; what is there has crossed."""
    keep(repository, TEA, POT)
    replication.sync_now()
    return shopkeeper


@pytest.fixture
def lost_order(shop, repository):
    return order_of(repository, (POT, 2))


def action_for(page, order, what):
    """The form that re-enters or discards the commit which placed *order*."""
    card = next(one for one in page.main.all("li", class_="card") if f"order {order.number}" in one.text)
    return next(form["action"] for form in card.all("form") if form["action"].endswith(f"/{what}"))


def test_the_page_says_what_promoting_now_would_lose(shop, lost_order):
    page = shop.get(SHOW)
    assert page.status == 200
    assert "1 order, €68.00" in page.main.text
    assert f"order {lost_order.number}" in page.main.text


def test_an_admin_whose_account_has_not_arrived_is_warned(shopkeeper, replication):
    assert "locks you out" in shopkeeper.get(SHOW).main.text
    replication.sync_now()
    assert "locks you out" not in shopkeeper.get(SHOW).main.text


def test_promoting_shows_the_invoice_and_the_shop_goes_on(shop, lost_order, pair, repository):
    page = shop.get(SHOW).send(PROMOTE)
    assert (page.status, page.location) == (303, LOST)
    page = page.follow()
    assert any("db_async.json is the primary now" in notice for notice in page.notices)
    assert "Invoice of losses, timeline 1" in page.main.text
    assert "1 order, €68.00" in page.main.text
    assert "Test Customer" in page.main.text
    assert pair.primary.path.name == "db_async.json"
    assert order_of(repository, (POT, 1)).number.startswith("A2-")


def test_a_second_press_does_not_change_the_roles_back(shop, lost_order, pair):
    page = shop.get(SHOW)
    page.send(PROMOTE)
    again = page.send(PROMOTE)
    assert again.location == SHOW
    assert any("roles have changed" in notice for notice in again.follow().notices)
    assert pair.primary.path.name == "db_async.json"


def test_a_form_without_its_timeline_changes_nothing(shop, pair):
    page = shop.get(SHOW)
    assert page.send(PROMOTE, timeline="").status == 404
    assert page.send(SWITCH, timeline="x").status == 404
    assert pair.primary.path.name == "db.json"


def test_a_switchover_loses_nothing(shop, lost_order, pair, repository):
    page = shop.get(SHOW).send(SWITCH).follow()
    assert "Nothing was ever left behind" in page.main.text
    assert pair.primary.path.name == "db_async.json"
    with repository.view() as unit:
        assert unit.order(lost_order.number) == lost_order


def test_a_switchover_that_cannot_be_in_time_says_so(shop, lost_order, replication, pair):
    replication.pause()
    page = shop.get(SHOW).send(SWITCH)
    assert page.location == SHOW
    assert any("takes writes again" in notice for notice in page.follow().notices)
    assert pair.primary.path.name == "db.json"


def test_a_lost_order_is_re_entered_from_the_page(shop, lost_order, repository):
    page = shop.get(SHOW).send(PROMOTE).follow()
    page = page.send(action_for(page, lost_order, "reenter")).follow()
    assert any(lost_order.number in notice for notice in page.notices)
    assert "Re-entered" in page.main.text
    assert "1 still to be decided" in page.main.text, "the cart that became the order"
    with repository.view() as unit:
        assert unit.order(lost_order.number) == lost_order


def test_a_discard_asks_for_its_reason_and_keeps_it(shop, lost_order, app):
    page = shop.get(SHOW).send(PROMOTE).follow()
    action = action_for(page, lost_order, "discard")
    refused = page.send(action)
    assert refused.status == 400
    assert "reason" in refused.error_of(f"field-reason-{action.split('/')[-2]}")
    page = refused.send(action, reason="<b>Called</b>").follow()
    assert "Discarded" in page.main.text
    assert "<b>Called</b>" in page.main.text


def test_the_customer_of_a_lost_order_is_told_what_happened(shop, lost_order, app):
    with app.test_request_context():
        address = order_address(lost_order.number)
    assert shop.get(address).status == 200
    lost = shop.get(SHOW).send(PROMOTE).follow()

    page = shop.get(address)
    assert page.status == 404
    assert "had not crossed yet" in page.main.text
    assert "do not order again at once" in page.main.text

    lost.send(action_for(lost, lost_order, "discard"), reason="The pot broke.")
    page = shop.get(address)
    assert "will not deliver it" in page.main.text
    assert "The pot broke." in page.main.text


def test_a_long_list_shows_first_what_is_undecided(shop, repository, failover, monkeypatch):
    monkeypatch.setattr("shop.web.failover.LOST_SHOWN", 2)
    for _ in range(2):
        order_of(repository, (POT, 1))
    commits = failover.promote(by="admin").invoice.commits
    failover.discard(commits[0].id, "a reason", by="admin")
    page = shop.get(LOST)
    assert [card["id"] for card in page.main.all("li", class_="card")] == [f"lost-{one.id}" for one in commits[1:3]]
    assert "The first 2 of 4 are shown" in page.main.text


def test_what_was_lost_is_shown_and_done_for_admins_only(stranger):
    for path in (SHOW, LOST):
        assert stranger.get(path).status == 303
        assert "/admin/login" in stranger.get(path).location


@pytest.mark.parametrize("name", ["1-99", "..%2fdb", "x"])
def test_there_is_no_page_for_a_commit_that_was_not_lost(shop, lost_order, name):
    page = shop.get(SHOW).send(PROMOTE).follow()
    token = page.fields(action_for(page, lost_order, "reenter"))
    assert shop.post(f"{LOST}/{name}/reenter", token).status == 404


def test_the_replication_page_leads_there(shop):
    page = shop.get("/admin/replication")
    assert {SHOW, LOST} <= {link["href"] for link in page.main.all("a")}
