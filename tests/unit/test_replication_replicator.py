"""One step after the other, on a clock that the test moves: prefix, order, delay, retry, and what stops it all."""

import json
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.replication import replicator as replicator_module
from shop.replication.contract import State
from shop.replication.replicator import NEVER, RECENT_KEPT, RETRY_SECONDS_FIRST, RETRY_SECONDS_MAX
from shop.store import StoreFull, StoreMismatch
from shop.store import store as store_module
from tests.replicationkit import DELAY, Sides, files_of, put_files, sold


@pytest.fixture
def sides(tmp_path: Path, clock: ManualClock) -> Iterator[Sides]:
    folder = tmp_path / "shop"
    folder.mkdir()
    sides = Sides(folder, clock)
    yield sides
    sides.pair.close()


# ---- order, prefix, delay


@pytest.mark.parametrize("seed", range(12))
def test_the_replica_is_always_an_earlier_state_of_the_primary(tmp_path: Path, clock: ManualClock, seed: int) -> None:
    chance = random.Random(seed)
    sides = Sides(tmp_path, clock, delay=chance.choice([0, 0.2, 2, 10]))
    seen = [0]
    for _ in range(120):
        act = chance.random()
        if act < 0.5:
            sides.commit(chance.randint(1, 4))
        elif act < 0.55:
            sides.link.set_delay(chance.choice([0, 0.2, 2, 10]))
        elif act < 0.6:
            sides.link.pause()
        elif act < 0.7:
            sides.link.resume()
        elif act < 0.75:
            sides = sides.reopen(killed=chance.random() < 0.5)
        clock.advance(chance.uniform(0, 1))
        sides.step()

        assert sold(sides.replica) == sides.replica.position.lsn, "a state between two commits"
        assert sides.primary.position_at(sides.replica.position.lsn) in (sides.replica.position, None)
        seen.append(sides.replica.position.lsn)

    assert all(before <= after for before, after in pairwise(seen))
    sides.link.resume()
    sides.settle(60)
    assert sides.replica.position == sides.primary.position
    sides.pair.close()


@pytest.mark.parametrize("delay", [0, 0.2, 2, 10])
def test_no_commit_is_early_and_none_is_late(tmp_path: Path, clock: ManualClock, delay: float) -> None:
    sides = Sides(tmp_path, clock, delay=delay)
    chance = random.Random(2)
    lateness = []
    for _ in range(60):
        sides.commit(chance.randint(1, 3))
        sides.settle(chance.uniform(0, 0.5))
        lateness += [arrival.lateness_seconds for arrival in sides.replicator.recent]
    sides.settle(delay + 0.1)
    lateness += [arrival.lateness_seconds for arrival in sides.replicator.recent]

    assert sold(sides.replica) == sides.primary.position.lsn
    assert min(lateness) >= 0
    assert max(lateness) <= 0.001
    sides.pair.close()


def test_a_commit_crosses_when_its_delay_has_passed_and_not_before(sides: Sides) -> None:
    sides.commit()

    sides.clock.advance(DELAY - 0.001)
    assert sides.step().applied == 0
    sides.clock.advance(0.002)
    assert sides.step().applied == 1


def test_the_step_says_when_the_next_commit_is_due(sides: Sides) -> None:
    assert sides.step().next_due_monotonic is None, "nothing on its way"
    sides.commit()
    sides.clock.advance(1)
    sides.commit()
    first = sides.primary.committed_monotonic(1)

    assert sides.step().next_due_monotonic == pytest.approx(first + DELAY)
    sides.clock.advance(DELAY - 0.5)
    assert sides.step() == (1, pytest.approx(first + 1 + DELAY))
    sides.clock.advance(1)
    assert sides.step() == (1, None)


def test_a_change_of_the_delay_holds_for_what_is_already_crossing(sides: Sides) -> None:
    sides.commit()
    sides.clock.advance(1)

    sides.link.set_delay(10)
    sides.clock.advance(DELAY)
    assert sides.step().applied == 0
    sides.link.set_delay(1)
    assert sides.step().applied == 1


def test_the_file_of_the_replica_shows_a_commit_when_it_has_crossed_and_not_before(sides: Sides) -> None:
    sides.commit()

    sides.settle(DELAY - 0.01)
    assert shown(sides) == 0
    sides.settle(0.02)
    assert shown(sides) == 1


