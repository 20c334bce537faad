"""A real primary lost, left or given up: what is lost is exactly what the invoice says, whatever dies on the way."""

from typing import Any

import pytest

from shop.errors import Conflict, WritesUnavailable
from shop.replication.contract import Outcome, State
from shop.replication.postgres.knobs import ClusterOperator
from tests.builders import a_product, keep, order_of
from tests.pairkit import PairShop, wait_until

BY = "admin"


def sell(shop: PairShop, times: int = 1) -> list[str]:
    """That many orders of a product that is there; returns their numbers."""
    with shop.repository.view() as unit:
        mug = unit.product_by_sku("MUG-1")
    assert mug is not None
    return [order_of(shop.repository, (mug, 1)).number for _ in range(times)]


def stocked(shop: PairShop) -> None:
    keep(shop.repository, a_product(sku="MUG-1", name="Mug", stock=100))
    shop.cross()


def numbers(shop: PairShop) -> set[str]:
    with shop.repository.view() as unit:
        return {order.number for order in unit.orders(words="", status="", page=1, size=500).items}


def lost_numbers(shop: PairShop) -> set[str]:
    return {
        commit.order_number for invoice in shop.failover.invoices() for commit in invoice.commits if commit.order_number
    }


def test_promoting_loses_exactly_what_the_invoice_says_and_the_old_primary_rejoins(own_shop: PairShop) -> None:
    stocked(own_shop)
    kept = sell(own_shop, 2)
    own_shop.cross()
    own_shop.replication.set_delay(0.8)
    lost = sell(own_shop, 3)

    promotion = own_shop.failover.promote(by=BY, expected_timeline=1)

    assert (promotion.primary, promotion.timeline, promotion.invoice.timeline) == ("b/shop", 2, 1)
    assert promotion.invoice.orders == 3
    assert {commit.order_number for commit in promotion.invoice.commits if commit.order_number} == set(lost)
    assert promotion.invoice.sentence in promotion.sentence
    assert numbers(own_shop) == set(kept)
    assert lost_numbers(own_shop) == set(lost)
    assert own_shop.failover.unsettled() is None
    own_shop.replication.set_delay(0)
    wait_until(lambda: own_shop.status().state is State.IN_SYNC)
    [again] = sell(own_shop)
    assert again.startswith("A2-")
    own_shop.cross()
    assert own_shop.replication.verify().outcome is Outcome.IN_SYNC


def test_a_lost_order_is_entered_again_once(own_shop: PairShop) -> None:
    stocked(own_shop)
    own_shop.replication.set_delay(0.8)
    [number] = sell(own_shop)
    own_shop.failover.promote(by=BY)
    [commit] = [one for one in own_shop.failover.invoices()[0].commits if one.order_number == number]

    decision = own_shop.failover.reenter(commit.id, by=BY)

    assert decision.kind == "re-entered"
    assert numbers(own_shop) == {number}
    with own_shop.repository.view() as unit:
        mug = unit.product_by_sku("MUG-1")
    assert mug is not None and mug.stock == 99
    with pytest.raises(Conflict):
        own_shop.failover.reenter(commit.id, by=BY)


def test_a_killed_primary_is_survived(own_shop: PairShop) -> None:
    stocked(own_shop)
    own_shop.replication.set_delay(0.8)
    lost = sell(own_shop, 2)
    own_shop.machine.kill_server("a")
    with pytest.raises(WritesUnavailable):
        sell(own_shop)

    promotion = own_shop.failover.promote(by=BY)

    assert {one.order_number for one in promotion.invoice.commits if one.order_number} == set(lost)
    assert numbers(own_shop) == set()
    assert sell(own_shop)[0].startswith("A2-")


def test_a_switchover_loses_nothing_and_can_be_made_back(own_shop: PairShop) -> None:
    stocked(own_shop)
    own_shop.replication.set_delay(0.3)
    sold = sell(own_shop, 3)

    there = own_shop.failover.switch_over(by=BY, expected_timeline=1)
    wait_until(lambda: own_shop.status().state is State.IN_SYNC)
    sold += sell(own_shop)
    back = own_shop.failover.switch_over(by=BY, expected_timeline=2)

    assert (there.primary, there.invoice.sentence) == ("b/shop", "nothing")
    assert (back.primary, back.invoice.sentence) == ("a/shop", "nothing")
    assert numbers(own_shop) == set(sold)
    assert own_shop.failover.invoices() == []
    assert sell(own_shop)[0].startswith("A3-")


