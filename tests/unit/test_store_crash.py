"""Power cuts: at every operation of a workload, every disk that may be found is opened, and must be a prefix of what was committed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shop.store import Store, is_absent
from tests.simdisk import Disk, SimDisk, crash_states, platters
from tests.storekit import JOURNAL, PATH, Thing, commit_together, contents, create, put, reopen

REPLICA = Path("/disk/db_async.json")
REPLICA_JOURNAL = Path("/disk/db_async.journal")


@dataclass
class History:
    """What was committed, in order, and what had been acknowledged when an operation began."""

    disk: SimDisk
    states: list[dict[str, dict[str, Any]]] = field(default_factory=list)  # by LSN
    acknowledged: int = -1  # -1: not even the creation

    def __post_init__(self) -> None:
        self.disk.note = lambda: self.acknowledged

    def commit(self, store: Store, *changes: Callable[[Any], None]) -> None:
        for change in changes:
            after = {name: dict(records) for name, records in self.states[-1].items()}
            change(_Recorder(after))
            self.states.append(after)
        commit_together(store, *changes)
        self.acknowledged = store.position.lsn


class _Recorder:
    """Changes the model as a unit changes the store."""

    def __init__(self, model: dict[str, dict[str, Any]]) -> None:
        self.model = model

    def put(self, collection: str, id: str, record: Any) -> None:
        self.model[collection][id] = record

    def delete(self, collection: str, id: str) -> None:
        self.model[collection].pop(id, None)


def changes(number: int) -> Callable[[Any], None]:
    def change(unit: Any) -> None:
        unit.put("things", f"t{number % 5}", Thing(f"name {number % 5}", number))
        unit.put("things", "sum", Thing("sum", number))  # two records that must never be seen apart
        if number % 4 == 3:
            unit.delete("things", f"t{(number - 1) % 5}")

    return change


def a_workload(commits: int, every: int, *, together: int = 1) -> History:
    """Create a store, commit, and checkpoint after each *every*."""
    history = History(SimDisk())
    store = create(PATH, history.disk)
    history.states.append(contents(store))
    history.acknowledged = 0
    number = 0
    while number < commits:
        group = [changes(number + more) for more in range(together)]
        history.commit(store, *group)
        number += together
        if number % every == 0:
            store.checkpoint()
    return history


def opened(disk: SimDisk) -> Store | None:
    """What the next start finds; None when there is no store yet."""
    return None if is_absent(PATH, disk) else reopen(PATH, disk)


def check(state: Disk, acknowledged: int, states: list[dict[str, dict[str, Any]]]) -> SimDisk:
    """The promise, for one disk: nothing acknowledged is missing, nothing is half there, and opening twice changes nothing."""
    disk = SimDisk(state)
    store = opened(disk)
    if store is None:
        assert acknowledged < 0, "an acknowledged store is gone"
        return disk
    lsn = store.position.lsn
    assert acknowledged <= lsn < len(states), f"{acknowledged} was acknowledged, {lsn} is there"
    assert contents(store) == states[lsn]
    assert not [path for path in disk.names if path.suffix == ".tmp"]
    first = disk.files()
    again = SimDisk(first)
    second = reopen(PATH, again)
    assert contents(second) == states[lsn]
    assert second.position == store.position
    put(second, "next", name="next")
    return disk


def sweep(history: History) -> tuple[int, int]:
    """Every state at every operation; returns points and states."""
    points = total = 0
    for k, platter in platters(history.disk):
        acknowledged = history.disk.trace[k].note if k < len(history.disk.trace) else history.acknowledged
        for state in crash_states(platter, seed=k):
            assert isinstance(acknowledged, int)
            check(state, acknowledged, history.states)
            total += 1
        points += 1
    return points, total


@pytest.fixture(autouse=True)
def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals are cut often, so that a cut is among what is cut short."""
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 300)


@pytest.mark.parametrize(("commits", "every", "together"), [(8, 4, 1), (40, 9, 1), (198, 18, 3), (24, 8, 8)], ids=str)
def test_a_power_cut_at_any_operation_leaves_a_prefix_with_all_that_was_acknowledged(commits, every, together):
    points, states = sweep(a_workload(commits, every, together=together))

    assert points > commits
    assert states > 4 * commits