def shown(sides: Sides) -> int:
    """How many commits the replica's file shows, read as anybody's script would."""
    counters = json.loads((sides.folder / "db_async.json").read_bytes())["counters"]
    return counters["sold"]["value"] if counters else 0


# ---- batches


def test_a_long_queue_crosses_in_bounded_batches(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicator_module, "BATCH_BYTES", 1000)
    sizes: list[int] = []
    apply = sides.replica.apply
    monkeypatch.setattr(sides.replica, "apply", lambda lines: sizes.append(len(lines)) or apply(lines))
    sides.commit(50)
    sides.clock.advance(DELAY + 1)

    outcome = sides.step()

    assert 0 < outcome.applied < 50
    assert outcome.next_due_monotonic is not None
    assert outcome.next_due_monotonic <= sides.clock.monotonic(), "more is due at once"
    assert sides.settle() == 50 - outcome.applied
    assert max(sizes) <= 1000


# ---- pause


def test_a_paused_link_carries_nothing_and_resuming_carries_it_all(sides: Sides) -> None:
    sides.link.pause()
    sides.commit(3)
    sides.clock.advance(100)

    assert sides.step() == (0, NEVER)
    assert sold(sides.replica) == 0
    sides.link.resume()
    assert sides.settle() == 3


# ---- restarts


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_in_flight_at_a_restart_arrives_after_it(sides: Sides, killed: bool) -> None:
    sides.commit(3)
    sides.clock.advance(1)

    again = sides.reopen(killed=killed)

    again.settle(DELAY - 1.01)
    assert sold(again.replica) == 0, "a restart shortens no delay"
    again.settle(0.02)
    assert sold(again.replica) == 3
    again.pair.close()


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_wall_clock_set_wrong_over_a_restart_holds_a_commit_for_no_more_than_one_delay(
    sides: Sides, clock: ManualClock, shift: float
) -> None:
    sides.commit(3)
    sides.pair.close()
    clock.shift_wall(shift)

    again = Sides(sides.folder, clock)

    again.settle(DELAY + 0.01)
    assert sold(again.replica) == 3
    again.pair.close()


def test_a_wall_clock_set_back_an_hour_moves_no_commit(sides: Sides, clock: ManualClock) -> None:
    sides.commit()
    clock.shift_wall(-3600)
    sides.commit()

    sides.settle(DELAY - 0.01)
    assert sold(sides.replica) == 0
    sides.settle(0.02)
    assert sold(sides.replica) == 2


# ---- failures


class Broken:
    """Makes the replica refuse until it is mended."""

    def __init__(self, sides: Sides, error: Callable[[], Exception]) -> None:
        self._apply = sides.replica.apply
        self._error = error
        self.calls: list[float] = []
        self.is_broken = True
        self._sides = sides
        sides.replica.apply = self.apply  # type: ignore[method-assign]

    def apply(self, lines: bytes) -> int:
        if self.is_broken:
            self.calls.append(self._sides.clock.monotonic())
            raise self._error()
        return self._apply(lines)


def full() -> Exception:
    return StoreFull("db_async.journal could not be written (No space left on device); nothing was kept")


@pytest.mark.parametrize("error", [full, lambda: OSError(5, "Input/output error"), lambda: ZeroDivisionError("a bug")])
def test_a_failed_step_is_tried_again_later_and_later_up_to_a_ceiling(
    sides: Sides, error: Callable[[], Exception]
) -> None:
    broken = Broken(sides, error)
    sides.commit()

    sides.settle(DELAY + 200)

    waits = [after - before for before, after in pairwise(broken.calls)]
    assert waits[:4] == pytest.approx([RETRY_SECONDS_FIRST * 2**n for n in range(4)])
    assert waits[-1] == pytest.approx(RETRY_SECONDS_MAX)
    assert all(before <= after + 1e-6 for before, after in pairwise(waits))
    failure = sides.replicator.failure
    assert failure is not None
    assert failure.attempts == len(broken.calls)
    assert str(error()) in failure.error


def test_the_wait_is_jittered_down_to_its_half(sides: Sides) -> None:
    Broken(sides, full)
    sides.replicator._jitter = lambda: 0.0
    sides.commit()
    sides.clock.advance(DELAY + 1)

    outcome = sides.step()

    assert outcome.next_due_monotonic == pytest.approx(sides.clock.monotonic() + RETRY_SECONDS_FIRST / 2)


