"""The room behind the journal's lines: zeros that the next lines overwrite. Nothing acknowledged may hang on them."""

import errno
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shop.store import OutcomeUnknown, Store, StoreFull, is_absent
from shop.store.files import Files
from tests.simdisk import SECTOR, Disk, Op, SimDisk, platters
from tests.storekit import JOURNAL, PATH, Thing, commit_together, contents, create, put, reopen
from tests.torture.ledger import Sweep, of_commits

ROOM = 700  # a commit of these tests has some 300 bytes: every second or third makes room, and sectors lie across lines


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 3000)
    monkeypatch.setattr("shop.store.log.ROOM_MIN_BYTES", ROOM)
    monkeypatch.setattr("shop.store.log.ROOM_MAX_BYTES", ROOM)


def lines_of(disk: SimDisk) -> bytes:
    """What the journal holds before its room."""
    return disk.files()[JOURNAL].rstrip(b"\0")


def any_sectors(data: bytes, pending: list[Op], chance: random.Random) -> bytes:
    """*data* after writes of which each sector reached the disk or did not, in no order; what lies between is zeros."""
    found = bytearray(data)
    for op in pending:
        if op.kind == "truncate":
            continue
        start = op.offset
        while start < op.offset + len(op.data):
            end = min(start - start % SECTOR + SECTOR, op.offset + len(op.data))
            if chance.random() < 0.5:
                found.extend(bytes(max(0, end - len(found))))
                found[start:end] = op.data[start - op.offset : end - op.offset]
            start = end
    return bytes(found)


def torn_journals(disk: SimDisk) -> Iterator[tuple[Disk, int]]:
    """Disks with every name in place and any sectors of what the journal had not confirmed; and what had been acknowledged."""
    chance = random.Random(7)
    for k, platter in platters(disk):
        acknowledged = disk.trace[k].note if k < len(disk.trace) else -1
        inode = platter.names.get(JOURNAL)
        if inode is None or PATH not in platter.names or not platter.pending.get(inode) or platter.directory:
            continue
        others = {path: bytes(platter.data[other]) for path, other in platter.names.items()}
        assert isinstance(acknowledged, int)
        for _ in range(12):
            yield {**others, JOURNAL: any_sectors(platter.data[inode], platter.pending[inode], chance)}, acknowledged


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.usefixtures("little_room")
def test_any_sectors_of_lines_and_room_leave_a_prefix_with_all_that_was_acknowledged(together: int) -> None:
    history = of_commits(40, 16, together)
    grown = [op for op in history.disk.trace if op.kind == "write" and op.data and not op.data.strip(b"\0")]
    assert len(grown) >= 40 // together // 4

    sweep = Sweep("any sectors")
    for state, acknowledged in torn_journals(history.disk):
        if sweep.is_new(state, acknowledged):
            sweep.check(state, acknowledged, history.states, "a torn journal")

    assert sweep.tally.violations == []
    assert sweep.tally.states > 120 // together


def test_a_commit_does_not_make_the_file_longer_but_when_the_room_is_used_up() -> None:
    disk = SimDisk()
    store = create(PATH, disk)
    lengths = set()
    for number in range(200):
        put(store, "a", number)
        lengths.add(disk.size(JOURNAL))

    assert len(lengths) < 8, "it grows by what it holds, so seldom"
    assert len(lines_of(disk)) == store.journal_bytes < disk.size(JOURNAL) <= 2 * store.journal_bytes + 4096


@pytest.mark.usefixtures("little_room")
def test_a_batch_longer_than_the_room_would_be_makes_none() -> None:
    disk = SimDisk()
    store = create(PATH, disk)
    for number in range(3):
        commit_together(store, *(_put(f"t{number}-{more}") for more in range(4)))
        assert disk.size(JOURNAL) == store.journal_bytes
    put(store, "a")

    assert disk.size(JOURNAL) == store.journal_bytes + ROOM
    assert contents(reopen(PATH, SimDisk(disk.files()))) == contents(store)


def _put(id: str) -> Callable[[Any], None]:
    return lambda unit: unit.put("things", id, Thing(id))


def test_an_orderly_end_leaves_only_lines_and_any_other_is_read_all_the_same() -> None:
    disk = SimDisk()
    store = create(PATH, disk)
    store.keep_after(0)
    put(store, "a")
    crashed = disk.files()
    store.close()

    assert crashed[JOURNAL].endswith(bytes(100))
    assert disk.files()[JOURNAL].endswith(b"}\n")
    again = reopen(PATH, SimDisk(crashed))
    assert (contents(again), again.announcements) == (contents(store), [])


