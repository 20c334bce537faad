"""What only the embedded replication can meet: a cut journal, two histories, threads that sell while somebody looks."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock, SystemClock
from shop.errors import Conflict
from shop.replication import verify as verify_module
from shop.replication.contract import Outcome, State
from shop.replication.embedded import EmbeddedReplication
from shop.replication.pair import Pair, open_pair
from shop.store import Commit, Store
from shop.store import store as store_module
from tests.replicationkit import DELAY, files_of, put_files, put_next, sold


@pytest.fixture
def pair(tmp_path: Path, clock: ManualClock) -> Iterator[Pair]:
    pair = open_pair(tmp_path, clock)
    yield pair
    pair.close()


def replicate(pair: Pair, clock: ManualClock) -> EmbeddedReplication:
    return EmbeddedReplication(pair, clock=clock, delay_seconds=DELAY, currency="EUR")


@pytest.fixture
def replication(pair: Pair, clock: ManualClock) -> EmbeddedReplication:
    return replicate(pair, clock)


@pytest.fixture
def cut(pair: Pair, replication: EmbeddedReplication, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal grew past its limit while the link was paused."""
    monkeypatch.setattr(store_module, "JOURNAL_LIMIT_BYTES", 2000)
    monkeypatch.setattr(store_module, "CUT_BYTES", 0)
    for _ in range(40):
        put_next(pair.primary)
    pair.primary.checkpoint()
    clock.advance(DELAY + 1)
    replication.sync_once(clock.monotonic())


@pytest.mark.usefixtures("cut")
def test_a_cut_journal_is_said_to_an_operator_with_the_cure(replication: EmbeddedReplication) -> None:
    status = replication.status()

    assert status.state is State.SNAPSHOT_NEEDED
    assert "Resync" in status.sentence
    assert status.lag.commits == 40
    assert status.at_risk.commits == 40
    assert status.at_risk.sentence == "40 writes"
    assert list(status.in_flight) == []
    with pytest.raises(Conflict, match="Resync"):
        replication.sync_now()
    verdict = replication.verify()
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.position is None
    assert "cannot be compared" in verdict.sentence


@pytest.mark.usefixtures("cut")
def test_a_resync_cures_a_cut_journal(pair: Pair, replication: EmbeddedReplication, clock: ManualClock) -> None:
    replication.resync()

    assert replication.status().state is State.IN_SYNC
    assert sold(pair.replica) == 40
    put_next(pair.primary)
    clock.advance(DELAY + 1)
    assert replication.sync_once(clock.monotonic()).applied == 1


def test_a_replica_that_is_ahead_is_refused_and_both_the_page_and_the_primary_say_so(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock, tmp_path: Path
) -> None:
    put_next(pair.primary)
    pair.primary.checkpoint()
    old = {name: data for name, data in files_of(tmp_path).items() if name in ("db.json", "db.journal")}
    put_next(pair.primary)
    replication.sync_now()
    pair.close()
    put_files(tmp_path, old)
    again = open_pair(tmp_path, clock)
    replication = replicate(again, clock)
    replication.sync_once(clock.monotonic())

    status = replication.status()

    assert status.state is State.REFUSED
    assert "ahead" in status.sentence
    assert not status.primary.is_writable
    assert "resync --from db_async.json" in status.primary.problem
    assert status.lag.commits == 0
    assert status.at_risk.sentence == "nothing"
    assert replication.verify().outcome is Outcome.INCONCLUSIVE
    with pytest.raises(Conflict, match="ahead"):
        replication.sync_now()
    again.close()


def test_more_on_its_way_than_can_be_laid_over_is_inconclusive(
    pair: Pair, replication: EmbeddedReplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "IN_FLIGHT_MAX", 2)
    for _ in range(3):
        put_next(pair.primary)

    verdict = replication.verify()

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "3 commits are on their way" in verdict.sentence


def test_nothing_is_shipped_while_a_verification_reads_what_is_on_its_way(
    pair: Pair, replication: EmbeddedReplication, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shipping would let the journal be cut under it."""
    put_next(pair.primary)
    clock.advance(DELAY + 1)
    step = threading.Thread(target=replication.sync_once, args=(clock.monotonic(),))
    read = verify_module.commits_between

    def read_while_a_step_tries(primary: Store, after: int, last: int) -> Iterator[Commit]:
        step.start()
        step.join(0.2)
        assert step.is_alive(), "it waits"
        yield from read(primary, after, last)

    monkeypatch.setattr(verify_module, "commits_between", read_while_a_step_tries)

    assert replication.verify().outcome is Outcome.IN_SYNC

    step.join()
    assert sold(pair.replica) == 1


def test_a_journal_that_is_cut_while_a_verification_reads_it_proves_nothing(
    pair: Pair, replication: EmbeddedReplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_next(pair.primary)
    put_next(pair.primary)
    read = pair.primary.commits
    monkeypatch.setattr(pair.primary, "commits", lambda after, limit: read(max(after, 1), limit))

    verdict = replication.verify()

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "verify again" in verdict.sentence


def test_a_resync_that_cannot_be_written_says_so_and_leaves_the_old_replica(
    pair: Pair, replication: EmbeddedReplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_next(pair.primary)

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pair.replica, "install", refuse)

    with pytest.raises(Conflict, match="No space left on device"):
        replication.resync()

    assert sold(pair.replica) == 0
    assert replication.status().lag.commits == 1


def test_every_knob_wakes_the_schedule(replication: EmbeddedReplication) -> None:
    calls = []
    replication.on_change(lambda: calls.append(1))
    knobs: list[Callable[[], object]] = [
        lambda: replication.set_delay(1),
        replication.pause,
        replication.resume,
        replication.sync_now,
        replication.resync,
    ]

    for number, turn in enumerate(knobs, start=1):
        turn()
        assert len(calls) == number


def test_each_commit_of_the_primary_is_announced(pair: Pair, replication: EmbeddedReplication) -> None:
    seen: list[int] = []
    replication.on_commit(seen.append)

    put_next(pair.primary)
    put_next(pair.primary)

    assert seen == [1, 2]


def test_looking_and_verifying_while_others_sell_and_ship_never_finds_a_contradiction(tmp_path: Path) -> None:
    clock = SystemClock()
    pair = open_pair(tmp_path, clock)
    replication = EmbeddedReplication(pair, clock=clock, delay_seconds=0.002, currency="EUR")
    is_over = threading.Event()
    threads = [
        threading.Thread(target=repeat, args=(is_over, lambda counter=counter: put_next(pair.primary, counter)))
        for counter in ("one", "two")
    ]
    threads.append(threading.Thread(target=repeat, args=(is_over, lambda: replication.sync_once(clock.monotonic()))))
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            verdict = replication.verify()
            assert verdict.outcome is Outcome.IN_SYNC, verdict.sentence
            status = replication.status()
            assert 0 <= status.replica.position.lsn <= status.primary.position.lsn
            assert status.lag.commits == status.primary.position.lsn - status.replica.position.lsn
            assert len(status.in_flight) <= min(50, status.lag.commits)
            assert all(found.is_explained for found in replication.differences())
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    replication.sync_now()
    assert pair.replica.position == pair.primary.position
    pair.close()


def repeat(is_over: threading.Event, act: Callable[[], object]) -> None:
    while not is_over.is_set():
        act()