def test_a_new_commit_does_not_hurry_a_retry(sides: Sides) -> None:
    broken = Broken(sides, full)
    sides.commit()
    sides.clock.advance(DELAY + 1)
    sides.step()

    sides.commit()
    sides.step()

    assert len(broken.calls) == 1


def test_after_the_cause_is_gone_everything_arrives_in_order_and_the_count_starts_anew(sides: Sides) -> None:
    broken = Broken(sides, full)
    sides.commit(5)
    sides.settle(DELAY + 20)
    assert sold(sides.replica) == 0

    broken.is_broken = False

    assert sides.settle(RETRY_SECONDS_MAX) == 5
    assert sides.replicator.failure is None
    assert sides.replica.position == sides.primary.position


def test_a_commit_that_cannot_be_applied_blocks_all_behind_it_and_is_never_skipped(sides: Sides) -> None:
    sides.commit(2)
    sides.settle(DELAY + 1)
    broken = Broken(sides, lambda: StoreMismatch("a commit breaks a unique index: product_slug: 'teapot' is taken"))
    sides.commit(3)

    sides.settle(DELAY + 120)

    assert sides.replica.position.lsn == 2
    failure = sides.replicator.failure
    assert failure is not None
    assert failure.error.startswith("Blocked at commit 3: ")
    assert len(broken.calls) > 3
    broken.is_broken = False
    sides.settle(RETRY_SECONDS_MAX)
    assert sold(sides.replica) == 5


def test_a_retry_can_be_asked_for_at_once(sides: Sides) -> None:
    broken = Broken(sides, full)
    sides.commit()
    sides.settle(DELAY + 60)
    broken.is_broken = False

    sides.replicator.retry_now()

    assert sides.step().applied == 1


# ---- first contact


def diverged(sides: Sides, ours: int, theirs: int) -> Sides:
    """A pair whose common history ends at commit 2; after it the primary has *ours* commits, the replica *theirs* of another life."""
    sides.commit(2)
    sides.settle(DELAY + 1)
    sides.pair.close()
    base = files_of(sides.folder)
    other = Sides(sides.folder, sides.clock)
    other.commit(theirs, counter="other life")
    other.settle(DELAY + 1)
    other.pair.close()
    foreign = {name: data for name, data in files_of(sides.folder).items() if name.startswith("db_async")}
    put_files(sides.folder, base | foreign)
    shortened = Sides(sides.folder, sides.clock)
    shortened.primary.allow_writes()
    shortened.commit(ours)
    return shortened


@pytest.mark.parametrize(
    ("ours", "theirs", "why"), [(3, 3, "checksums differ"), (5, 3, "checksums differ"), (1, 3, "ahead")]
)
def test_a_replica_of_another_history_is_refused_and_not_touched(
    sides: Sides, ours: int, theirs: int, why: str
) -> None:
    diverged_sides = diverged(sides, ours, theirs)
    before = diverged_sides.replica.position

    diverged_sides.clock.advance(DELAY + 1)
    outcome = diverged_sides.step()

    assert outcome == (0, NEVER)
    assert diverged_sides.trouble is State.REFUSED
    assert diverged_sides.replicator.trouble is not None
    assert why in diverged_sides.replicator.trouble.sentence
    assert "Resync" in diverged_sides.replicator.trouble.sentence
    assert diverged_sides.replica.position == before
    diverged_sides.pair.close()


def test_a_replica_of_another_shop_is_refused(tmp_path: Path, clock: ManualClock, sides: Sides) -> None:
    (tmp_path / "other").mkdir()
    other = Sides(tmp_path / "other", clock)
    sides.commit()
    sides.pair.close()
    other.pair.close()
    put_files(sides.folder, {n: d for n, d in files_of(other.folder).items() if n.startswith("db_async")})

    mixed = Sides(sides.folder, clock)
    mixed.settle(DELAY + 1)

    assert mixed.trouble is State.REFUSED
    assert mixed.replicator.trouble is not None
    assert "another shop" in mixed.replicator.trouble.sentence
    assert sold(mixed.replica) == 0
    mixed.pair.close()


