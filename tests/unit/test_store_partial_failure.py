"""Failures between two steps: what was acknowledged stays, and what is uncertain stops the writing."""

import errno
import itertools
import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from shop.store import OutcomeUnknown, StoreDamaged, StoreReadOnly, create_store, open_store
from shop.store.checkpoint import encode_record_line
from shop.store.files import Files
from shop.store.lines import Lines
from shop.store.log import Log
from shop.store.shown import Shown
from tests.storekit import INDEXES, SCHEMA, Thing, contents, create, put, reopen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.json"


@pytest.fixture(autouse=True)
def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 300)


def test_a_snapshot_is_installed_over_a_journal_that_could_be_cut(path, tmp_path):
    primary = create(tmp_path / "primary.json")
    put(primary, "new")
    replica = create(path)
    for number in range(20):
        put(replica, f"t{number}")

    replica.install(primary.state, primary.store_id, "primary.json")

    assert contents(reopen(path)) == contents(primary)


class NoMoreOpening(Files):
    """Descriptors have run out: nothing that exists can be opened."""

    is_on = False

    def open(self, path: Path) -> int:
        if self.is_on:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().open(path)


def test_commits_after_a_cut_go_to_the_journal_that_has_the_name(path):
    files = NoMoreOpening()
    store = create(path, files)
    for number in range(20):
        put(store, f"t{number}")
    files.is_on = True

    store.checkpoint()
    put(store, "after the cut")
    files.is_on = False

    assert "after the cut" in contents(reopen(path))["things"]


class FolderNotConfirmed(Files):
    calls = 0
    fail_at = 0

    def sync_folder(self, folder: Path) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(errno.EIO, "made to fail")
        super().sync_folder(folder)


@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_folder_that_is_not_confirmed_during_an_install_stops_the_replica(path, tmp_path, which):
    primary = create(tmp_path / "primary.json")
    put(primary, "new")
    files = FolderNotConfirmed()
    replica = create(path, files)
    put(replica, "old")
    files.calls, files.fail_at = 0, which

    with pytest.raises(OSError, match="made to fail"):
        replica.install(primary.state, primary.store_id, "primary.json")

    assert replica.needs_restart
    with pytest.raises(StoreReadOnly):
        replica.apply(primary.lines(0))
    assert contents(reopen(path)) in (contents(primary), {"things": {"old": Thing("name of old")}, "notes": {}})


@pytest.mark.parametrize("step", ["append", "appended"])
def test_an_exception_in_the_middle_of_a_write_makes_the_outcome_unknown_and_loses_nothing(path, monkeypatch, step):
    store = create(path)
    put(store, "a")
    whole = getattr(Log, step)

    def then_fail(self, *arguments):
        whole(self, *arguments)
        raise MemoryError

    monkeypatch.setattr(Log, step, then_fail)
    with pytest.raises((MemoryError, OutcomeUnknown)):
        put(store, "b")
    monkeypatch.undo()

    with pytest.raises(StoreReadOnly):
        put(store, "c")
    assert set(contents(reopen(path))["things"]) in ({"a"}, {"a", "b"})


