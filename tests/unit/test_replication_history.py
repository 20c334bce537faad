"""What is remembered of the last commits, through a change of roles and within its bounds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.replication import history
from shop.replication.contract import CommitState
from shop.replication.embedded import EmbeddedReplication
from shop.replication.failover import EmbeddedFailover
from shop.replication.history import JOURNEYS_KEPT, MOMENTS_KEPT
from shop.replication.pair import Pair, open_pair
from shop.repository.embedded import EmbeddedRepository
from tests.builders import CURRENCY, NOW
from tests.replicationkit import put_next


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def pair(tmp_path: Path, clock: ManualClock) -> Iterator[Pair]:
    pair = open_pair(tmp_path, clock)
    yield pair
    pair.close()


@pytest.fixture
def replication(pair: Pair, clock: ManualClock) -> EmbeddedReplication:
    return EmbeddedReplication(pair, clock=clock, delay_seconds=5, currency=CURRENCY)


def test_a_moment_keeps_the_names_that_the_sides_had_then(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock
) -> None:
    put_next(pair.primary)
    before = replication.laboratory.past()
    assert before is not None
    failover = EmbeddedFailover(pair, replication, EmbeddedRepository(pair.primary), clock=clock, currency=CURRENCY)

    failover.promote(by="test")

    then = replication.laboratory.past(before.number)
    now = replication.laboratory.past()
    assert then is not None and now is not None
    assert (then.primary.file, then.replica.file) == ("db.json", "db_async.json")
    assert (now.primary.file, now.replica.file) == ("db_async.json", "db.json")


def test_a_moment_shows_what_both_sides_held_and_what_differed_then(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock
) -> None:
    put_next(pair.primary)
    clock.advance(5.1)
    replication.sync_once(clock.monotonic())
    put_next(pair.primary)

    first, second, third = (replication.laboratory.past(number) for number in (1, 2, 3))

    assert first is not None and second is not None and third is not None
    assert (first.primary.position.lsn, first.replica.position.lsn, len(first.differences)) == (1, 0, 1)
    assert (second.primary.position.lsn, second.replica.position.lsn, len(second.differences)) == (1, 1, 0)
    assert (third.primary.position.lsn, third.replica.position.lsn, len(third.differences)) == (2, 1, 1)


def test_memory_is_bounded(pair: Pair, replication: EmbeddedReplication, clock: ManualClock) -> None:
    for _ in range(JOURNEYS_KEPT + 50):
        put_next(pair.primary)
    clock.advance(6)
    while replication.sync_once(clock.monotonic()).applied:
        pass

    history = replication._replicator.history
    assert len(history.moments()) == MOMENTS_KEPT
    assert len(history._journeys) == JOURNEYS_KEPT
    oldest = replication.laboratory.journey(1, 1)
    assert oldest is not None, "the journals still have it"
    assert oldest.state is CommitState.APPLIED
    assert oldest.steps[2].after_seconds is None


def test_a_lost_try_is_told_of_the_commit_that_lost_it(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock
) -> None:
    replication.laboratory.set_loss(60)
    for _ in range(20):
        put_next(pair.primary)
    ahead = [replication.laboratory.journey(1, lsn) for lsn in range(1, 21)]

    clock.advance(1000)
    replication.sync_once(clock.monotonic())

    after = [replication.laboratory.journey(1, lsn) for lsn in range(1, 21)]
    assert [one.tries for one in ahead if one] == [one.tries for one in after if one]
    assert max(one.tries for one in after if one) > 1


def test_a_moment_was_when_it_was_also_after_the_wall_clock_has_been_set(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock
) -> None:
    put_next(pair.primary)
    then = replication.laboratory.past()

    clock.shift_wall(-3600)

    assert then is not None
    assert replication.laboratory.past() == then


def test_catching_up_with_a_backlog_keeps_no_more_than_so_many_commits(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "COMMITS_KEPT", 50)
    monkeypatch.setattr("shop.replication.replicator.BATCH_BYTES", 5_000)
    replication.pause()
    for _ in range(100):
        put_next(pair.primary)
    replication.resume()
    clock.advance(6)

    while replication.sync_once(clock.monotonic()).applied:
        moments = replication._replicator.history.moments()
        assert moments[-1].replica is pair.replica.state
        assert [moment.number for moment in moments] == list(range(moments[0].number, moments[-1].number + 1))
        if len(moments) > 2:
            assert moments[-1].replica.position.lsn - moments[1].replica.position.lsn <= 50

    assert replication.laboratory.past() is not None
    assert pair.replica.position == pair.primary.position
