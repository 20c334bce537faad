"""What is remembered of the last commits, through a change of roles and within its bounds."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.replication import history
from shop.replication.contract import CommitState
from shop.replication.embedded import EmbeddedReplication
from shop.replication.failover import EmbeddedFailover
from shop.replication.history import JOURNEYS_KEPT, MOMENTS_KEPT, SPACING_SECONDS, STREAM_MOMENTS
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
        clock.advance(2 * SPACING_SECONDS)
    clock.advance(6)
    while replication.sync_once(clock.monotonic()).applied:
        pass

    history = replication._replicator.history
    assert len(history.moments()) == MOMENTS_KEPT
    assert sum(len(batch.ways) for batch in history._batches) == JOURNEYS_KEPT
    oldest = replication.laboratory.journey(1, 1)
    assert oldest is not None, "the journals still have it"
    assert oldest.state is CommitState.APPLIED
    assert oldest.steps[2].after_seconds is None


def test_of_many_small_batches_the_last_journeys_are_kept(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "JOURNEYS_KEPT", 10)
    for count in (4, 3, 5, 4):
        for _ in range(count):
            put_next(pair.primary)
        clock.advance(6)
        replication.sync_once(clock.monotonic())

    kept = [lsn for lsn in range(1, 17) if replication._replicator.history.journey(1, lsn)]
    assert kept == list(range(5, 17)), "a batch goes when the others are enough"
    for lsn in (5, 16):
        journey = replication.laboratory.journey(1, lsn)
        assert journey is not None
        assert [step.after_seconds for step in journey.steps[1:4]] == pytest.approx([0, 6, 6])


def test_commits_that_crossed_together_keep_the_timelines_they_were_made_on(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock
) -> None:
    put_next(pair.primary)
    pair.primary.advance_timeline(3)
    put_next(pair.primary)
    clock.advance(6)

    assert replication.sync_once(clock.monotonic()).applied == 3

    known = replication._replicator.history.journey
    assert [known(1, 1) is None, known(3, 2) is None, known(3, 3) is None] == [False, False, False]
    assert [known(3, 1), known(1, 2), known(1, 3), known(3, 4)] == [None] * 4


def test_of_a_stream_what_happened_within_a_few_milliseconds_is_one_moment_and_the_last_is_what_is_now(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock
) -> None:
    moments = replication._replicator.history.moments
    replication.set_delay(0)
    for _ in range(STREAM_MOMENTS):
        put_next(pair.primary)
    assert len(moments()) == STREAM_MOMENTS, "a few at once are all there"

    before = moments()[-1].at
    clock.advance(SPACING_SECONDS / 2)
    for _ in range(10):
        put_next(pair.primary)
    assert len(moments()) == STREAM_MOMENTS
    assert moments()[-1].at == before + timedelta(seconds=SPACING_SECONDS / 2)  # when it came to be what it shows
    assert moments()[-1].primary is pair.primary.state
    assert [one.number for one in moments()] == list(range(1, STREAM_MOMENTS + 1))

    replication.sync_once(clock.monotonic())
    assert (moments()[-1].number, moments()[-1].replica) == (STREAM_MOMENTS, pair.replica.state)
    assert replication._replicator.history.applied_monotonic(1, STREAM_MOMENTS) == clock.monotonic()
    clock.advance(2 * SPACING_SECONDS)
    put_next(pair.primary)
    assert (moments()[-1].number, moments()[-1].primary) == (STREAM_MOMENTS + 1, pair.primary.state)


def test_a_change_of_roles_is_a_moment_of_its_own_also_in_a_stream(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock
) -> None:
    for _ in range(STREAM_MOMENTS):
        put_next(pair.primary)
    failover = EmbeddedFailover(pair, replication, EmbeddedRepository(pair.primary), clock=clock, currency=CURRENCY)

    failover.promote(by="test")
    put_next(pair.primary)

    moments = replication._replicator.history.moments()
    assert [one.files[0] for one in (moments[STREAM_MOMENTS - 1], moments[-1])] == ["db.json", "db_async.json"]
    assert moments[-1].primary is pair.primary.state


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