def test_a_resync_makes_one_history_of_two(sides: Sides) -> None:
    two = diverged(sides, 3, 3)
    two.settle(DELAY + 1)

    two.replicator.resync(two.clock.monotonic())
    two.commit()
    two.settle(DELAY + 1)

    assert two.trouble is None
    assert two.replica.position == two.primary.position
    assert sold(two.replica, "other life") == 0
    two.pair.close()


def test_a_replica_left_behind_by_a_cut_journal_needs_a_snapshot_and_gets_it(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "JOURNAL_LIMIT_BYTES", 2000)
    monkeypatch.setattr(store_module, "CUT_BYTES", 0)
    sides.commit(40)

    sides.primary.checkpoint()
    sides.clock.advance(DELAY + 1)
    outcome = sides.step()

    assert outcome == (0, NEVER)
    assert sides.trouble is State.SNAPSHOT_NEEDED
    assert sold(sides.replica) == 0
    sides.replicator.resync(sides.clock.monotonic())
    sides.commit(2)
    sides.settle(DELAY + 1)
    assert sold(sides.replica) == 42
    assert sides.replica.position == sides.primary.position


def test_the_journal_keeps_what_the_replica_lacks(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "CUT_BYTES", 0)
    sides.commit(40)
    sides.settle(DELAY + 1)
    sides.commit(5)

    sides.primary.checkpoint()

    assert sides.primary.oldest_lsn == 41, "cut, and no further than the replica has come"
    assert sides.settle(DELAY + 1) == 5


def test_a_replica_that_cuts_its_journal_at_once_is_no_failure(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own thread may write its checkpoint between a batch and what is noted of it."""
    monkeypatch.setattr(store_module, "CUT_BYTES", 0)
    apply = sides.replica.apply

    def apply_and_cut(lines: bytes) -> int:
        applied = apply(lines)
        sides.replica.checkpoint()
        return applied

    monkeypatch.setattr(sides.replica, "apply", apply_and_cut)
    sides.commit(5)

    assert sides.settle(DELAY + 1) == 5
    assert sides.replica.oldest_lsn == sides.replica.position.lsn + 1, "cut"
    assert sides.replicator.failure is None
    assert [arrival.applied_monotonic >= arrival.due_monotonic for arrival in sides.replicator.recent[:5]] == [True] * 5


def test_the_last_commits_are_told_newest_first_also_when_both_journals_have_forgotten_them(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    for count in (25, 3, 1, 4):
        sides.commit(count)
        due = sides.primary.committed_monotonic(sides.primary.position.lsn) + DELAY
        sides.settle(DELAY + 1)
        told = [arrival.commit.lsn for arrival in sides.replicator.recent]
        assert told == list(range(sides.primary.position.lsn, sides.primary.position.lsn - len(told), -1))
        assert sides.replicator.recent[0].due_monotonic == pytest.approx(due)
    monkeypatch.setattr(store_module, "CUT_BYTES", 0)
    sides.commit()
    sides.settle(DELAY + 1)
    sides.primary.checkpoint()
    sides.replica.checkpoint()

    assert sides.primary.commits(0) == sides.replica.commits(0) == []
    assert [arrival.commit.lsn for arrival in sides.replicator.recent] == [34, *told[: RECENT_KEPT - 1]]


# ---- everything at once


def test_sync_all_ignores_delay_pause_and_a_waiting_retry(sides: Sides) -> None:
    broken = Broken(sides, full)
    sides.commit(3)
    sides.settle(DELAY + 5)
    broken.is_broken = False
    sides.link.pause()
    sides.commit(2)

    applied = sides.replicator.sync_all(sides.clock.monotonic())

    assert applied == 5
    assert sides.replica.position == sides.primary.position


def test_sync_all_gives_up_at_the_first_failure(sides: Sides) -> None:
    broken = Broken(sides, full)
    sides.commit(3)

    assert sides.replicator.sync_all(sides.clock.monotonic()) == 0
    assert len(broken.calls) == 1
    assert sides.replicator.failure is not None


def test_a_new_timeline_crosses_like_any_commit(sides: Sides) -> None:
    sides.commit(2)
    sides.primary.advance_timeline(3)
    sides.commit(2)

    sides.settle(DELAY + 1)

    assert sides.replica.position == sides.primary.position
    assert sides.replica.position.timeline == 3
    assert sides.replica.state.forks == sides.primary.state.forks
