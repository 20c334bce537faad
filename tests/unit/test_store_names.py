"""A journal that was cut has a new file under its name. Until the folder is confirmed a power cut may bring the old one back, without
what was committed into the new one: nothing is acknowledged in between."""

import errno
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shop.store import OutcomeUnknown, Store, StoreReadOnly
from shop.store.files import Files
from tests.simdisk import Disk, Op, SimDisk, crash_states, platters
from tests.storekit import JOURNAL, PATH, Thing, contents, create, put, reopen

WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def cut_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 300)


def a_store_to_be_cut(disk: SimDisk) -> Store:
    store = create(PATH, disk)
    for number in range(12):
        put(store, "a", number)
    return store


def after_a_power_cut(disk: SimDisk) -> list[Disk]:
    *_, (k, platter) = platters(disk)
    return list(crash_states(platter, seed=k))


def fail_when_a_cut_journal_is_to_be_confirmed(
    disk: SimDisk, error: BaseException, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """The fsync of the folder after the journal's rename raises *error*, once, *meanwhile* having been done."""

    def fail(op: Op, number: int) -> None:
        if op.kind == "sync_folder" and disk.trace[-1].target == JOURNAL:
            disk.fault = lambda op, number: None
            meanwhile()
            raise error

    disk.fault = fail


def test_a_commit_that_waited_for_a_cut_whose_name_was_not_confirmed_is_not_acknowledged() -> None:
    disk = SimDisk()
    store = a_store_to_be_cut(disk)
    told: list[str] = []

    def commit() -> None:
        try:
            put(store, "b")
        except (OutcomeUnknown, StoreReadOnly):
            told.append("not kept for sure")
        else:
            told.append("kept")

    writer = threading.Thread(target=commit)

    def let_it_wait() -> None:
        writer.start()
        end = time.monotonic() + WAIT_SECONDS
        while not store._queue and time.monotonic() < end:
            time.sleep(0.001)

    fail_when_a_cut_journal_is_to_be_confirmed(disk, OSError(errno.EIO, "made to fail"), let_it_wait)
    with pytest.raises(OSError, match="made to fail"):
        store.checkpoint()
    writer.join(WAIT_SECONDS)

    assert told == ["not kept for sure"]
    assert store.needs_restart
    for state in after_a_power_cut(disk):
        assert contents(reopen(PATH, SimDisk(state)))["things"]["a"] == Thing("name of a", 11)


def test_a_cut_that_was_interrupted_before_its_name_was_confirmed_stops_the_writing() -> None:
    disk = SimDisk()
    store = a_store_to_be_cut(disk)
    fail_when_a_cut_journal_is_to_be_confirmed(disk, MemoryError())
    with pytest.raises(MemoryError):
        store.checkpoint()

    with pytest.raises((OutcomeUnknown, StoreReadOnly)):
        put(store, "b")

    assert store.needs_restart
    assert set(contents(reopen(PATH, SimDisk(disk.files())))["things"]) <= {"a", "b"}


@pytest.mark.parametrize("error", [OSError(errno.EIO, "made to fail"), SystemExit()], ids=["refused", "killed"])
def test_a_start_after_a_last_cut_whose_name_was_not_confirmed_confirms_it_before_it_serves(
    error: BaseException,
) -> None:
    disk = SimDisk()
    store = a_store_to_be_cut(disk)
    was_cut: list[bool] = []
    fail_when_a_cut_journal_is_to_be_confirmed(disk, error, lambda: was_cut.append(True))
    with suppress(SystemExit):
        store.close()
    assert was_cut

    put(reopen(PATH, disk), "b")

    for state in after_a_power_cut(disk):
        assert set(contents(reopen(PATH, SimDisk(state)))["things"]) == {"a", "b"}


def test_what_a_failed_write_left_behind_the_lines_cannot_come_back_after_a_start_in_order() -> None:
    """The write failed, taking it back was not confirmed, and nothing of it is to be seen: the file may still hold it."""
    disk = SimDisk()
    create(PATH, disk).close()
    store = reopen(PATH, disk)
    old = disk.names[JOURNAL]
    real_write = disk.write

    def half(fd: int, data: bytes, offset: int) -> None:
        real_write(fd, data, offset)
        raise OSError(errno.EIO, "made to fail")

    disk.write = half  # type: ignore[method-assign]

    def fail(op: Op, number: int) -> None:
        if op.kind == "sync":
            raise OSError(errno.EIO, "made to fail")

    disk.fault = fail
    with pytest.raises(OutcomeUnknown):
        put(store, "a")
    disk.write = real_write  # type: ignore[method-assign]
    disk.fault = lambda op, number: None

    reopen(PATH, disk)

    assert disk.names[JOURNAL] is not old


class NoSpaceBeside(Files):
    """The disk is full: what is written to a new file fails."""

    def create(self, path: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_start_in_order_needs_no_space(tmp_path: Path) -> None:
    path = tmp_path / "db.json"
    store = create(path)
    store.keep_after(0)
    put(store, "a")
    store.close()

    again = reopen(path, NoSpaceBeside())

    put(again, "b")
    assert set(contents(reopen(path))["things"]) == {"a", "b"}
    put(reopen(path), "c")  # and is not closed
    with pytest.raises(OSError, match="No space"):
        reopen(path, NoSpaceBeside())
