"""A primary, a replica and a link between them, on a clock that the test moves."""

from pathlib import Path
from typing import Any

from shop.clock import ManualClock
from shop.models import Counter
from shop.replication.contract import State
from shop.replication.link import Link
from shop.replication.pair import Pair, open_pair
from shop.replication.replicator import Outcome, Replicator
from shop.store import Store

DELAY = 5.0


class Sides:
    """An open pair with a replicator; closes like a process that ends, or vanishes like one that is killed (`reopen`)."""

    def __init__(self, folder: Path, clock: ManualClock, *, delay: float = DELAY, **options: Any) -> None:
        self.folder = folder
        self.clock = clock
        self.options = options
        self.pair: Pair = open_pair(folder, clock, **options)
        self.link = Link(delay)
        self.replicator = Replicator(self.pair, self.link, jitter=lambda: 1.0)

    @property
    def primary(self) -> Store:
        return self.pair.primary

    @property
    def replica(self) -> Store:
        return self.pair.replica

    def commit(self, count: int = 1, *, counter: str = "sold") -> None:
        """Each commit adds one to a counter, so that a state tells how many it holds."""
        for _ in range(count):
            put_next(self.primary, counter)

    def step(self) -> Outcome:
        return self.replicator.sync_once(self.clock.monotonic())

    def settle(self, seconds: float = 0.0) -> int:
        """Let *seconds* pass as the schedule would: a step whenever one is due. Returns the commits applied."""
        end = self.clock.monotonic() + seconds
        applied = 0
        while True:
            outcome = self.step()
            applied += outcome.applied
            due = outcome.next_due_monotonic
            if due is None or due > end:
                break
            if due > self.clock.monotonic():
                self.clock.advance(due - self.clock.monotonic())
        if end > self.clock.monotonic():
            self.clock.advance(end - self.clock.monotonic())
        return applied

    def reopen(self, *, killed: bool = False) -> "Sides":
        """The next start on the same folder; *killed*: without the orderly end."""
        if not killed:
            self.pair.close()
        return Sides(self.folder, self.clock, delay=self.link.delay_seconds, **self.options)

    @property
    def trouble(self) -> State | None:
        return self.replicator.trouble.state if self.replicator.trouble else None


def put_next(store: Store, counter: str = "sold") -> None:
    with store.update() as unit:
        unit.put("counters", counter, Counter(id=counter, value=unit_value(unit, counter) + 1))


def unit_value(unit: Any, counter: str = "sold") -> int:
    record = unit.get("counters", counter)
    return 0 if record is None else record.value


def sold(store: Store, counter: str = "sold") -> int:
    """How many commits the state holds."""
    return unit_value(store.state, counter)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("db")}


def put_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)
