"""The implementations of the repository, so that one suite can be run over each."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from shop.clock import Clock
from shop.repository.contract import Repository
from shop.repository.embedded import EmbeddedRepository
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import Store, create_store, open_store


class Backend(Protocol):
    """One shop, empty at first, that can be left and entered again."""

    def repository(self) -> Repository:
        """The shop that is open."""
        ...

    def restart(self) -> Repository:
        """Leave in order, open again what was kept."""
        ...

    def crash(self) -> Repository:
        """Open again what was kept, as after `kill -9`."""
        ...

    def close(self) -> None: ...


class EmbeddedBackend:
    """A store in a folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._crashes = 0
        self._opened(create_store(folder / "db.json", SCHEMA, indexes=INDEXES, clock=clock))

    def repository(self) -> EmbeddedRepository:
        return self._repository

    def restart(self) -> EmbeddedRepository:
        self.close()
        return self._reopened()

    def crash(self) -> EmbeddedRepository:
        """The files as they are at this moment, copied to where the old store cannot touch them."""
        self._crashes += 1
        folder = self._folder / f"crash-{self._crashes}"
        folder.mkdir()
        for name in ("db.json", "db.journal"):
            (folder / name).write_bytes((self._folder / name).read_bytes())
        self.close()
        self._folder = folder
        return self._reopened()

    def close(self) -> None:
        self._store.close()

    def _reopened(self) -> EmbeddedRepository:
        return self._opened(open_store(self._folder / "db.json", SCHEMA, indexes=INDEXES, clock=self._clock))

    def _opened(self, store: Store) -> EmbeddedRepository:
        self._store = store
        self._repository = EmbeddedRepository(store)
        return self._repository


BACKENDS: Mapping[str, Callable[[Path, Clock], Backend]] = {"embedded": EmbeddedBackend}
