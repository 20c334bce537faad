"""The embedded store: what an update, a snapshot, a checkpoint and a restart promise."""

import errno
import json
import threading
from pathlib import Path

import pytest

from shop.store import (
    DuplicateKey,
    OutcomeUnknown,
    StoreDamaged,
    StoreFull,
    StoreMismatch,
    StoreReadOnly,
    create_store,
    forked,
    is_absent,
    read_snapshot,
)
from shop.store.checkpoint import SyncFailed
from shop.store.files import Files
from tests.storekit import INDEXES, SCHEMA, Thing, commit_together, contents, create, put, reopen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.json"


def test_a_commit_is_there_after_a_restart_without_a_close(path):
    store = create(path)
    put(store, "a", 1)
    put(store, "b", 2)

    again = reopen(path)

    assert contents(again) == contents(store)
    assert again.position == store.position
    assert again.announcements == []


def test_raising_inside_an_update_discards_everything(path):
    store = create(path)
    put(store, "a", 1)

    def fail_half_way() -> None:
        with store.update() as unit:
            unit.put("things", "a", Thing("changed", 2))
            unit.delete("things", "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()

    assert store.state.get("things", "a") == Thing("name of a", 1)
    assert store.position.lsn == 1
    put(store, "b")  # and the next writer is not locked out


def test_an_update_sees_its_own_changes_and_others_do_not(path):
    store = create(path)
    put(store, "a", 1)

    with store.update() as unit:
        unit.put("things", "b", Thing("b", 2))
        unit.delete("things", "a")

        assert unit.get("things", "b") == Thing("b", 2)
        assert unit.get("things", "a") is None
        assert dict(unit.items("things")) == {"b": Thing("b", 2)}
        assert unit.count("things") == 1
        assert unit.find("thing_name", "b") == "b"
        assert unit.find("thing_name", "name of a") is None
        assert store.state.get("things", "b") is None
        assert store.state.get("things", "a") is not None

    assert store.state.count("things") == 1


def test_a_snapshot_never_changes(path):
    store = create(path)
    put(store, "a", 1)
    snapshot = store.state

    put(store, "a", 2)
    put(store, "b", 3)

    assert dict(snapshot.items("things")) == {"a": Thing("name of a", 1)}
    assert store.state.get("things", "a").number == 2


def test_an_update_that_changes_nothing_makes_no_commit(path):
    store = create(path)

    with store.update() as unit:
        unit.delete("things", "never there")

    assert unit.committed is None
    assert store.position.lsn == 0


def test_an_untouched_collection_stays_the_same_object(path):
    store = create(path)
    notes = store.state.map("notes")

    put(store, "a")

    assert store.state.map("notes") is notes


def test_a_unique_index_refuses_a_second_record_and_leaves_the_unit_usable(path):
    store = create(path)
    put(store, "a", name="taken")

    with store.update() as unit:
        with pytest.raises(DuplicateKey):
            unit.put("things", "b", Thing("taken"))
        unit.put("things", "a", Thing("given up"))
        unit.put("things", "b", Thing("taken"))

    assert store.state.find("thing_name", "taken") == "b"
    assert reopen(path).state.find("thing_name", "given up") == "a"


def test_update_inside_update_is_an_error_and_not_a_deadlock(path):
    store = create(path)

    with store.update() as unit:
        with pytest.raises(RuntimeError), store.update():
            pass
        unit.put("things", "a", Thing("a"))

    assert store.position.lsn == 1


def test_the_file_shows_a_commit_once_somebody_waited_for_it(path):
    store = create(path)
    put(store, "a", 7)

    store.wait_shown(store.position.lsn)

    shown = json.loads(path.read_bytes())
    assert shown["lsn"] == 1
    assert shown["things"] == {"a": {"name": "name of a", "number": 7}}
    assert shown["store_id"] == "a-store"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_background_thread_shows_a_commit_that_nobody_waits_for(path):
    store = create(path)
    store.start()
    put(store, "a")

    wait_until(lambda: json.loads(path.read_bytes())["lsn"] == 1)

    store.close()


def test_every_state_of_the_file_is_read_back_equal(path):
    store = create(path)
    for number in range(30):
        put(store, f"t{number % 7}", number, name=f"n{number % 7}")
        if number % 5 == 4:
            with store.update() as unit:
                unit.delete("things", f"t{number % 7}")
        store.checkpoint()

        assert contents(reopen_copy(path)) == contents(store)


def reopen_copy(path: Path):
    copy = path.parent / "copy.json"
    copy.write_bytes(path.read_bytes())
    copy.with_suffix(".journal").write_bytes(b"")
    return reopen(copy)


def test_an_orderly_close_needs_no_journal_and_rewrites_nothing(path):
    store = create(path)
    put(store, "a")
    store.close()
    before = path.stat().st_ino

    again = reopen(path)

    assert path.stat().st_ino == before
    assert contents(again) == contents(store)


def test_a_closed_store_refuses_to_write(path):
    store = create(path)
    store.close()

    with pytest.raises(StoreReadOnly), store.update():
        pass


def test_commits_of_many_threads_are_all_there_and_share_the_fsync(path):
    store = create(path)

    def work(name: int) -> None:
        for number in range(50):
            put(store, f"{name}-{number}", number)

    run_threads([lambda name=name: work(name) for name in range(8)])

    assert store.position.lsn == 400
    assert store.state.count("things") == 400
    assert store.syncs < 400
    assert contents(reopen(path)) == contents(store)


def test_readers_never_see_half_a_commit(path):
    store = create(path)
    commit_pair(store, 0)
    stop = threading.Event()
    mixed: list[tuple[int, int]] = []

    def read() -> None:
        while not stop.is_set():
            state = store.state
            pair = (state.get("things", "left").number, state.get("things", "right").number)
            if pair[0] != pair[1]:
                mixed.append(pair)
            stop.wait(0.0001)  # leave the interpreter to the writer now and then

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(300):
        commit_pair(store, number)
    stop.set()
    for reader in readers:
        reader.join()

    assert mixed == []


def commit_pair(store, number: int) -> None:
    with store.update() as unit:
        unit.put("things", "left", Thing("left", number))
        unit.put("things", "right", Thing("right", number))


# ---- faults


class FailingFiles(Files):
    """The real files, until told otherwise."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}  # operation -> errno

    def _check(self, operation: str) -> None:
        fail = self.fail  # once: another thread may end the failing meanwhile
        if operation in fail:
            raise OSError(fail[operation], "made to fail")

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        if "half" in self.fail:
            super().write(fd, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "made to fail half way")
        self._check("write")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._check("sync")
        super().sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        self._check("truncate")
        super().truncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        self._check("replace")
        super().replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._check("sync_folder")
        super().sync_folder(folder)


@pytest.mark.parametrize("how", ["write", "half"])
def test_a_full_disk_refuses_the_commit_and_writes_resume_when_there_is_space(path, how):
    files = FailingFiles()
    store = create(path, files)
    put(store, "a", 1)

    files.fail = {how: errno.ENOSPC}
    with pytest.raises(StoreFull):
        put(store, "b", 2)
    assert not store.is_writable
    assert store.state.get("things", "b") is None
    assert store.state.get("things", "a") is not None

    files.fail = {}
    put(store, "c", 3)
    assert store.is_writable
    assert set(contents(reopen(path))["things"]) == {"a", "c"}


def test_the_store_notices_by_itself_that_there_is_space_again(path):
    files = FailingFiles()
    store = create(path, files)
    store.start()
    files.fail = {"write": errno.ENOSPC}
    with pytest.raises(StoreFull):
        put(store, "b", 2)

    files.fail = {}

    wait_until(lambda: store.is_writable)
    store.close()


def test_after_a_failed_fsync_the_store_is_read_only_until_a_restart(path):
    files = FailingFiles()
    store = create(path, files)
    put(store, "a", 1)

    files.fail = {"sync": errno.EIO}
    with pytest.raises(OutcomeUnknown):
        put(store, "b", 2)
    files.fail = {}

    with pytest.raises(StoreReadOnly):
        put(store, "c", 3)
    assert store.needs_restart
    assert "restarted" in store.problem
    assert set(contents(store)["things"]) == {"a"}
    before = path.stat().st_ino
    again = reopen(path)
    assert set(contents(again)["things"]) in ({"a"}, {"a", "b"})
    assert path.stat().st_ino != before, "after a failed fsync the files must be written anew"
    put(again, "c", 3)


def test_a_tail_that_cannot_be_cut_back_makes_the_store_read_only(path):
    files = FailingFiles()
    store = create(path, files)
    files.fail = {"half": errno.ENOSPC, "truncate": errno.EIO}

    with pytest.raises(OutcomeUnknown):
        put(store, "a")

    assert store.needs_restart
    assert contents(reopen(path))["things"] == {}


def test_commits_built_on_a_failed_group_fall_with_it(path):
    files = FailingFiles()
    store = create(path, files)
    files.fail = {"write": errno.ENOSPC}

    with pytest.raises(StoreFull):
        commit_together(
            store,
            lambda unit: unit.put("things", "a", Thing("a")),
            lambda unit: unit.put("things", "b", Thing("b")),
        )
    files.fail = {}
    put(store, "c")

    assert set(contents(reopen(path))["things"]) == {"c"}
    assert store.position.lsn == 1


@pytest.mark.parametrize("operation", ["replace", "write"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_commit_durable(path, operation):
    files = FailingFiles()
    store = create(path, files)
    put(store, "a")

    files.fail = {operation: errno.ENOSPC}
    store.wait_shown(1)
    files.fail = {}

    assert json.loads(path.read_bytes())["lsn"] == 0
    assert not store.needs_restart
    store.wait_shown(1)
    assert json.loads(path.read_bytes())["lsn"] == 1
    assert contents(reopen(path)) == contents(store)


def test_a_folder_that_is_not_confirmed_makes_the_store_read_only(path):
    files = FailingFiles()
    store = create(path, files)
    put(store, "a")

    files.fail = {"sync_folder": errno.EIO}
    with pytest.raises(SyncFailed):
        store.checkpoint()
    files.fail = {}

    with pytest.raises(StoreReadOnly):
        put(store, "b")
    assert contents(reopen(path)) == contents(store)


# ---- what does not fit


def test_a_commit_that_was_kept_and_is_damaged_refuses_to_open(path):
    store = create(path)
    for number in range(5):
        put(store, f"t{number}", number)
    journal = path.with_suffix(".journal")
    lines = journal.read_bytes().rstrip(b"\0").splitlines(keepends=True)
    offset = len(lines[0]) + len(lines[1])
    lines[2] = lines[2].replace(b'"number":2', b'"number":9')
    journal.write_bytes(b"".join(lines))

    with pytest.raises(StoreDamaged) as refusal:
        reopen(path)

    assert refusal.value.path == journal
    assert refusal.value.offset == offset
    assert str(offset) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_torn_last_line_is_cut_and_announced_and_the_next_append_is_clean(path):
    store = create(path)
    put(store, "a")
    put(store, "b")
    journal = path.with_suffix(".journal")
    journal.write_bytes(journal.read_bytes().rstrip(b"\0")[:-10])

    again = reopen(path)

    assert set(contents(again)["things"]) == {"a"}
    assert len(again.announcements) == 1
    assert "never acknowledged" in again.announcements[0]
    put(again, "c")
    assert set(contents(reopen(path))["things"]) == {"a", "c"}


def test_a_damaged_last_line_that_nobody_contradicts_is_cut_and_told(path):
    """The one limit: it looks like a line that a power cut tore. Anything behind it would have vouched for it."""
    store = create(path)
    put(store, "a")
    put(store, "b")
    journal = path.with_suffix(".journal")
    journal.write_bytes(journal.read_bytes().replace(b"name of b", b"name of c"))

    again = reopen(path)

    assert set(contents(again)["things"]) == {"a"}
    assert len(again.announcements) == 1
    assert "were never acknowledged" in again.announcements[0]


def test_damage_below_the_checkpoint_is_announced_and_does_not_keep_the_shop_closed(path):
    store = create(path)
    store.keep_after(0)
    for number in range(8):
        put(store, f"t{number % 4}", number, name=f"n{number % 4}")
        if number == 2:
            store.checkpoint()
    journal = path.with_suffix(".journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1] = b"x" * (len(lines[1]) - 1) + b"\n"
    journal.write_bytes(b"".join(lines))

    again = reopen(path, keep_after=0)

    assert contents(again) == contents(store)
    assert "passed over" in again.announcements[0]
    assert again.oldest_lsn == 3, "what lies behind the gap cannot be shipped any more"


def test_a_journal_of_another_store_is_refused_or_cut_but_never_applied(path, tmp_path):
    store = create(path)
    put(store, "a")
    other = create_store(tmp_path / "other.json", SCHEMA, indexes=INDEXES, store_id="another")
    for number in range(4):
        put(other, f"x{number}")
    path.with_suffix(".journal").write_bytes((tmp_path / "other.journal").read_bytes())

    with pytest.raises(StoreDamaged):
        reopen(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xef\xbb\xbf{}", b'{"crc":"00000000"}', b"[" * 5000, b'{"format":1e999,"crc":"', b"null"],
)
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(path, data):
    create(path).close()
    path.write_bytes(data)

    with pytest.raises(StoreDamaged) as refusal:
        reopen(path)

    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_journal_or_checkpoint_is_never_taken_for_a_first_start(path):
    store = create(path)
    put(store, "a")
    journal = path.with_suffix(".journal")
    saved = journal.read_bytes()

    journal.unlink()
    with pytest.raises(StoreDamaged):
        reopen(path)

    journal.write_bytes(saved)
    path.unlink()
    with pytest.raises(StoreDamaged):
        is_absent(path)


# ---- the journal as a queue


def test_a_replica_fed_with_lines_is_the_same_state_at_the_same_position(path, tmp_path):
    primary = create(path)
    replica = replica_of(primary, tmp_path)
    primary.keep_after(0)
    for number in range(20):
        put(primary, f"t{number}", number)

    assert replica.apply(primary.lines(0, max_bytes=500)) >= 1
    while lines := primary.lines(replica.position.lsn, max_bytes=700):
        replica.apply(lines)

    assert replica.position == primary.position
    assert contents(replica) == contents(primary)
    assert contents(reopen(tmp_path / "db_async.json")) == contents(primary)


def replica_of(primary, folder: Path):
    return create_store(
        folder / "db_async.json", SCHEMA, indexes=INDEXES, store_id=primary.store_id, snapshot=primary.state
    )


def test_a_replica_refuses_a_gap_a_repetition_and_a_changed_byte_and_keeps_nothing_of_them(path, tmp_path):
    primary = create(path)
    replica = replica_of(primary, tmp_path)
    for number in range(4):
        put(primary, f"t{number}", number)
    lines = primary.lines(0)

    for wrong in (primary.lines(1), lines + lines, lines.replace(b'"number":2', b'"number":3')):
        with pytest.raises(StoreMismatch):
            replica.apply(wrong)

        assert replica.position.lsn == 0

    assert replica.apply(lines) == 4


def test_a_checkpoint_cuts_no_line_that_the_replica_lacks(path, monkeypatch):
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 100)
    store = create(path)
    store.keep_after(3)
    for number in range(10):
        put(store, f"t{number}", number)

    store.checkpoint()
    assert store.oldest_lsn == 1, "less than half could go, so nothing went"

    store.keep_after(8)
    put(store, "more")
    store.checkpoint()
    assert store.oldest_lsn == 9
    assert [commit.lsn for commit in store.commits(0)] == [9, 10, 11]
    assert [commit.lsn for commit in reopen(path, keep_after=8).commits(0)] == [9, 10, 11]


def test_past_its_limit_the_journal_is_cut_though_the_replica_lacks_it(path, monkeypatch):
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 100)
    monkeypatch.setattr("shop.store.store.JOURNAL_LIMIT_BYTES", 500)
    store = create(path)
    store.keep_after(0)
    for number in range(10):
        put(store, f"t{number}", number)

    store.checkpoint()

    assert store.oldest_lsn == 11
    with pytest.raises(StoreMismatch):
        store.lines(0)


def test_position_at_tells_the_history_the_journal_still_holds(path):
    store = create(path)
    positions = [store.position]
    for number in range(5):
        put(store, f"t{number}")
        positions.append(store.position)

    assert [store.position_at(lsn) for lsn in range(6)] == positions
    assert store.position_at(6) is None


def test_a_new_timeline_leaves_a_fork_that_survives_and_reaches_the_replica(path, tmp_path):
    store = create(path)
    replica = replica_of(store, tmp_path)
    put(store, "a")
    fork = store.position

    store.advance_timeline(2)
    put(store, "b")
    replica.apply(store.lines(0))

    for side in (store, replica, reopen(path), reopen(tmp_path / "db_async.json")):
        assert side.position == store.position
        assert side.state.forks == (fork,)
        assert side.timeline_of(1) == 1
        assert side.timeline_of(2) == 2


def test_a_snapshot_installed_over_a_diverged_replica_makes_it_equal(path, tmp_path):
    primary = create(path)
    for number in range(3):
        put(primary, f"t{number}", number)
    replica = create_store(tmp_path / "db_async.json", SCHEMA, indexes=INDEXES, store_id="foreign")
    put(replica, "stray")

    replica.install(primary.state, primary.store_id, "db.json")
    put(primary, "later")
    replica.apply(primary.lines(3))

    again = reopen(tmp_path / "db_async.json")
    for side in (replica, again):
        assert side.position == primary.position
        assert contents(side) == contents(primary)
        assert side.store_id == primary.store_id
        assert side.peer == "db.json"


def test_a_backup_is_a_whole_store_of_one_moment(path, tmp_path):
    store = create(path)
    put(store, "a", 1)
    copied = store.write_copy(tmp_path / "backup.json")
    put(store, "b", 2)

    store_id, state = read_snapshot(tmp_path / "backup.json", SCHEMA, indexes=INDEXES)

    assert (store_id, state.position) == ("a-store", copied)
    assert dict(state.items("things")) == {"a": Thing("name of a", 1)}
    next_state = forked(state, timeline=3, at=store._clock.now())
    assert next_state.position.timeline == 3
    assert next_state.position.lsn == 2
    assert next_state.forks == (copied,)


def test_a_big_file_follows_in_the_background_and_reads_back_equal(path, monkeypatch):
    monkeypatch.setattr("shop.store.shown.SMALL_FILE_BYTES", 2_000)
    monkeypatch.setattr("shop.store.checkpoint.SLICE_BYTES", 1_000)
    store = create(path)
    for number in range(100):
        put(store, f"t{number}", number)
        store.wait_shown(store.position.lsn)
    assert store.shown_lsn < 100, "above the limit nobody waits for the file"

    store.checkpoint()

    assert json.loads(path.read_bytes())["lsn"] == 100
    assert contents(reopen(path)) == contents(store)


def wait_until(condition, seconds: float = 5.0) -> None:
    ready = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        ready.wait(0.01)
    raise AssertionError("it did not come about in time")


def run_threads(works) -> None:
    errors: list[BaseException] = []

    def guarded(work) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_no_writer_is_forgotten_while_the_disk_fails_now_and_then_and_the_store_is_closed(path):
    """Group commit elects a leader among the writers; a lost wake-up would leave one of them waiting for ever."""
    files = FailingFiles()
    store = create(path, files)
    kept: set[str] = set()

    def write(name: int) -> None:
        for number in range(150):
            id = f"{name}-{number}"
            if number % 50 == 25:
                files.fail = {} if files.fail else {"half": errno.ENOSPC}
            try:
                put(store, id, number)
            except StoreFull:
                continue
            except StoreReadOnly:
                return
            kept.add(id)

    writers = [threading.Thread(target=write, args=(name,), daemon=True) for name in range(8)]
    for writer in writers:
        writer.start()
    wait_until(lambda: len(kept) > 300)
    files.fail = {}
    store.close()
    for writer in writers:
        writer.join(timeout=20)

    assert not [writer for writer in writers if writer.is_alive()], "a writer waits for ever"
    assert set(contents(reopen(path))["things"]) == kept
