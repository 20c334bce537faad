"""A shop in a nutshell for the store's torture: pieces are sold out of a stock, and every commit has its number.

What was committed is kept as a model, state by state, with what had been acknowledged when each operation on the disk began.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from shop.clock import ManualClock
from shop.store import Store, is_absent, open_store
from shop.store.upgrade import UPGRADES, Upgrades
from tests.simdisk import Disk, SimDisk, crash_states, platters
from tests.storekit import INDEXES, PATH, SCHEMA, Thing, commit_together, contents, create, put
from tests.torture.tally import Tally

STOCK = 100_000
KEPT_ORDERS = 5  # older ones are added up, so that the files stay small

Contents = dict[str, dict[str, Any]]
Change = Callable[[Any], None]


def sale(number: int) -> Change:
    """Three records that must never be seen apart: the stock, an order, and the sum of the orders before; sometimes a cancellation."""

    def change(unit: Any) -> None:
        stock = unit.get("things", "stock") or Thing("stock", STOCK)
        pieces = 1 + number % 3
        left = stock.number - pieces
        cancelled = unit.get("things", f"order {number - 2}") if number % 4 == 3 else None
        if cancelled is not None:
            left += cancelled.number
            unit.delete("things", f"order {number - 2}")
        old = unit.get("things", f"order {number - KEPT_ORDERS}")
        if old is not None:
            before = unit.get("things", "earlier") or Thing("earlier", 0)
            unit.put("things", "earlier", Thing("earlier", before.number + old.number))
            unit.delete("things", f"order {number - KEPT_ORDERS}")
        unit.put("things", f"order {number}", Thing(f"order {number}", pieces))
        unit.put("things", "stock", Thing("stock", left))

    return change


class _Model:
    """Takes changes as a unit does."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    def get(self, collection: str, id: str) -> Any:
        return self.contents[collection].get(id)

    def put(self, collection: str, id: str, record: Any) -> None:
        self.contents[collection][id] = record

    def delete(self, collection: str, id: str) -> None:
        self.contents[collection].pop(id, None)


def changed(before: Contents, change: Change) -> Contents:
    after = {name: dict(records) for name, records in before.items()}
    change(_Model(after))
    return after


@dataclass
class History:
    """What was attempted, in order, and what had been acknowledged when an operation began (-1: not even the creation)."""

    disk: SimDisk = field(default_factory=SimDisk)
    states: list[Contents] = field(default_factory=lambda: [{"things": {}, "notes": {}}])  # by LSN
    acknowledged: int = -1
    store: Store | None = None  # what its readers see counts as acknowledged

    def __post_init__(self) -> None:
        self.disk.note = self._held_to

    def _held_to(self) -> int:
        return max(self.acknowledged, self.store.position.lsn if self.store else -1)

    def acknowledged_at(self, k: int) -> int:
        """What had been acknowledged when operation *k* began."""
        note = self.acknowledged if k == len(self.disk.trace) else self.disk.trace[k].note
        assert isinstance(note, int)
        return note

    def begin(self) -> Store:
        self.store = create(PATH, self.disk)
        self.acknowledged = 0
        return self.store

    def commit(self, store: Store, count: int = 1) -> None:
        """The next *count* sales, in one group."""
        changes = [sale(len(self.states) - 1 + more) for more in range(count)]
        for change in changes:
            self.states.append(changed(self.states[-1], change))
        commit_together(store, *changes)
        self.acknowledged = store.position.lsn


def reopen(disk: Any, upgrades: Upgrades = UPGRADES) -> Store:
    return open_store(PATH, SCHEMA, indexes=INDEXES, clock=ManualClock(), files=disk, upgrades=upgrades)


def is_conserved(found: Contents) -> bool:
    """No piece came from nowhere or is gone, and none was sold that was not there."""
    numbers = [thing.number for thing in found["things"].values()]
    return not numbers or (min(numbers) >= 0 and sum(numbers) == STOCK)


class Enough(Exception):
    """As many violations as the caller wants to see."""