def test_a_power_cut_during_recovery_is_recovered_from(monkeypatch):
    history = a_workload(6, 3, together=2)
    points = 0
    for k, platter in platters(history.disk):
        acknowledged = history.disk.trace[k].note if k < len(history.disk.trace) else history.acknowledged
        for number, state in enumerate(crash_states(platter, seed=k)):
            if number % 3 == 0:
                points += recovery_cut_anywhere(state, acknowledged, history.states)
    assert points > 300


def recovery_cut_anywhere(state: Disk, acknowledged: Any, states: list[dict[str, dict[str, Any]]]) -> int:
    recovering = SimDisk(state)
    opened(recovering)
    points = 0
    for k, platter in platters(recovering):
        for found in crash_states(platter, seed=k):
            check(found, acknowledged, states)
            points += 1
    return points


def test_a_power_cut_while_the_replica_writes_leaves_it_a_prefix_of_the_primary():
    source = a_workload(16, 4)
    primary = reopen(PATH, SimDisk(source.disk.files()), keep_after=0)
    lines = list(_lines_of(source))
    history = History(SimDisk(), states=source.states)
    replica = create(PATH, history.disk)
    history.acknowledged = 0
    for start in range(0, 16, 3):
        replica.apply(b"".join(lines[start : start + 3]))
        history.acknowledged = replica.position.lsn
        replica.checkpoint()

    points, states = sweep(history)

    assert replica.position == primary.position
    assert points > 20
    assert states > 200


def _lines_of(history: History) -> Iterator[bytes]:
    """Every line that was ever appended to the journal."""
    for op in history.disk.trace:
        if op.kind == "write" and op.data.startswith(b'{"crc":"'):
            yield from op.data.splitlines(keepends=True)


def test_a_power_cut_while_a_snapshot_is_installed_leaves_the_old_state_or_the_new_one():
    primary = create(Path("/other/db.json"), SimDisk())
    for number in range(3):
        put(primary, f"new{number}", number)
    disk = SimDisk()
    replica = create(PATH, disk)
    put(replica, "old")
    old = contents(replica)
    start = len(disk.trace)
    replica.install(primary.state, primary.store_id, "db.json")

    seen = set()
    for k, platter in platters(disk):
        if k < start:
            continue
        for state in crash_states(platter, seed=k):
            found = contents(reopen(PATH, SimDisk(state)))
            assert found in (old, contents(primary))
            seen.add(found == old)

    assert seen == {True, False}


def test_the_first_start_cut_anywhere_is_a_first_start_again_or_a_store():
    disk = SimDisk()
    create(PATH, disk)

    for k, platter in platters(disk):
        for state in crash_states(platter, seed=k):
            found = SimDisk(state)
            if is_absent(PATH, found):
                create(PATH, found)
            else:
                assert contents(reopen(PATH, found)) == {"things": {}, "notes": {}}


# ---- the sweep itself must notice: seeded protocol bugs


class NoJournalSync(SimDisk):
    def sync(self, fd: int) -> None:
        if self._fds[fd] is not self.names.get(JOURNAL):
            super().sync(fd)


class NoTemporarySync(SimDisk):
    def sync(self, fd: int) -> None:
        if self._fds[fd] is self.names.get(JOURNAL):
            super().sync(fd)


class NoFolderSync(SimDisk):
    def sync_folder(self, folder: Path) -> None:
        pass


@pytest.mark.parametrize("mutant", [NoJournalSync, NoTemporarySync, NoFolderSync])
def test_the_sweep_kills_a_disk_layer_that_forgets_an_fsync(mutant, monkeypatch):
    monkeypatch.setattr("tests.unit.test_store_crash.SimDisk", mutant)
    history = a_workload(12, 4)
    monkeypatch.undo()
    monkeypatch.setattr("shop.store.store.CUT_BYTES", 300)

    with pytest.raises((AssertionError, Exception)) as caught:
        sweep(history)

    assert caught.type.__name__ in ("AssertionError", "StoreDamaged"), caught.value


def test_the_sweep_kills_an_acknowledgement_before_the_fsync(monkeypatch):
    history = a_workload(12, 4)
    for number, op in enumerate(history.disk.trace):
        note = op.note
        assert isinstance(note, int)
        if op.kind == "sync" and note >= 0:
            history.disk.trace[number] = type(op)(op.kind, op.inode, note=note + 1)

    with pytest.raises(AssertionError):
        sweep(history)
