"""Block E: races between people, a model of the shop under random operations, and readers beside writers; over each kind of storage.

A point is one round of a race, one run of the model or one reader; a state is one check of what is there after a step.
"""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from shop.clock import ManualClock
from shop.replication.link import Link
from shop.replication.pair import Pair, open_pair
from shop.replication.replicator import Replicator
from shop.repository.contract import Repository
from shop.repository.embedded import EmbeddedRepository, Snapshots
from shop.units import ReadUnit
from tests.builders import a_product, keep_products
from tests.contract.backends import BACKENDS, Backend, PostgresBackend, migrated
from tests.contract.races import RACES, at_once, buyers_of_the_last_ones, threads_take_turns_very_often
from tests.postgreskit import running_server
from tests.torture.model import ShopUnderTest, machine
from tests.torture.tally import Counts, Tally, progress

BUYER_ROUNDS, RACE_ROUNDS = 200, 100
RUNS, STEPS = 300, 50
LANE_RUNS = 6
READS = 10_000
READERS = 4
DELAY_SECONDS = 5.0

_POINTS = BUYER_ROUNDS + len(RACES) * RACE_ROUNDS + RUNS + READERS
_STATES = BUYER_ROUNDS + len(RACES) * RACE_ROUNDS + RUNS * STEPS + READS
MINIMUM = Counts(points=_POINTS * len(BACKENDS), states=_STATES * len(BACKENDS))


def run(*, whole: bool) -> Tally:
    tally = Tally()
    for name, make in sorted(BACKENDS.items()):
        with tempfile.TemporaryDirectory() as folder, _server_of(name, Path(folder)):
            folders = _Folders(Path(folder))
            _run_races(name, lambda: make(folders.new(), ManualClock()), tally, whole=whole)  # noqa: B023
            _run_model(name, _shops(name, make, folders), tally, runs=RUNS if whole else LANE_RUNS)
    return tally


@contextmanager
def _server_of(name: str, folder: Path) -> Iterator[None]:
    """A server for the backends that want one, unless the tests have given them theirs."""
    if name == "embedded" or hasattr(PostgresBackend, "server"):
        yield
        return
    with running_server() as server:
        PostgresBackend.server = migrated(server, folder)
        yield


class _Folders:
    """A new one for each shop."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._number = 0

    def new(self) -> Path:
        self._number += 1
        folder = self._parent / str(self._number)
        folder.mkdir()
        return folder


# ---- races


def _run_races(name: str, make: Callable[[], Backend], tally: Tally, *, whole: bool) -> None:
    """The lane is the contract suite's own: see `tests/contract/test_repository_threads.py`."""
    if not whole:
        return
    backend = make()
    try:
        with threads_take_turns_very_often():
            _rounds(name, buyers_of_the_last_ones, backend.repository(), BUYER_ROUNDS, tally)
            for race in RACES:
                _rounds(name, race, backend.repository(), RACE_ROUNDS, tally)
        _read_beside_writers(name, backend.repository(), tally)
    finally:
        backend.close()


def _rounds(name: str, race: Callable[[Repository], None], repository: Repository, rounds: int, tally: Tally) -> None:
    for number in range(rounds):
        progress(f"E: {name}, {race.__name__} {number + 1}/{rounds}")
        tally.points += 1
        tally.states += 1
        try:
            race(repository)
        except AssertionError as broken:
            tally.violations.append(f"{name}, {race.__name__}: {broken}")


def _read_beside_writers(name: str, repository: Repository, tally: Tally) -> None:
    """Pieces move from one product to another in one commit each time; every read of both adds up to the same."""
    left, right = a_product(stock=1000), a_product(stock=1000)
    keep_products(repository, left, right)
    done = threading.Event()

    def move() -> None:
        while not done.is_set():
            with repository.update() as unit:
                found = unit.products([left.id, right.id])
                step = 1 if found[left.id].stock > 10 else -900
                unit.put_product(replace(found[left.id], stock=found[left.id].stock - step))
                unit.put_product(replace(found[right.id], stock=found[right.id].stock + step))

    def read() -> list[str]:
        mixed = []
        for _ in range(READS // READERS):
            with repository.view() as unit:
                one, other = unit.product(left.id), unit.product(right.id)
            if one is None or other is None or one.stock + other.stock != 2000:
                mixed.append(f"{name}: a reader saw half of an update: {one}, {other}")
        return mixed

    writer = threading.Thread(target=move)
    writer.start()
    progress(f"E: {name}, readers beside writers")
    try:
        results = at_once([read] * READERS)
    finally:
        done.set()
        writer.join()
    for result in results:
        if not isinstance(result, list):
            raise TypeError(f"a reader did not come to its end: {result}")
        tally.points += 1
        tally.states += READS // READERS
        tally.violations += result


# ---- the model


def _run_model(name: str, make: Callable[[ManualClock], ShopUnderTest], tally: Tally, *, runs: int) -> None:
    shops, counted = machine(make, crashes_every=1 if name == "embedded" else 10)
    progress(f"E: {name}, the model, {runs} runs of {STEPS} steps")
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            shops,
            settings=settings(
                max_examples=runs + runs // 8,  # some end before their last step
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=True,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                print_blob=False,
            ),
        )
    except AssertionError as broken:
        notes = "\n".join(getattr(broken, "__notes__", []))
        print(notes, file=sys.stderr)  # the shortest way there that was found
        tally.violations.append(f"{name}, the model: {broken}")
    tally.points += counted[0]
    tally.states += counted[1]


def _shops(
    name: str, make: Callable[[Path, ManualClock], Backend], folders: _Folders
) -> Callable[[ManualClock], ShopUnderTest]:
    if name == "embedded":
        return lambda clock: EmbeddedPair(folders.new(), clock)
    return lambda clock: make(folders.new(), clock)


class EmbeddedPair:
    """The embedded shop with its far side."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self._folder = folder
        self._clock = clock
        self._crashes = 0
        self._open()

    def repository(self) -> Repository:
        return self._repository

    def restart(self) -> Repository:
        self._pair.close()
        return self._open()

    def crash(self) -> Repository:
        """The files as they are at this moment, copied to where the old stores cannot touch them."""
        self._crashes += 1
        folder = self._folder / f"crash-{self._crashes}"
        folder.mkdir()
        for path in self._folder.glob("db*"):
            (folder / path.name).write_bytes(path.read_bytes())
        self._pair.close()
        self._folder = folder
        return self._open()

    def close(self) -> None:
        self._pair.close()

    def cross(self) -> tuple[int, ReadUnit]:
        self._replicator.sync_once(self._clock.monotonic())
        state = self._pair.replica.state
        return state.position.lsn, Snapshots().of(state)

    def lsn(self) -> int:
        return self._pair.primary.state.position.lsn

    def _open(self) -> Repository:
        self._pair: Pair = open_pair(self._folder, self._clock)
        self._repository = EmbeddedRepository(self._pair.primary)
        self._replicator = Replicator(self._pair, Link(DELAY_SECONDS), jitter=lambda: 1.0)
        return self._repository