class Sweep:
    """Checks states, counts those that are distinct, and collects what is broken."""

    def __init__(self, name: str, *, violations_max: int = 10, upgrades: Upgrades = UPGRADES) -> None:
        self.name = name
        self.tally = Tally()
        self.seen: dict[bytes, int] = {}  # a disk, and the highest position it was held to
        self._most = violations_max
        self._upgrades = upgrades

    def broken(self, where: object, why: str) -> None:
        self.tally.violations.append(f"{self.name}, {where}: {why}")
        if len(self.tally.violations) == self._most:
            raise Enough

    def is_new(self, state: Disk, acknowledged: int) -> bool:
        """Whether this disk has not yet been held to as much as *acknowledged*. Each distinct one is counted once."""
        digest = blake2b(digest_size=16)
        for path in sorted(state):
            digest.update(b"%s\0%d\0" % (str(path).encode(), len(state[path])))
            digest.update(state[path])
        key = digest.digest()
        held_to = self.seen.get(key)
        if held_to is None:
            self.tally.states += 1
        elif held_to >= acknowledged:
            return False
        self.seen[key] = acknowledged
        return True

    def cut(self, history: History, *, start: int = 0, nested: int = 0) -> None:
        """The power cut at each operation from *start* on. Of every *nested*th state the recovery is cut anywhere, too."""
        number = 0
        for k, platter in platters(history.disk):
            if k < start:
                continue
            self.tally.points += 1
            acknowledged = history.acknowledged_at(k)
            for state in crash_states(platter, seed=k):
                if not self.is_new(state, acknowledged):
                    continue
                recovering = self.check(state, acknowledged, history.states, f"operation {k}")
                number += 1
                if nested and number % nested == 0:
                    self._cut_again(recovering, acknowledged, history.states, f"operation {k}, then in recovery")

    def _cut_again(self, recovering: SimDisk, acknowledged: int, states: Sequence[Contents], where: str) -> None:
        for k, platter in platters(recovering):
            self.tally.points += 1
            for state in crash_states(platter, seed=k):
                if self.is_new(state, acknowledged):
                    self.check(state, acknowledged, states, f"{where}, operation {k}")

    def check(self, state: Disk, acknowledged: int, states: Sequence[Contents], where: str) -> SimDisk:
        """The promise, for one disk. Returns the disk with the recovery on its trace."""
        disk = SimDisk(state)
        try:
            why = self._why_broken(disk, acknowledged, states)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if why:
            self.broken(where, why)
        return disk

    def _why_broken(self, disk: SimDisk, acknowledged: int, states: Sequence[Contents]) -> str:
        if is_absent(PATH, disk):
            create(PATH, disk)
            return "" if acknowledged < 0 else "an acknowledged store is gone"
        store = reopen(disk, self._upgrades)
        lsn, found = store.position.lsn, contents(store)
        if not acknowledged <= lsn < len(states):
            return f"{acknowledged} was acknowledged, {len(states) - 1} attempted, {lsn} is there"
        if found != states[lsn]:
            return f"what is there is not commit {lsn}: {found}"
        if not is_conserved(found):
            return f"pieces were made or lost: {found}"
        if any(path.suffix == ".tmp" for path in disk.names):
            return "a temporary file is left"
        return _why_unequal(disk.files(), store, found)


def _why_unequal(files: Disk, store: Store, found: Contents) -> str:
    """A second recovery has nothing to change, and the store goes on from there."""
    again = SimDisk(files)
    second = reopen(again)
    if again.files() != files or second.position != store.position:
        return "a second recovery changed something"
    put(second, "next", name="next")
    third = contents(reopen(SimDisk(again.files())))
    del third["things"]["next"]
    return "" if third == found else "the first commit after recovery hides what was before it"


def swept(name: str, history: History, *, nested: int = 0, start: int = 0, sweep: Sweep | None = None) -> Tally:
    sweep = sweep or Sweep(name)
    try:
        sweep.cut(history, nested=nested, start=start)
    except Enough:
        sweep.tally.violations.append(f"{name}: broken off, there were too many")
    return sweep.tally


def of_commits(number: int, every: int, together: int = 1) -> History:
    history = History()
    store = history.begin()
    for done in range(together, number + 1, together):
        history.commit(store, together)
        if done % every == 0:
            store.checkpoint()
    return history


def journal_lines(disk: SimDisk) -> list[bytes]:
    """Every line that was ever appended, in order."""
    return [
        line
        for op in disk.trace
        if op.kind == "write" and op.data.startswith(b'{"crc":"')
        for line in op.data.splitlines(keepends=True)
    ]
