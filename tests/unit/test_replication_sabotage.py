"""Damage on request is real: the verification and the chain check find it, a fresh snapshot repairs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.errors import NotFound
from shop.replication.contract import Outcome, State
from shop.replication.sabotage import with_bit_flipped
from tests.failoverkit import Shop, contents


@pytest.fixture
def shop(tmp_path: Path, clock: ManualClock) -> Iterator[Shop]:
    shop = Shop(tmp_path, clock)
    shop.stock()
    shop.cross()
    yield shop
    shop.pair.close()


def step(shop: Shop, seconds: float = 60.0) -> None:
    shop.clock.advance(seconds)
    shop.replication.sync_once(shop.clock.monotonic())


def test_a_damaged_record_is_found_by_comparing_and_by_nothing_else(shop: Shop) -> None:
    shop.replication.sabotage.damage_replica("mug")

    assert shop.pair.primary.position == shop.pair.replica.position
    assert shop.replication.status().state is State.IN_SYNC
    verdict = shop.replication.verify()
    assert verdict.outcome is Outcome.DIVERGED
    assert [(one.id, one.fields) for one in verdict.differences] == [("mug", [("price", "€12.50", "€12.51")])]


def test_the_damage_is_on_the_disk_and_a_resync_repairs_it(shop: Shop) -> None:
    shop.replication.sabotage.damage_replica("mug")
    again = shop.reopen()
    assert again.replication.verify().outcome is Outcome.DIVERGED

    again.replication.resync()

    assert again.replication.verify().outcome is Outcome.IN_SYNC
    assert contents(again.pair.primary) == contents(again.pair.replica)
    again.pair.close()


def test_commits_go_on_crossing_to_a_damaged_replica(shop: Shop) -> None:
    shop.replication.sabotage.damage_replica("mug")
    shop.order()
    shop.cross()
    assert shop.replication.status().state is State.IN_SYNC


def test_there_is_nothing_to_damage_in_a_product_that_is_not_there(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.replication.sabotage.damage_replica("unknown")


def test_a_poisoned_commit_blocks_itself_and_all_behind_it_until_a_snapshot_passes_it_by(shop: Shop) -> None:
    shop.order()
    shop.replication.sabotage.poison_next_commit()
    first = shop.pair.primary.position.lsn
    shop.order()
    shop.order()
    step(shop)
    step(shop)

    status = shop.replication.status()
    assert status.state is State.FAILING
    assert "arrived damaged" in status.retry.error
    assert shop.pair.replica.position.lsn < first + 1
    shop.replication.resync()
    assert shop.replication.verify().outcome is Outcome.IN_SYNC
    shop.order()
    shop.cross()
    assert shop.replication.status().state is State.IN_SYNC


def test_once_undone_the_next_try_succeeds(shop: Shop) -> None:
    shop.replication.sabotage.poison_next_commit()
    shop.order()
    step(shop)
    assert shop.replication.status().retry.attempts == 1

    shop.replication.sabotage.undo()
    step(shop)

    assert shop.replication.status().state is State.IN_SYNC


def test_one_bit_of_one_line_is_flipped_and_it_stays_one_line() -> None:
    lines = b"abc\nde\x0bf\n"

    assert with_bit_flipped(lines, 1) == b"abb\nde\x0bf\n"
    assert with_bit_flipped(lines, 2) == b"abc\nde\x09f\n"
    assert with_bit_flipped(lines, 0) == with_bit_flipped(lines, 3) == lines