def test_room_that_came_back_after_an_orderly_end_is_room_again() -> None:
    """The shortening is not fsynced: a power cut may undo it."""
    disk = SimDisk()
    store = create(PATH, disk)
    store.keep_after(0)
    put(store, "a")
    store.close()
    back = SimDisk({**disk.files(), JOURNAL: disk.files()[JOURNAL] + bytes(5000)})

    again = reopen(PATH, back)
    assert again.announcements == []
    put(again, "b")

    assert len(lines_of(back)) == again.journal_bytes
    assert set(contents(reopen(PATH, SimDisk(back.files())))["things"]) == {"a", "b"}


def test_a_journal_of_zeros_alone_holds_nothing() -> None:
    assert is_absent(PATH, SimDisk({JOURNAL: bytes(4096)}))


class NoSpace(Files):
    """Writes longer than *limit* bytes in all fail, and leave as much as there was space for."""

    def __init__(self) -> None:
        self.limit = 1 << 60

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        space = max(0, self.limit - offset)
        super().write(fd, data[:space], offset)
        if space < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("space", [0, 1, 2000])
def test_a_disk_without_space_for_the_room_still_takes_commits(tmp_path: Path, space: int) -> None:
    files = NoSpace()
    store = create(tmp_path / "db.json", files)
    put(store, "a", 0)
    line = store.journal_bytes
    for number in range(1, 40):
        files.limit = store.journal_bytes + line + 20 + space
        put(store, "a", number)

    assert contents(reopen(tmp_path / "db.json")) == contents(store)


def test_without_memory_for_the_room_there_is_none_and_commits_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimDisk()
    store = create(PATH, disk)
    with monkeypatch.context() as patch:
        patch.setattr("shop.store.log.room_for", lambda length: 1 << 60)
        put(store, "a")
    put(store, "b")

    assert not store.needs_restart
    assert contents(reopen(PATH, SimDisk(disk.files()))) == contents(store)


def takes(store: Store, id: str) -> bool:
    """Whether the commit was kept; there may be no space."""
    try:
        put(store, id)
    except StoreFull:
        return False
    return True


def test_a_full_disk_takes_what_the_room_holds_and_then_no_more(tmp_path: Path) -> None:
    files = NoSpace()
    store = create(tmp_path / "db.json", files)
    put(store, "a")
    files.limit = (tmp_path / "db.journal").stat().st_size

    taken = 0
    while taken < 1000 and takes(store, f"more {taken}"):
        taken += 1

    assert 5 < taken < 1000
    assert len(contents(reopen(tmp_path / "db.json"))["things"]) == 1 + taken


def test_a_line_that_was_torn_in_the_room_is_taken_back(tmp_path: Path) -> None:
    files = NoSpace()
    store = create(tmp_path / "db.json", files)
    put(store, "a")
    files.limit = store.journal_bytes + 50

    with pytest.raises(StoreFull):
        put(store, "not this")
    assert (tmp_path / "db.journal").stat().st_size == store.journal_bytes
    files.limit = 1 << 60
    put(store, "b")

    again = reopen(tmp_path / "db.json")
    assert set(contents(again)["things"]) == {"a", "b"}
    assert again.announcements == []


def test_after_a_failed_fsync_the_journal_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    store = create(tmp_path / "db.json", files)
    put(store, "a")

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, "made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", failing)
        with pytest.raises(OutcomeUnknown):
            put(store, "b")
        before = (tmp_path / "db.journal").read_bytes()
        store.close()

    assert (tmp_path / "db.journal").read_bytes() == before
    assert set(contents(reopen(tmp_path / "db.json"))["things"]) in ({"a"}, {"a", "b"})


@pytest.mark.parametrize("garbage", [b"\1", b"\n", b'{"crc":"', b"\xff" * 600], ids=repr)
def test_damage_in_the_room_takes_no_commit_and_is_told(garbage: bytes) -> None:
    disk = SimDisk()
    store = create(PATH, disk)
    put(store, "a")
    put(store, "b")
    end = store.journal_bytes
    whole = disk.files()[JOURNAL]
    for at in [*range(end, end + 40), len(whole) - len(garbage)]:
        damaged = whole[:at] + garbage + whole[at + len(garbage) :]

        again = reopen(PATH, SimDisk({**disk.files(), JOURNAL: damaged}))

        assert contents(again) == contents(store)
        assert len(again.announcements) == 1
