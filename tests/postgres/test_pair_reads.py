"""Pages from a real standby, under the four policies, and what a visitor is told when it is late, lost or gone."""

from collections.abc import Iterator

import pytest

from shop.replication.contract import Anomaly, Policy, Token
from shop.replication.postgres.reads import GONE, TOO_LATE
from tests.builders import a_product, keep, product_in
from tests.pairkit import PairShop, wait_until


@pytest.fixture
def shop(shop: PairShop) -> Iterator[PairShop]:
    yield shop
    shop.reads.release()


def wrote(shop: PairShop, name: str = "Teapot") -> tuple[str, Token]:
    """A new product; its id and the position of the write."""
    product = a_product(name=name)
    keep(shop.repository, product)
    token = shop.reads.take_committed()
    assert token is not None
    return product.id, token


def test_the_replica_as_it_is_may_miss_an_own_write_and_says_so(shop: PairShop) -> None:
    wrote(shop)
    shop.cross()
    shop.replication.pause()
    id, token = wrote(shop, "Kettle")

    unit, reading = shop.reads.read(Policy.REPLICA, wrote=token, seen=None)

    assert unit.product(id) is None
    assert (reading.side, reading.file, reading.fell_back) == ("replica", "b/shop", "")
    assert reading.anomalies == (Anomaly.MISSED_WRITE,)
    assert reading.commits_behind == 1
    assert reading.age_seconds is not None and reading.age_seconds > 0
    assert reading.wrote == token


def test_without_a_choice_of_the_far_side_the_primary_answers(shop: PairShop) -> None:
    shop.replication.pause()
    id, token = wrote(shop)

    unit, reading = shop.reads.read(Policy.PRIMARY, wrote=token, seen=None)

    assert unit.product(id) is not None
    assert (reading.side, reading.file, reading.commits_behind, reading.fell_back) == ("primary", "a/shop", 0, "")


def test_an_own_write_is_waited_for_and_then_read_from_the_standby(shop: PairShop) -> None:
    wrote(shop)
    shop.cross()
    shop.replication.set_delay(0.3)
    id, token = wrote(shop)

    unit, reading = shop.reads.read(Policy.OWN_WRITES, wrote=token, seen=None)

    assert unit.product(id) is not None
    assert (reading.side, reading.fell_back, reading.anomalies) == ("replica", "", ())
    assert 0 < reading.waited_seconds <= 1.2


def test_an_own_write_that_is_not_there_in_time_comes_from_the_primary(shop: PairShop) -> None:
    wrote(shop)
    shop.cross()
    shop.replication.pause()
    id, token = wrote(shop)

    unit, reading = shop.reads.read(Policy.OWN_WRITES, wrote=token, seen=None)

    assert unit.product(id) is not None
    assert (reading.side, reading.fell_back) == ("primary", TOO_LATE)


def test_what_was_seen_is_never_unseen(shop: PairShop) -> None:
    wrote(shop)
    shop.cross()
    shop.replication.pause()
    id, _ = wrote(shop)
    _, first = shop.reads.read(Policy.PRIMARY, wrote=None, seen=None)
    shop.reads.release()

    unit, second = shop.reads.read(Policy.MONOTONIC, wrote=None, seen=first.seen)
    assert unit.product(id) is not None
    assert (second.side, second.fell_back) == ("primary", TOO_LATE)
    shop.reads.release()

    shop.replication.resume()
    shop.cross()
    _, third = shop.reads.read(Policy.MONOTONIC, wrote=None, seen=second.seen)
    assert third.side == "replica"
    assert third.seen.lsn >= second.seen.lsn


def test_a_page_sees_one_snapshot_until_it_is_released(shop: PairShop) -> None:
    id, _ = wrote(shop)
    shop.cross()
    unit, _ = shop.reads.read(Policy.REPLICA, wrote=None, seen=None)
    before = unit.product(id)
    other, _ = wrote(shop, "Kettle")
    shop.cross()

    assert unit.product(id) == before
    assert unit.product(other) is None
    shop.reads.release()
    unit, _ = shop.reads.read(Policy.REPLICA, wrote=None, seen=None)
    assert unit.product(other) is not None


def test_a_page_gives_its_connections_back(shop: PairShop) -> None:
    wrote(shop)
    shop.cross()
    for _ in range(50):
        shop.reads.both()
        shop.reads.release()


def test_both_sides_are_shown_at_once(shop: PairShop) -> None:
    wrote(shop)
    shop.cross()
    shop.replication.pause()
    id, _ = wrote(shop)

    near, far, reading = shop.reads.both()

    assert near.product(id) is not None
    assert far.product(id) is None
    assert (reading.side, reading.commits_behind) == ("replica", 1)


def test_a_standby_that_is_gone_is_replaced_by_the_primary(own_shop: PairShop) -> None:
    id, token = wrote(own_shop)
    own_shop.cross()
    own_shop.machine.stop_server("b")

    unit, reading = own_shop.reads.read(Policy.OWN_WRITES, wrote=token, seen=None)

    assert unit.product(id) is not None
    assert (reading.side, reading.fell_back) == ("primary", GONE)
    own_shop.reads.release()


def test_a_primary_that_is_gone_is_replaced_by_the_standby_and_the_page_says_so(own_shop: PairShop) -> None:
    id, _ = wrote(own_shop)
    own_shop.cross()
    own_shop.machine.kill_server("a")

    unit, reading = own_shop.reads.read(Policy.PRIMARY, wrote=None, seen=None)

    assert unit.product(id) is not None
    assert (reading.side, reading.fell_back) == ("replica", "The primary cannot be reached")
    own_shop.reads.release()


def test_a_write_that_a_failover_lost_is_told_once_and_one_that_survived_is_not(own_shop: PairShop) -> None:
    kept_id, kept = wrote(own_shop)
    own_shop.cross()
    own_shop.replication.set_delay(0.8)
    _, lost = wrote(own_shop, "Kettle")
    own_shop.failover.promote(by="admin")

    unit, reading = own_shop.reads.read(Policy.PRIMARY, wrote=lost, seen=kept)

    assert reading.anomalies == (Anomaly.LOST_WRITE,)
    assert reading.wrote is None
    assert unit.product(kept_id) is not None
    assert not own_shop.reads.is_lost(kept)
    assert own_shop.reads.is_lost(lost)
    own_shop.reads.release()
    wait_until(lambda: product_in(own_shop.repository, kept_id) is not None)
