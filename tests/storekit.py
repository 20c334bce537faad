"""A small schema for tests of the store, which knows nothing of shops."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from shop.clock import ManualClock
from shop.store import Files, Index, Store, create_store, open_store

PATH = Path("/disk/db.json")
JOURNAL = Path("/disk/db.journal")


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    number: int = 0


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


SCHEMA: dict[str, type[msgspec.Struct]] = {"things": Thing, "notes": Note}
INDEXES = [Index("thing_name", "things", lambda thing: thing.name)]


def create(path: Path, files: Any = None, **more: Any) -> Store:
    return create_store(
        path, SCHEMA, indexes=INDEXES, store_id="a-store", clock=ManualClock(), files=files or Files(), **more
    )


def reopen(path: Path, files: Any = None, **more: Any) -> Store:
    return open_store(path, SCHEMA, indexes=INDEXES, clock=ManualClock(), files=files or Files(), **more)


def put(store: Store, id: str, number: int = 0, name: str | None = None) -> None:
    with store.update() as unit:
        unit.put("things", id, Thing(name or f"name of {id}", number))


def contents(store: Store) -> dict[str, dict[str, Any]]:
    return {name: dict(store.state.items(name)) for name in store.state.collections()}


def commit_together(store: Store, *changes: Callable[[Any], None]) -> None:
    """Commits that share one write and one fsync, as those of many threads do."""
    tickets = []
    for change in changes:
        unit = store._begin()
        try:
            change(unit)
            tickets.append(store._enqueue(unit))
        finally:
            store._abandon()
    for ticket in tickets:
        store._await(ticket)
