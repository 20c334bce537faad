"""Block C: the Nth operation on the disk fails, for every N until a run in which none does; then memory; then real disks that are full.

A point is one fault; a state one look at what was left: by a restart, and by a power cut right after the fault. The client is told the
truth: what was acknowledged is there, what was refused is not, and what is unknown (an fsync failed) is there once or not at all.
"""

import itertools
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

from shop.store import OutcomeUnknown, Store, StoreDamaged, StoreError, StoreFull, StoreReadOnly, is_absent
from tests.simdisk import Disk, SimDisk, crash_states, platters
from tests.storekit import JOURNAL, PATH, commit_together, contents, create
from tests.torture import faults_in_groups, faults_of_roles, real_faults
from tests.torture.block_a import small_files
from tests.torture.faults import Fault, FaultyDisk, faults
from tests.torture.ledger import Contents, changed, is_conserved, of_commits, reopen, sale
from tests.torture.tally import Counts, Tally, progress

MINIMUM = Counts(points=660 + 660 + 30 + 6, states=2_000)
COMMITS, CHECKPOINTS_AFTER, SHOWN_AFTER, GROUP_EVERY = 20, (7, 14), (3, 4, 10, 16), 5
EMPTY: Contents = {"things": {}, "notes": {}}
LANE_EVERY = 5  # operation of a lane
CUTS_MAX = 12  # disks a power cut may leave, looked at per fault


def run(*, whole: bool) -> Tally:
    tally = Tally()
    with small_files(cut_bytes=900):
        tally.add(io_faults(1 if whole else LANE_EVERY))
        tally.add(memory_faults())
        tally.add(starts_that_fail())
    tally.add(faults_in_groups.run(40 if whole else 8))
    tally.add(faults_of_roles.run(1 if whole else LANE_EVERY * 2))
    tally.add(real_faults.run())
    return tally


def io_faults(step: int, tally: Tally | None = None) -> Tally:
    """Of operations every *step*th one."""
    tally = Tally() if tally is None else tally
    at, kinds = 1, set()
    while True:
        progress(f"C: operation {at}, {tally.points:,} faults so far")
        hit = [disk.kind for disk in (with_fault(fault, tally) for fault in faults(at)) if disk.kind]
        if not hit:
            break
        kinds.update(hit)
        at += step
    never = {"create", "open", "write", "sync", "sync_folder", "replace", "pread"} - kinds if step == 1 else set()
    tally.violations += [f"no {kind} was made to fail" for kind in sorted(never)]
    return tally


def with_fault(fault: Fault, tally: Tally) -> FaultyDisk:
    disk = FaultyDisk(fault)
    client = Client(str(fault), disk, tally)
    client.work()
    disk.mend()
    is_another_way = not fault.is_short or disk.kind == "write"
    if disk.kind and is_another_way:
        client.name = f"{fault}, a {disk.kind}"
        tally.points += 2  # it alone, and with a crash right after it
        client.check_after()
    return disk