def test_a_switchover_that_will_not_be_in_time_changes_nothing(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop.replication.postgres.failover.SWITCHOVER_SECONDS_MAX", 0.5)
    stocked(own_shop)
    own_shop.replication.pause()
    sell(own_shop)

    with pytest.raises(Conflict, match="takes writes again"):
        own_shop.failover.switch_over(by=BY)

    assert own_shop.side.pair.roles.timeline == 1
    assert sell(own_shop)[0].startswith("A1-")


def test_a_form_made_before_the_roles_changed_does_not_change_them_back(own_shop: PairShop) -> None:
    own_shop.failover.promote(by=BY, expected_timeline=1)
    wait_until(lambda: own_shop.failover.is_complete)

    with pytest.raises(Conflict, match="have changed since"):
        own_shop.failover.promote(by=BY, expected_timeline=1)

    assert own_shop.side.pair.roles.timeline == 2


def test_a_standby_that_is_gone_is_not_promoted(own_shop: PairShop) -> None:
    own_shop.machine.stop_server("b")

    with pytest.raises(Conflict, match="cannot be promoted"):
        own_shop.failover.promote(by=BY)

    keep(own_shop.repository, a_product())
    assert own_shop.side.pair.roles.timeline == 1


class Died(BaseException):
    """The worker, in the middle of it."""


@pytest.mark.parametrize("step", ["kill", "promote", "start_alone", "keep", "rejoin"])
def test_a_worker_that_dies_in_the_middle_is_made_up_for_by_the_next(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    stocked(own_shop)
    kept = sell(own_shop)
    own_shop.cross()
    own_shop.replication.set_delay(0.8)
    lost = sell(own_shop, 2)
    own_shop.leader.stop()

    def die(*_: Any, **__: Any) -> Any:
        raise Died

    with monkeypatch.context() as broken:
        if step == "promote":
            broken.setattr(own_shop.failover, "_promote", die)
        elif step == "keep":
            broken.setattr(own_shop.failover, "_amend", die)
        else:
            broken.setattr(ClusterOperator, step, die)
        with pytest.raises(Died):
            own_shop.failover.promote(by=BY)
    own_shop.close()

    again = PairShop(own_shop.machine)
    try:
        wait_until(lambda: again.failover.is_complete, what="the failover to be completed")
        again.replication.set_delay(0)

        assert again.side.pair.primary.name == "b/shop"
        assert numbers(again) == set(kept)
        assert lost_numbers(again) == set(lost)
        wait_until(lambda: again.status().state is State.IN_SYNC)
        assert sell(again)[0].startswith("A2-")
        again.cross()
        assert again.replication.verify().outcome is Outcome.IN_SYNC
    finally:
        again.close()


class Nobody(ClusterOperator):
    """On somebody's own servers nobody starts or stops them for us."""

    def is_there(self) -> bool:
        return False


def test_without_anybody_to_ask_the_old_primary_the_invoice_is_not_yet_known(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked(own_shop)
    own_shop.replication.set_delay(0.8)
    lost = sell(own_shop)
    wait_until(lambda: own_shop.status().at_risk.orders == 1)
    own_shop.machine.kill_server("a")
    monkeypatch.setattr(ClusterOperator, "is_there", Nobody.is_there)

    promotion = own_shop.failover.promote(by=BY)

    assert promotion.invoice.sentence == "not yet known"
    unsettled = own_shop.failover.unsettled()
    assert unsettled is not None
    assert {one.order_number for one in unsettled.acknowledged if one.order_number} == set(lost)
    assert unsettled.remedy
    assert own_shop.failover.invoices() == []

    monkeypatch.undo()  # somebody comes who can
    wait_until(lambda: own_shop.failover.is_complete)

    assert lost_numbers(own_shop) == set(lost)
    assert own_shop.failover.unsettled() is None


def test_a_server_promoted_by_hand_is_noticed_and_what_was_lost_is_found(own_shop: PairShop) -> None:
    stocked(own_shop)
    own_shop.replication.set_delay(0.8)
    lost = sell(own_shop)
    own_shop.machine.kill_server("a")
    with own_shop.machine.pair.b.connect() as connection:
        connection.execute("SELECT pg_promote(true, 30)")
    own_shop.repository.servers.look()

    wait_until(lambda: lost_numbers(own_shop) == set(lost), what="the invoice")
    wait_until(lambda: own_shop.failover.is_complete, what="the rejoin")
    own_shop.replication.set_delay(0)
    wait_until(lambda: own_shop.status().state is State.IN_SYNC)


def test_an_old_primary_that_is_started_again_takes_no_write_of_ours(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked(own_shop)
    monkeypatch.setattr(ClusterOperator, "is_there", Nobody.is_there)  # so that it is not stopped and does not rejoin
    own_shop.failover.promote(by=BY)
    with own_shop.machine.pair.a.connect("shop") as connection:  # it lives, and takes anybody's writes
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        before = connection.execute("SELECT count(*) FROM commits").fetchone()

        sold = sell(own_shop, 3)

        assert connection.execute("SELECT count(*) FROM commits").fetchone() == before
    assert {number[:3] for number in sold} == {"A2-"}


def test_changing_roles_is_refused_while_the_last_change_is_not_complete(
    own_shop: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterOperator, "is_there", Nobody.is_there)
    own_shop.failover.promote(by=BY)

    with pytest.raises(Conflict, match="not complete"):
        own_shop.failover.promote(by=BY)
