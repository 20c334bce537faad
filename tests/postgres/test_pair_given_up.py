"""The new primary goes away between being agreed on and being promoted: the shop goes on from the old one where that is safe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from msgspec.structs import replace

from shop.errors import Conflict, WritesUnavailable
from shop.replication.contract import State
from shop.replication.postgres.changing import Pending
from shop.replication.postgres.knobs import ClusterOperator
from tests.builders import a_product, keep, order_of
from tests.pairkit import PairShop, wait_until

BY = "admin"


class Died(BaseException):
    """The worker is gone: nothing below may catch it."""


@pytest.fixture
def stocked(own_shop: PairShop) -> PairShop:
    keep(own_shop.repository, a_product(sku="MUG-1", name="Mug", stock=100))
    own_shop.cross()
    return own_shop


@contextmanager
def nobody_runs_the_servers(shop: PairShop) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as servers:
        servers.setattr(ClusterOperator, "is_there", lambda _: False)
        yield


def sell(shop: PairShop) -> str:
    with shop.repository.view() as unit:
        mug = unit.product_by_sku("MUG-1")
    assert mug is not None
    return order_of(shop.repository, (mug, 1)).number


def sells_on(shop: PairShop) -> str:
    """The number of the first order that it takes."""
    numbers: list[str] = []

    def tried() -> bool:
        try:
            numbers.append(sell(shop))
        except WritesUnavailable:
            return False
        return True

    wait_until(tried, what="the shop to sell")
    return numbers[0]


def agreed(shop: PairShop) -> tuple[int, int]:
    return shop.side.pair.roles.primary, shop.side.pair.roles.timeline


def is_promised(shop: PairShop, **fields: Any) -> None:
    """As a worker leaves it that dies after the roles were agreed on, with *fields* of what it had noted."""
    pending = Pending(side=0, timeline=1, since="2026-01-01T00:00:00.000000Z", by=BY, **fields)
    shop.failover._file.change(lambda now: replace(now, pending=pending))
    shop.failover._roles.plan(primary=1, timeline=2)


def test_a_promotion_whose_server_goes_away_first_changes_nothing(
    stocked: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody_runs_the_servers(stocked):
        with monkeypatch.context() as hazard:
            hazard.setattr(stocked.failover, "_stop_old", lambda _: stocked.machine.kill_server("b"))
            with pytest.raises(Conflict, match="nothing was changed: a/shop is the primary as before"):
                stocked.failover.promote(by=BY, expected_timeline=1)

        assert agreed(stocked) == (0, 1)
        assert stocked.failover.is_complete
        assert sell(stocked).startswith("A1-")

    stocked.machine.start_server("b")
    wait_until(lambda: stocked.status().state is State.IN_SYNC, what="the far side to follow")
    promotion = stocked.failover.promote(by=BY, expected_timeline=1)
    assert (promotion.primary, promotion.timeline, promotion.invoice.sentence) == ("b/shop", 2, "nothing")
    assert sells_on(stocked).startswith("A2-")


def test_the_next_start_goes_on_from_the_old_primary_when_the_new_one_does_not_come_back(
    stocked: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = sell(stocked)
    stocked.cross()
    stocked.leader.stop()

    def die(_: object) -> None:
        raise Died

    with monkeypatch.context() as broken:
        broken.setattr(stocked.failover, "_promote", die)
        with pytest.raises(Died):
            stocked.failover.promote(by=BY)
    stocked.machine.kill_server("b")
    stocked.close()
    stocked.machine.start_server("a")

    again = PairShop(stocked.machine)
    try:
        assert sells_on(again).startswith("A1-")
        with again.repository.view() as unit:
            assert unit.order(number) is not None
        assert again.failover.is_complete
        again.machine.start_server("b")
        wait_until(lambda: again.status().state is State.IN_SYNC, what="the far side to follow")
    finally:
        again.close()


def test_who_presses_again_is_told_that_nothing_was_changed(stocked: PairShop) -> None:
    stocked.leader.stop()
    is_promised(stocked)
    stocked.machine.kill_server("b")

    with pytest.raises(Conflict, match="nothing was changed"):
        stocked.failover.promote(by=BY)

    assert sell(stocked).startswith("A1-")


def test_a_new_primary_that_has_taken_a_write_is_not_passed_over(stocked: PairShop) -> None:
    stocked.leader.stop()
    is_promised(stocked)
    with stocked.machine.pair.b.connect() as connection:  # by hand, so that nobody noted it
        connection.execute("SELECT pg_promote(true, 30)")
    with nobody_runs_the_servers(stocked):
        assert sells_on(stocked).startswith("A2-")
        stocked.machine.kill_server("b")

        assert stocked.failover.complete() == ""

        assert agreed(stocked) == (1, 2)
        with pytest.raises(WritesUnavailable):
            sell(stocked)


def test_one_that_was_told_to_take_over_is_passed_over_only_when_its_files_show_that_it_did_not(
    stocked: PairShop,
) -> None:
    stocked.leader.stop()
    is_promised(stocked, is_promoting=True)
    stocked.machine.kill_server("b")
    with nobody_runs_the_servers(stocked):
        assert stocked.failover.complete() == ""

        assert agreed(stocked) == (1, 2)
        unsettled = stocked.failover.unsettled()
        assert unsettled is not None
        assert "may have taken writes that a/shop lacks: start it" in unsettled.sentence
        assert f"rm {stocked.instance / 'cluster.json'}" in unsettled.sentence
        with pytest.raises(Conflict, match=r"rm .*cluster\.json"):
            stocked.failover.promote(by=BY)

    assert "primary as before" in stocked.failover.complete()
    assert sell(stocked).startswith("A1-")


def test_when_neither_answers_the_remedy_is_named(stocked: PairShop) -> None:
    stocked.leader.stop()
    is_promised(stocked)
    stocked.machine.kill_server("b")
    stocked.machine.kill_server("a")

    assert stocked.failover.complete() == ""

    unsettled = stocked.failover.unsettled()
    assert unsettled is not None
    assert "make cluster-stop, then make cluster" in unsettled.sentence


def test_pressing_promote_while_the_same_is_being_completed_is_answered_as_done(
    stocked: PairShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked.replication.set_delay(0.8)
    lost = sell(stocked)
    is_held, may_go_on = _held_up(monkeypatch)
    first = stocked.failover.promote(by=BY, expected_timeline=1)
    wait_until(is_held, what="the leader to complete it")

    second = stocked.failover.promote(by="another", expected_timeline=1)

    assert (second.primary, second.timeline, second.by) == (first.primary, first.timeline, BY)
    assert second.invoice == first.invoice
    assert [one.order_number for one in second.invoice.commits if one.order_number] == [lost]
    with pytest.raises(Conflict, match="being changed already"):
        stocked.failover.promote(by="another", expected_timeline=2)
    may_go_on()
    wait_until(lambda: stocked.failover.is_complete, what="the failover to be complete")


def _held_up(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[], bool], Callable[[], None]]:
    """The old primary's rejoin waits: whether it does by now, and what lets it go on."""
    begun, free = Event(), Event()
    real = ClusterOperator.rejoin

    def waits(operator: ClusterOperator, side: str) -> str:
        begun.set()
        assert free.wait(60)
        return real(operator, side)

    monkeypatch.setattr(ClusterOperator, "rejoin", waits)
    return begun.is_set, free.set