class Client:
    """Sells, writes down what it was told, and looks afterwards whether it was the truth."""

    def __init__(self, name: str, disk: FaultyDisk, tally: Tally, *, in_groups: bool = True) -> None:
        self.name = name
        self.disk = disk
        self.tally = tally
        self.in_groups = in_groups
        self.model: Contents = EMPTY  # what was acknowledged
        self.unknown: list[Contents] = []  # what a restart may find instead
        self.sold = 0
        self._has_looked = False
        self.store: Store | None = None

    def work(self) -> None:
        try:
            self._work()
        except AssertionError as broken:
            self.broken(str(broken))

    def check_after(self) -> None:
        try:
            self._mended()
        except AssertionError as broken:
            self.broken(str(broken))
        self._power_cuts("power cut at the end")
        try:
            self._restart()
        except Exception as error:
            self.broken(f"restart: {type(error).__name__}: {error}")

    def broken(self, why: str) -> None:
        self.tally.violations.append(f"{self.name}: {why}")

    def _work(self) -> None:
        try:
            self.store = create(PATH, self.disk)
        except (OSError, StoreDamaged, MemoryError):
            return
        for number in range(COMMITS):
            self.commit(3 if self.in_groups and number % GROUP_EVERY == 0 else 1)
            if number in CHECKPOINTS_AFTER:
                with suppress(OSError, MemoryError):
                    self.store.checkpoint()
                unlocked(self.store)
                self.read()
            if number in SHOWN_AFTER:
                with suppress(MemoryError):
                    self.store.wait_shown(self.store.position.lsn)
                unlocked(self.store)
            if self.disk.kind and not self._has_looked:
                self._has_looked = True
                self._check("killed right after", SimDisk(self.disk.files()))
                self._power_cuts("power cut right after")

    def commit(self, together: int = 1) -> None:
        """The next sales, in one group: all of them are kept, or none is, or it is open how many."""
        assert self.store is not None
        unlocked(self.store)
        had_failed = self.disk.has_sync_failed and self.store.needs_restart
        sales = [sale(self.sold + more) for more in range(together)]
        self.sold += together
        after = [self.model]
        for change in sales:
            after.append(changed(after[-1], change))
        try:
            commit_together(self.store, *sales)
        except StoreFull:
            pass
        except OutcomeUnknown:
            self.unknown = after
        except StoreReadOnly:
            assert self.store.needs_restart, "refused, and nothing says that a restart is needed"
        except (StoreError, OSError, MemoryError):
            # Nobody was told that it was kept. Whether it is there may be open only if nothing is written any more.
            if self.store.needs_restart:
                self.unknown = self.unknown or after
        else:
            assert not had_failed, "a success after a failed fsync"
            self.model = after[-1]
        self.read()

    def read(self) -> None:
        """Readers see what was acknowledged, whatever the disk does."""
        assert self.store is not None
        found = contents(self.store)
        assert found == self.model, f"readers see {found}"
        assert is_conserved(found)

    def _mended(self) -> None:
        """All is well again: if it was not an fsync that failed, writes resume by themselves."""
        if self.store is None:
            return
        if self.store.needs_restart:
            assert self.store.problem.endswith("until it is restarted."), self.store.problem
            return
        assert not self.disk.has_sync_failed, "an fsync failed, and writes go on"
        before = self.model
        self.store._maintain()
        assert self.store.is_writable, f"space is back, and it says: {self.store.problem}"
        self.commit()
        assert self.model is not before, "writes did not resume"

    def _power_cuts(self, how: str) -> None:
        *_, (k, platter) = platters(self.disk)
        for state in itertools.islice(crash_states(platter, seed=k), CUTS_MAX):
            self._check(how, SimDisk(state))

    def _restart(self) -> None:
        """What a restart has shown must not go again in the next power cut."""
        self._check("restart", self.disk)
        shown = self._opened(self.disk)
        *_, (k, platter) = platters(self.disk)
        for state in itertools.islice(crash_states(platter, seed=k), CUTS_MAX):
            self.tally.states += 1
            if self._opened(SimDisk(state)) != shown:
                self.broken("what a restart showed was gone after a power cut")

    def _check(self, how: str, disk: SimDisk) -> None:
        self.tally.states += 1
        try:
            found = self._opened(disk)
        except Exception as error:
            self.broken(f"{how}: {type(error).__name__}: {error}")
            return
        if found != self.model and found not in self.unknown:
            self.broken(f"{how}: {found} is there, {self.model} was acknowledged")

    def _opened(self, disk: SimDisk) -> Contents:
        if is_absent(PATH, disk):
            assert self.store is None, "an acknowledged store is gone"
            return contents(create(PATH, disk))
        return contents(reopen(disk))


