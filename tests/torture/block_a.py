"""Block A: the power is cut at every operation on a simulated disk, and every disk that may be found is opened.

A point is an operation before which the power went; a state is a disk, distinct from all others of its workload. Each must be recovered:
nothing acknowledged is missing, what is there is one of the states that were committed, a second recovery changes nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from shop.clock import ManualClock
from shop.replication.pair import Pair, open_pair
from tests.simdisk import Disk, SimDisk, crash_states, platters
from tests.storekit import INDEXES, PATH, SCHEMA, contents, create, put
from tests.torture import cuts_of_roles, format_zero
from tests.torture.ledger import Enough, History, Sweep, journal_lines, of_commits, reopen, swept
from tests.torture.tally import Counts, Tally, progress

MINIMUM = Counts(points=2_000, states=10_000)


def run(*, whole: bool) -> Tally:
    tally = Tally()
    with small_files():
        _add(tally, workloads(whole))
    _add(tally, cuts_of_roles.workloads(whole))
    return tally


def _add(tally: Tally, workloads: dict[str, Callable[[], Tally]]) -> None:
    for name, workload in workloads.items():
        progress(f"A: {name}, {tally.states:,} states so far")
        counted = workload()
        if not counted.points or not counted.states:
            counted.violations.append(f"{name}: nothing was checked")
        tally.add(counted)


@contextmanager
def small_files(*, cut_bytes: int = 300, slice_bytes: int = 200) -> Iterator[None]:
    """Journals are cut often, room is made often, and what is done in slices is done in many."""
    with ExitStack() as patches:
        for name, value in {
            "store.CUT_BYTES": cut_bytes,
            "log.ROOM_MIN_BYTES": 512,
            "log.ROOM_MAX_BYTES": 1024,
            "log.COPY_BYTES": slice_bytes,
            "checkpoint.SLICE_BYTES": slice_bytes,
        }.items():
            patches.enter_context(mock.patch(f"shop.store.{name}", value))
        yield


def workloads(whole: bool) -> dict[str, Callable[[], Tally]]:
    """What the store does; a lane has the shorter ones."""

    def commits(number: int, every: int, together: int = 1, nested: int = 0) -> Callable[[], Tally]:
        name = f"{number} commits by {together}, a checkpoint after each {every}"
        return lambda: swept(name, of_commits(number, every, together), nested=nested)

    lane = {
        "commits": commits(8, 4),
        "more commits": commits(50, 12),
        "groups": commits(24, 8, 8),
        "during recovery": commits(6, 3, 2, nested=5),
        "a big file": big_files(12),
        "commits beside a checkpoint": beside_a_checkpoint,
        "shown at once": shown_at_once(12),
        "closed and opened": closed_and_opened,
        "the replica writes": replica_writes,
        "both sides on one disk": both_sides,
        "first start": first_start,
        "a snapshot is installed": installed,
        "an upgrade of the format": upgraded(nested=10),
    }
    if not whole:
        return lane
    return lane | {
        "many commits": commits(200, 20),
        "shown at once": shown_at_once(60),
        "groups of three": commits(198, 18, 3),
        "groups of six": commits(90, 24, 6),
        "during recovery": commits(18, 5, 2, nested=1),
        "a big file": big_files(60),
        "an upgrade of the format": upgraded(nested=1),
    }


# ---- the workloads


def big_files(number: int) -> Callable[[], Tally]:
    """The checkpoint is written in slices, the journal cut in pieces."""

    def workload() -> Tally:
        with mock.patch("shop.store.shown.SMALL_FILE_BYTES", 1), without_pauses(lambda: None):
            return swept("a big file", of_commits(number, 7, 2))

    return workload


@contextmanager
def without_pauses(meanwhile: Callable[[], None]) -> Iterator[None]:
    """In the pauses that paced work makes for commits, *meanwhile* is done instead of waiting."""

    def pause(seconds: float) -> None:
        meanwhile()

    with (
        mock.patch("shop.store.checkpoint.time", SimpleNamespace(sleep=pause)),
        mock.patch("shop.store.log.time", SimpleNamespace(sleep=pause, perf_counter=lambda: 0.0)),
    ):
        yield


def beside_a_checkpoint() -> Tally:
    """Commits go on in every pause of a big checkpoint, and of the cut of the journal that follows it."""
    with mock.patch("shop.store.shown.SMALL_FILE_BYTES", 1):
        history = History()
        store = history.begin()
        in_pauses = 0

        def meanwhile() -> None:
            nonlocal in_pauses
            if in_pauses < 24:
                in_pauses += 1
                history.commit(store)

        for _ in range(4):
            for _ in range(6):
                history.commit(store)
            with without_pauses(meanwhile):
                store.checkpoint()
        tally = swept("commits beside a checkpoint", history)
    if in_pauses < 10:
        tally.violations.append(f"commits beside a checkpoint: only {in_pauses} commits were made in pauses")
    return tally


def shown_at_once(number: int) -> Callable[[], Tally]:
    """The file follows each commit, its name unconfirmed until the journal is cut."""

    def workload() -> Tally:
        history = History()
        store = history.begin()
        for done in range(number):
            history.commit(store, 1 + done % 2)
            store.wait_shown(store.position.lsn)
        return swept("shown at once", history)

    return workload


def closed_and_opened() -> Tally:
    """An orderly end, a start that has nothing to recover, and commits into the journal that it left."""
    history = History()
    store = history.begin()
    for _ in range(4):
        for _ in range(3):
            history.commit(store)
        store.close()
        store = history.store = reopen(history.disk)
    return swept("closed and opened", history)


def replica_writes() -> Tally:
    """Lines of the primary arrive in batches."""
    source = of_commits(24, 100)
    lines = journal_lines(source.disk)
    history = History(states=source.states)
    replica = history.begin()
    for start in range(0, len(lines), 3):
        replica.apply(b"".join(lines[start : start + 3]))
        history.acknowledged = replica.position.lsn
        if start % 6 == 0:
            replica.checkpoint()
    tally = swept("the replica writes", history)
    if replica.position.lsn != 24:
        tally.violations.append(f"the replica writes: it came to commit {replica.position.lsn} of 24")
    return tally


class BothSides:
    """A primary whose commits go to its replica as soon as they are durable, on one disk."""

    now: "BothSides | None" = None

    def __init__(self) -> None:
        self.history = History()
        pair = self._opened(self.history.disk)
        self.pair, self.history.store, self.history.acknowledged = pair, pair.primary, 0
        self.start = len(self.history.disk.trace)

    def _opened(self, disk: SimDisk) -> Pair:
        return open_pair(PATH.parent, ManualClock(), schema=SCHEMA, indexes=INDEXES, files=disk)  # type: ignore[arg-type]

    def sell(self, count: int) -> None:
        """A group of *count*, and what the replica lacks of it."""
        self.history.commit(self.pair.primary, count)
        self.ship(self.pair.primary.lines(self.pair.replica.position.lsn))

    def ship(self, lines: bytes) -> None:
        if lines:
            self.pair.replica.apply(lines)

    def why_broken(self, state: Disk, acknowledged: int) -> str:
        """The replica is a state of the primary, and never ahead of it."""
        pair = self._opened(SimDisk(state))
        here, there = pair.primary.position.lsn, pair.replica.position.lsn
        if not there <= here or here < acknowledged:
            return f"{acknowledged} was acknowledged, the primary is at {here} and the replica at {there}"
        for store in (pair.primary, pair.replica):
            if contents(store) != self.history.states[store.position.lsn]:
                return f"{store.path.name} is in no state that was committed"
        return "" if pair.primary.is_writable else pair.primary.problem


def both_sides() -> Tally:
    sweep = Sweep("both sides on one disk")
    sides = BothSides.now = BothSides()
    for number in range(12):
        sides.sell(1 + number % 3)
        if number % 4 == 3:
            sides.pair.primary.checkpoint()
            sides.pair.replica.checkpoint()
    with suppress(Enough):
        for k, platter in platters(sides.history.disk):
            sweep.tally.points += k >= sides.start
            acknowledged = sides.history.acknowledged_at(k)
            for state in crash_states(platter, seed=k) if k >= sides.start else ():
                if sweep.is_new(state, acknowledged):
                    try:
                        why = sides.why_broken(state, acknowledged)
                    except Exception as error:
                        why = f"{type(error).__name__}: {error}"
                    if why:
                        sweep.broken(f"operation {k}", why)
    return sweep.tally


def first_start() -> Tally:
    """Cut anywhere it is a first start again, or a store; the start after it is cut anywhere, too."""
    history = History()
    history.begin()
    return swept("first start", history, nested=1)


def installed() -> Tally:
    """The replica becomes a snapshot of another history: the old state or the new one, never a mix."""
    primary = create(Path("/other/db.json"), SimDisk())
    for number in range(3):
        put(primary, f"new {number}", number)
    history = History()
    replica = history.begin()
    for _ in range(6):
        history.commit(replica)
    old, new, start = contents(replica), contents(primary), len(history.disk.trace)
    replica.install(primary.state, primary.store_id, "db.json")
    return _old_or_new("a snapshot is installed", history.disk, start, old, new)


def _old_or_new(name: str, disk: SimDisk, start: int, old: object, new: object) -> Tally:
    sweep = Sweep(name)
    found = []
    for k, platter in platters(disk):
        sweep.tally.points += k >= start
        for state in crash_states(platter, seed=k) if k >= start else ():
            if sweep.is_new(state, k == len(disk.trace)):
                found.append(_opened(state))
                if found[-1] not in ((new,) if k == len(disk.trace) else (old, new)):
                    sweep.broken(f"operation {k}", f"neither the old state nor the new one: {found[-1]}")
    if old not in found or new not in found:
        sweep.broken("all of it", "not both the old state and the new one were seen")
    return sweep.tally


def _opened(state: dict[Path, bytes]) -> object:
    try:
        return contents(reopen(SimDisk(state)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def upgraded(nested: int) -> Callable[[], Tally]:
    """A store of format 0 is opened, goes on, and the power is cut at each operation of it."""

    def workload() -> Tally:
        name = "an upgrade of the format"
        source = of_commits(11, 4, 1)
        disk = source.disk.files()
        journal = PATH.with_suffix(".journal")
        history = History(
            disk=SimDisk(
                {
                    PATH: format_zero.checkpoint_to_zero(disk[PATH]),
                    journal: format_zero.journal_to_zero(disk[journal]),
                }
            ),
            states=source.states,
            acknowledged=source.acknowledged,
        )
        store = history.store = reopen(history.disk, format_zero.UPGRADES)
        for _ in range(4):
            history.commit(store)
        store.checkpoint()
        sweep = Sweep(name, upgrades=format_zero.UPGRADES)
        return swept(name, history, nested=nested, sweep=sweep)

    return workload
