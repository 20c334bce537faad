"""What a caller holds while it writes: a unit of changes, and the ticket of a commit that waits for its turn."""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from shop.store.errors import StoreError
from shop.store.state import Changes, Position, State


class Turn:
    """What a thread sleeps on until another one has done what it waits for, or has it lead."""

    __slots__ = ("_lock", "is_done", "leads")

    def __init__(self) -> None:
        self.is_done = False
        self.leads = False
        # A bare lock, taken here and given back by another thread, is the cheapest way to wake one.
        self._lock = threading.Lock()
        self._lock.acquire()

    def sleep(self) -> BaseException | None:
        """Return when the turn has come. An interrupt (Ctrl-C) is put off until then and returned, to be raised when nobody depends on
        this thread any more: one that left in between would have been made the leader, and nobody would lead."""
        interrupt = None
        while not (self.is_done or self.leads):
            try:
                self._lock.acquire()
            except BaseException as error:
                interrupt = error
        return interrupt

    def end(self) -> None:
        """Called once. A thread that leads ends its own turn; it is awake, and may never have taken the lock."""
        self.is_done = True
        if not self.leads:
            self._lock.release()

    def lead(self) -> None:
        """Called once, and never after `end`."""
        self.leads = True
        self._lock.release()


class Ticket(Turn):
    """One commit on its way to the disk; the thread that made it waits for `is_done`, durable or failed, or leads the group itself."""

    __slots__ = ("checksum", "core", "error", "ops", "prev", "state")

    def __init__(self, state: State, prev: str, core: bytes, ops: list[tuple[str, str, Any]]) -> None:
        super().__init__()
        self.state = state
        self.prev = prev
        self.checksum = state.position.checksum
        self.core = core
        self.ops = ops
        self.error: StoreError | None = None

    def settle(self, error: StoreError | None = None) -> None:
        self.error = error
        self.end()


class Unit:
    """A `with store.update() as unit:` block: reads see its own changes; leaving it commits all of them or none.

    Leaving raises `StoreFull` (nothing was kept), `OutcomeUnknown` (the disk did not confirm) or `StoreReadOnly`; otherwise the
    commit survives a crash and a power cut. An exception inside discards the changes.
    """

    __slots__ = ("_abandon", "_begin", "_changes", "_finish", "committed")

    def __init__(
        self,
        begin: Callable[[], Changes],
        finish: Callable[[Changes], Position | None],
        abandon: Callable[[], None],
    ) -> None:
        self._begin = begin
        self._finish = finish
        self._abandon = abandon
        self._changes: Changes | None = None
        self.committed: Position | None = None  # after the block; None when nothing was changed

    def __enter__(self) -> "Unit":
        self._changes = self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        changes, self._changes = self._open(), None
        if kind is not None:
            self._abandon()
            return
        self.committed = self._finish(changes)

    def _open(self) -> Changes:
        if self._changes is None:
            raise RuntimeError("this unit is closed")
        return self._changes

    @property
    def position(self) -> Position:
        """What the unit builds on."""
        return self._open().state.position

    def get(self, collection: str, id: str) -> Any:
        return self._open().get(collection, id)

    def find(self, index: str, key: str) -> str | None:
        return self._open().find(index, key)

    def items(self, collection: str) -> Iterator[tuple[str, Any]]:
        return self._open().items(collection)

    def count(self, collection: str) -> int:
        return self._open().count(collection)

    def put(self, collection: str, id: str, record: Any) -> None:
        """Raises `DuplicateKey` when a unique index forbids it; the unit is then as it was before."""
        self._open().put(collection, id, record)

    def delete(self, collection: str, id: str) -> None:
        """A record that is not there stays not there."""
        self._open().delete(collection, id)