def unlocked(store: Store) -> None:
    """No failure may leave a lock behind: the next commit would wait for ever."""
    for name in ("_write_lock", "_append_lock", "_checkpoint_lock", "_leadership"):
        assert not getattr(store, name).locked(), f"{name} is still held"
    assert not store._showing.is_busy, "nobody leads, and everybody waits"


# ---- a start

LEFT_BY_A_CRASH = 5  # commits in the journal that is to be recovered


def starts_that_fail() -> Tally:
    """Each operation of a recovery fails. It opens or refuses; whatever it does, the next start and a power cut find everything."""
    tally = Tally()
    history = of_commits(LEFT_BY_A_CRASH, LEFT_BY_A_CRASH - 2)
    files = history.disk.files()
    files[JOURNAL] = files[JOURNAL].rstrip(b"\0") + b'{"crc":"a torn line'
    expected = history.states[LEFT_BY_A_CRASH]
    at = 1
    while sum(_start_that_fails(fault, files, expected, tally) for fault in faults(at)):
        at += 1
    if at < 10:
        tally.violations.append(f"a recovery of {at} operations: nothing was recovered")
    return tally


def _start_that_fails(fault: Fault, files: Disk, expected: Contents, tally: Tally) -> bool:
    """Whether it came to the fault."""
    disk = FaultyDisk(fault, files)
    seen: list[object] = []
    with suppress(OSError, StoreDamaged):
        seen.append(contents(reopen(disk)))
    if not disk.kind:
        return False
    tally.points += 1
    *_, (k, platter) = platters(disk)
    for state in (disk.files(), *itertools.islice(crash_states(platter, seed=k), CUTS_MAX)):
        tally.states += 1
        try:
            seen.append(contents(reopen(SimDisk(state))))
        except Exception as error:
            seen.append(f"{type(error).__name__}: {error}")
    wrong = [found for found in seen if found != expected]
    tally.violations += [f"a start with {fault}, a {disk.kind}: then {found}" for found in wrong[:1]]
    return True


# ---- memory

STEPS = (
    "shop.store.store.encode_core",
    "shop.store.store.encode_line",
    "shop.store.store.chain",
    "shop.store.store.Ticket",
    "shop.store.store.Changes.applied",
    "shop.store.store.Changes.put",
    "shop.store.maps.PersistentMap.with_changes",
    "shop.store.log.Log.append",
    "shop.store.log.Log.appended",
    "shop.store.journal.JournalIndex.append",
    "shop.store.journal.JournalIndex.without_first",
    "shop.store.shown.Shown.committed",
    "shop.store.lines.Lines.apply",
    "shop.store.lines.Lines.file",
    "shop.store.lines.encode_record_line",
    "shop.store.shown.replace_open",
    "shop.store.showing.Showing._join",
    "shop.store.showing.Showing._wake_shown",
    "shop.store.checkpoint.encode_header",
)
CALLS = (1, 2, 9)  # of each: the first, the second and one in the middle


def memory_faults() -> Tally:
    tally = Tally()
    for step in STEPS:
        for call in CALLS:
            progress(f"C: memory runs out in {step}")
            client = Client(f"memory runs out in {step}, call {call}", FaultyDisk(), tally, in_groups=False)
            with out_of_memory(step, call) as is_out:
                client.work()
            client.check_after()
            tally.points += is_out()
            if call == 1 and not is_out():
                tally.violations.append(f"{step} was never called")
    return tally


@contextmanager
def out_of_memory(step: str, call: int) -> Iterator[Callable[[], bool]]:
    """The *call*th call of *step* raises MemoryError; yields whether it came to that."""
    owner, _, name = step.rpartition(".")
    real = getattr(pkgutil.resolve_name(owner), name)
    calls = itertools.count(1)
    reached = 0

    def sometimes(*arguments: Any, **more: Any) -> Any:
        nonlocal reached
        reached = next(calls)
        if reached == call:
            raise MemoryError
        return real(*arguments, **more)

    with mock.patch(step, sometimes):
        yield lambda: reached >= call