def test_a_checkpoint_that_failed_half_way_holds_every_change_the_next_time(path, monkeypatch):
    store = create(path)
    put(store, "a", 1)
    real = Shown._write_small
    monkeypatch.setattr(Lines, "apply", lambda self, ops: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        store.checkpoint()
    monkeypatch.undo()
    assert Shown._write_small is real

    store.close()

    assert contents(reopen(path))["things"]["a"].number == 1


def test_lines_that_were_cut_short_are_made_anew(path, monkeypatch):
    """Wherever it happens: a record that comes and goes within what is still to be shown, as in a batch that crosses a promotion."""
    for at in range(1, 5):
        store = create(path.with_name(f"{at}.json"))
        store._shown.committed(1, [("things", "b", Thing("b")), ("things", "b", None), ("things", "a", Thing("a"))])
        put(store, "a")
        calls = itertools.count(1)

        def sometimes(id, record, calls=calls, at=at):
            if next(calls) == at:
                raise MemoryError
            return encode_record_line(id, record)

        monkeypatch.setattr("shop.store.lines.encode_record_line", sometimes)
        with suppress(MemoryError):
            store.checkpoint()
        store.checkpoint()
        monkeypatch.undo()

        assert set(json.loads(store.path.read_bytes())["things"]) == {"a"}


def test_a_folder_that_was_not_confirmed_is_not_asked_again(path):
    class NotConfirmed(Files):
        asked = 0

        def sync_folder(self, folder: Path) -> None:
            self.asked += 1
            raise OSError(errno.EIO, "Input/output error")

    store = create(path)
    put(store, "a")
    store._files = store._shown._files = files = NotConfirmed()
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output error"):
            store.checkpoint()

    assert files.asked == 1


def test_an_install_that_fails_behind_the_new_file_stops_the_writing(path, tmp_path, monkeypatch):
    primary = create(tmp_path / "primary.json")
    for number in range(3):
        put(primary, f"new {number}")
    replica = create(path)
    put(replica, "old")
    monkeypatch.setattr(Shown, "_begin", lambda *arguments: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        replica.install(primary.state, primary.store_id, "primary.json")
    monkeypatch.undo()

    with pytest.raises(StoreReadOnly):
        put(replica, "on the old state")
    assert contents(reopen(path)) == contents(primary)


def test_the_file_is_left_to_the_callers_who_are_at_it_and_looked_at_again(path):
    store = create(path)
    put(store, "a")
    store._showing._is_led = True  # somebody writes
    store._maintain()
    assert store.shown_lsn == 0
    assert store._stirred.is_set()

    store._showing._is_led = False
    store._maintain()
    assert store.shown_lsn == 1


def test_a_commit_of_another_version_refuses_the_start_and_is_not_cut(path):
    store = create(path)
    put(store, "a")
    older = {
        "things": msgspec.defstruct("Older", [("name", str)], forbid_unknown_fields=True),
        "notes": SCHEMA["notes"],
    }

    with pytest.raises(StoreDamaged, match="another version"):
        open_store(path, older)

    assert set(contents(reopen(path))["things"]) == {"a"}


def test_a_collection_that_is_not_known_refuses_the_start_and_is_not_dropped(path):
    store = create(path)
    put(store, "a")
    store.close()

    with pytest.raises(StoreDamaged):
        open_store(path, {"notes": SCHEMA["notes"]})

    assert set(contents(reopen(path))["things"]) == {"a"}


def test_a_journal_of_an_older_history_beside_a_checkpoint_is_no_damage_and_is_written_anew(path, tmp_path):
    old = create(path)
    for number in range(6):
        put(old, f"t{number}")
    journal = path.with_suffix(".journal").read_bytes()
    restored = create_store(tmp_path / "other.json", SCHEMA, indexes=INDEXES, store_id="a-store", timeline=3)
    put(restored, "restored")
    restored.close()
    path.write_bytes((tmp_path / "other.json").read_bytes())
    path.with_suffix(".journal").write_bytes(journal)

    store = reopen(path)
    put(store, "first after it")

    assert set(contents(reopen(path))["things"]) == {"restored", "first after it"}


def test_keys_that_were_exchanged_within_a_commit_reach_the_replica(path, tmp_path):
    primary = create(path)
    replica = create_store(
        tmp_path / "db_async.json", SCHEMA, indexes=INDEXES, store_id=primary.store_id, snapshot=primary.state
    )
    put(primary, "a", name="x")
    put(primary, "b", name="y")
    with primary.update() as unit:
        unit.put("things", "a", Thing("for a moment"))
        unit.put("things", "b", Thing("x"))
        unit.put("things", "a", Thing("y"))

    replica.apply(primary.lines(0))

    assert contents(replica) == contents(primary)
    assert (replica.state.find("thing_name", "x"), replica.state.find("thing_name", "y")) == ("b", "a")


def test_the_stores_own_thread_survives_what_nobody_foresaw(path, monkeypatch):
    store = create(path)
    monkeypatch.setattr(store, "checkpoint", lambda: (_ for _ in ()).throw(MemoryError()))
    put(store, "a")

    store._maintain()

    assert "MemoryError" in store.problem


def test_a_closed_store_takes_nothing_and_may_be_closed_again(path, tmp_path):
    primary = create(path)
    replica = create_store(
        tmp_path / "db_async.json", SCHEMA, indexes=INDEXES, store_id=primary.store_id, snapshot=primary.state
    )
    put(primary, "a")
    lines = primary.lines(0)
    replica.close()
    replica.close()

    with pytest.raises(StoreReadOnly):
        replica.apply(lines)
    with pytest.raises(OSError, match="closed"):
        replica.set_peer("somebody")
