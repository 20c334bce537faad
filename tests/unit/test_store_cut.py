"""The journal is cut while commits go on: what comes in the middle of it is in the new file, whenever the power goes."""

import contextlib
import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.store import Store
from tests.simdisk import Op, SimDisk
from tests.storekit import JOURNAL, PATH, contents, create, put, reopen
from tests.torture.ledger import History, swept

BESIDE = JOURNAL.with_name("db.journal.tmp")


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 300)
    monkeypatch.setattr("shop.store.log.COPY_BYTES", 250)
    monkeypatch.setattr("shop.store.log.COPY_PAUSE_SECONDS", 0)


def during_the_copy(disk: SimDisk, store: Store, act: Callable[[], None]) -> None:
    """Do *act* before each fsync of a slice of the new journal; not before that of the last piece, for which no commit is let in."""
    is_acting = False

    def meanwhile(op: Op, number: int) -> None:
        nonlocal is_acting
        beside = disk.names.get(BESIDE)
        if is_acting or op.kind != "sync" or beside is None or op.inode != beside.id or store._append_lock.locked():
            return
        is_acting = True
        act()
        is_acting = False

    disk.fault = meanwhile


def a_store_with_a_tail(disk: SimDisk) -> tuple[Store, History]:
    """20 commits in the journal, of which the checkpoint holds 20 and the replica 13: seven stay."""
    history = History(disk)
    store = history.begin()
    store.keep_after(0)
    for _ in range(20):
        history.commit(store)
    store.checkpoint()
    store.keep_after(13)
    return store, history


def test_commits_in_the_middle_of_a_cut_are_in_the_new_journal() -> None:
    disk = SimDisk()
    store, history = a_store_with_a_tail(disk)
    during_the_copy(disk, store, lambda: history.commit(store))
    put_before = store.position.lsn
    history.commit(store)

    store.checkpoint()

    assert store.oldest_lsn == 14
    assert store.position.lsn > put_before + 3, "some came while it was copied"
    assert [commit.lsn for commit in store.commits(0)] == list(range(14, store.position.lsn + 1))
    assert BESIDE not in disk.names
    history.commit(store)
    again = reopen(PATH, SimDisk(disk.files()), keep_after=13)
    assert contents(again) == contents(store)
    assert again.lines(13) == disk.files()[JOURNAL].rstrip(b"\0") == store.lines(13)


def test_a_power_cut_in_the_middle_of_such_a_cut_loses_nothing_that_was_acknowledged() -> None:
    disk = SimDisk()
    store, history = a_store_with_a_tail(disk)
    during_the_copy(disk, store, lambda: history.commit(store))
    history.commit(store)

    store.checkpoint()
    history.commit(store)

    tally = swept("cut", history)
    assert tally.violations == []
    assert tally.points > 100
    assert tally.states > 400


def a_cut_that_fails_at(which: int) -> bool:
    """Whether there was such an operation in a checkpoint with its cut; and nothing was lost by it."""
    disk = SimDisk()
    store, history = a_store_with_a_tail(disk)
    history.commit(store)
    fail_at = len(disk.trace) + which

    def fail(op: Op, number: int) -> None:
        if number == fail_at:
            disk.fault = lambda op, number: None
            raise OSError(errno.EIO, "made to fail")

    disk.fault = fail
    with contextlib.suppress(OSError):
        store.checkpoint()
    was_reached = disk.fault is not fail
    disk.fault = lambda op, number: None
    if not store.needs_restart:
        history.commit(store)
    again = reopen(PATH, SimDisk(disk.files()), keep_after=13)
    assert contents(again) == history.states[history.acknowledged]
    assert again.oldest_lsn <= 14
    return was_reached


def test_a_failure_at_any_operation_of_a_checkpoint_and_its_cut_loses_nothing() -> None:
    operations = 0
    while a_cut_that_fails_at(operations):
        operations += 1
    assert operations > 15


def test_a_close_that_fails_does_not_keep_the_new_name_from_being_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimDisk()
    store, history = a_store_with_a_tail(disk)
    history.commit(store)

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, "made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "close", failing)
        with contextlib.suppress(OSError):
            store._log.cut(13, store._append_lock, is_paced=False)
    history.commit(store)

    assert swept("cut", history).violations == []


def test_a_journal_that_was_cut_has_room_for_the_next_commits() -> None:
    disk = SimDisk()
    store, history = a_store_with_a_tail(disk)
    history.commit(store)

    store.checkpoint()

    length = disk.size(JOURNAL)
    assert length >= store.journal_bytes + 4096
    for _ in range(5):
        history.commit(store)
    assert disk.size(JOURNAL) == length


def test_lines_are_read_whole_and_in_order_while_others_commit_and_the_journal_is_cut(tmp_path: Path) -> None:
    store = create(tmp_path / "db.json")
    store.keep_after(0)
    replica = create(tmp_path / "db_async.json")
    commits = 150

    def write() -> None:
        for number in range(commits):
            put(store, f"t{number % 7}", number, name=f"n{number % 7}")
            if number % 10 == 9:
                store.checkpoint()

    writer = threading.Thread(target=write)
    writer.start()
    cuts = 0
    while replica.position.lsn < commits:
        head, oldest = replica.position.lsn, store.oldest_lsn
        replica.apply(store.lines(head, max_bytes=2000))  # raises if one is missing, torn or doubled
        assert [commit.lsn for commit in store.commits(head, 3)][:1] in ([head + 1], [])
        assert store.position_at(replica.position.lsn) == replica.position
        store.keep_after(replica.position.lsn)
        cuts += store.oldest_lsn > oldest
    writer.join()

    assert contents(replica) == contents(store)
    assert cuts > 1


def test_memory_that_runs_out_before_the_rename_leaves_the_old_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = create(tmp_path / "db.json")
    for number in range(20):
        put(store, "a", number)

    def no_memory(*arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("shop.store.journal.JournalIndex.without_first", no_memory)
        with pytest.raises(MemoryError):
            store.checkpoint()
    put(store, "after it")

    assert set(contents(reopen(tmp_path / "db.json"))["things"]) == {"a", "after it"}
