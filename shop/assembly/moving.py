"""Moving house: a shop from the embedded store to PostgreSQL, and back. What is left stays as it is.

There: one transaction, so that the database holds all of the shop or what it held before. Back: the files are made complete in a folder
beside, compared, and then put in place as a backup would be (`shop/replication/restore.py`). In both directions every record is read
again and compared before anything counts.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shop.clock import Clock
from shop.cluster.control import ClusterControl, ClusterUnreachable
from shop.config import Config, prepare_instance
from shop.errors import SettingError
from shop.lock import FolderLock
from shop.models import Counter
from shop.replication.losing import LostFolder
from shop.replication.pair import EVEN_NAME, ODD_NAME, open_pair
from shop.replication.restore import restore
from shop.repository.embedded import ORDER_COUNTER
from shop.repository.postgres import bulk
from shop.repository.postgres.bulk import Bulk
from shop.repository.postgres.opening import open_repository
from shop.repository.postgres.pools import Servers
from shop.repository.postgres.records import TABLES
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import State, StoreError, create_store, read_snapshot

STANDBY_SECONDS_MAX = 30.0
_BESIDE = "migrate.tmp"

Show = Callable[
    [int, int], None
]  # records done, and in all; each counts twice: when it is copied, and when it is compared
Confirm = Callable[[str], None]  # raises `SettingError` when the answer is no

Records = Mapping[str, Mapping[str, Any]]  # collection -> id -> record


class House:
    """The two places where the shop of one instance folder may live.

    `open_house` makes one. Everything raises `SettingError` with one line; then nothing was changed.
    """

    def __init__(self, config: Config, servers: Servers, clock: Clock, *, is_open: bool) -> None:
        self._config = config
        self._servers = servers
        self._clock = clock
        self._is_open = is_open  # workers serve the database at this moment

    def move(self, show: Show, confirm: Confirm) -> str:
        """From the files to the database; the files stay as they are. Returns a sentence for the operator."""
        records = self._embedded()
        self._refuse_undecided()
        with bulk.writing(self._servers) as database:
            self._make_room(database, confirm)
            _Copying(records, show).into(database)
            database.go_on_after(self._last_running(records))
        count = sum(len(records[name]) for name in TABLES)
        return f"{count:,} records are in the database, compared one by one. {self._standby_sentence()} The files stay as they were."

    def move_back(self, show: Show, confirm: Confirm) -> str:
        """From the database to files; the database stays as it is. Files that were there are kept beside."""
        folder = self._config.instance
        if any((folder / name).exists() for name in (ODD_NAME, EVEN_NAME)):
            confirm(f"The shop in {folder} is replaced; its files are kept beside, with another ending. Go on?")
        beside = folder / _BESIDE
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        try:
            with bulk.reading(self._servers) as database:
                copy = self._write_files(beside, database, show)
            sentence = restore(folder, copy, self._clock)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        goes_on = (
            " The shop on PostgreSQL goes on: what it sells from now on is not in the files." if self._is_open else ""
        )
        return f"The shop is in {folder}, compared record by record. {_second_sentence(sentence)}{goes_on}".strip()

    # ---- to the database

    def _embedded(self) -> Records:
        folder = self._config.instance
        if not (folder / ODD_NAME).exists() and not (folder / EVEN_NAME).exists():
            raise SettingError(f"There is no shop in {folder} to move: name its folder with SHOP_INSTANCE=.")
        try:
            pair = open_pair(folder, self._clock)
        except StoreError as error:
            raise SettingError(str(error)) from error
        try:
            state = pair.primary.state
            return {name: dict(state.items(name)) for name in SCHEMA}
        finally:
            pair.close()

    def _refuse_undecided(self) -> None:
        lost = LostFolder(self._config.instance)
        undecided = sum(
            bool(commit.ops) and lost.decision(f"{commit.timeline}-{commit.lsn}") is None for commit in lost.commits()
        )
        if undecided:
            raise SettingError(
                f"{undecided} commits that a failover left behind are not decided on: re-enter or discard them first, at"
                " /admin/replication/lost."
            )

    def _make_room(self, database: Bulk, confirm: Confirm) -> None:
        """Demo goods that nobody has bought may go; a shop that has sold something may not."""
        counts = database.counts()
        if counts["orders"]:
            raise SettingError(
                f"The database holds a shop with {counts['orders']:,} orders: it is not written over. Name an empty one."
            )
        if counts["products"]:
            confirm(f"The database holds {counts['products']:,} products and no order; they are replaced. Go on?")
        database.clear()

    def _last_running(self, records: Records) -> int:
        """The highest running number that was ever issued here, in whatever timeline, as far as anything tells."""
        counter = records["counters"].get(ORDER_COUNTER)
        return max([counter.value if counter else 0, self._last_lost(), *map(_running, records["orders"])])

    def _last_lost(self) -> int:
        """The highest running number of an order that a failover left behind: some customer holds it."""
        lost = [op for commit in LostFolder(self._config.instance).commits() for op in commit.ops]
        return max([_running(op.id) for op in lost if op.collection == "orders"], default=0)

    def _standby_sentence(self) -> str:
        deadline = time.monotonic() + STANDBY_SECONDS_MAX
        while time.monotonic() < deadline:
            if bulk.has_crossed(self._servers):
                return "The standby has them too."
            time.sleep(0.1)
        return "The standby has not got all of them yet."

    # ---- to the files

    def _write_files(self, beside: Path, database: Bulk, show: Show) -> Path:
        """A whole copy, compared; returns the file."""
        total = 2 * sum(database.counts().values())
        done = 0
        store = create_store(beside / ODD_NAME, SCHEMA, indexes=INDEXES, clock=self._clock)
        try:
            for name in TABLES:
                for batch in _in_batches(database.scan(name)):
                    with store.update() as unit:
                        for id, record in batch:
                            unit.put(name, id, record)
                    done += len(batch)
                    show(done, total)
            if last := max(database.last_number(), self._last_lost()):
                with store.update() as unit:
                    unit.put("counters", ORDER_COUNTER, Counter(id=ORDER_COUNTER, value=last))
            copy = beside / "copy.json"
            store.write_copy(copy)
        except StoreError as error:
            raise SettingError(f"{error}. Nothing was changed.") from error
        finally:
            store.close()
        _, state = read_snapshot(copy, SCHEMA, indexes=INDEXES)
        _Copying(_records_of(state), show, done=done).compare(database)
        return copy


class _Copying:
    """Records on their way into a database, counted."""

    def __init__(self, records: Records, show: Show, *, done: int = 0) -> None:
        self._records = records
        self._show = show
        self._done = done
        self._total = 2 * sum(len(records[name]) for name in TABLES)

    def into(self, database: Bulk) -> None:
        for name in TABLES:
            for batch in database.load(name, self._records[name].values()):
                self._count(len(batch))
        self.compare(database)

    def compare(self, database: Bulk) -> None:
        """Raises `SettingError` at the first record that is not the same in the database."""
        for name in TABLES:
            expected = self._records[name]
            found = 0
            for batch in _in_batches(database.scan(name)):
                for id, record in batch:
                    if expected.get(id) != record:
                        raise SettingError(f"{name} {id} is not the same after the copy: nothing was changed.")
                found += len(batch)
                self._count(len(batch))
            if found != len(expected):
                raise SettingError(f"{len(expected):,} {name} became {found:,} in the copy: nothing was changed.")

    def _count(self, records: int) -> None:
        self._done += records
        self._show(self._done, self._total)


@contextmanager
def open_house(config: Config, clock: Clock) -> Iterator[House]:
    """The house whose files nobody else has open, and whose database answers.

    The database is the one of the settings, else that of a `make cluster` which runs on the same folder.
    """
    if config.primary_url:
        with (
            FolderLock(prepare_instance(config)),
            _servers(config, (config.primary_url, config.replica_url)) as servers,
        ):
            yield House(config, servers, clock, is_open=False)
        return
    urls = _urls_of_cluster(config.instance)
    with _servers(
        config, urls
    ) as servers:  # whoever runs the cluster has the folder's lock, and leaves the files alone
        yield House(config, servers, clock, is_open=True)


@contextmanager
def _servers(config: Config, urls: tuple[str, str]) -> Iterator[Servers]:
    with open_repository(config.instance, urls) as repository:
        yield repository.servers


def _urls_of_cluster(instance: Path) -> tuple[str, str]:
    try:
        return ClusterControl(instance).urls()
    except ClusterUnreachable:
        pass
    if instance.is_dir():
        FolderLock(instance).release()  # a server that has the files open is named by the refusal
    raise SettingError(
        "Where is the database? Set SHOP_PRIMARY_URL and SHOP_REPLICA_URL, or start make cluster on the same folder first."
    )


def _in_batches(records: Iterator[Any]) -> Iterator[Sequence[tuple[str, Any]]]:
    batch: list[tuple[str, Any]] = []
    for record in records:
        batch.append((record.number if hasattr(record, "number") else record.id, record))
        if len(batch) == bulk.BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _records_of(state: State) -> Records:
    return {name: dict(state.items(name)) for name in SCHEMA}


def _running(number: str) -> int:
    running = number.rpartition("-")[2]
    return int(running) if running.isascii() and running.isdecimal() else 0


def _second_sentence(text: str) -> str:
    return text.partition(". ")[2]
