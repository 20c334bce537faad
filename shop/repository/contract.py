"""The contract of a repository. Every implementation passes the suite in `tests/contract/`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from shop.units import Position, ReadUnit, WriteUnit


class Pass(Protocol):
    """One update's way through a gate."""

    def commits(self) -> None:
        """Its block has been left without an error."""
        ...

    def leave(self, committed: Position | None) -> None:
        """It is over: durable and shown at this position, or None, nothing was written. May wait; must not raise."""
        ...


class Gate(Protocol):
    """Decides whether an update may begin now, and how long it waits after its commit. See `shop.replication.modes`."""

    def enter(self) -> Pass:
        """Called before anything is locked. Raises `WritesUnavailable`: then the update does not begin."""
        ...

    def why_closed(self) -> str:
        """One sentence while every update would be turned away, "" otherwise."""
        ...


class Repository(Protocol):
    """The shop's records, on the side that is primary now.

    Safe to use from many threads at once.
    """

    after_commit: list[Callable[[Position], None]]  # told of each commit made here, on the thread that made it

    def view(self) -> AbstractContextManager[ReadUnit]:
        """A snapshot that never changes while it is held; what others commit meanwhile is not in it.

        Raises `Unavailable` when there is nothing to be read from.
        """
        ...

    def update(self) -> AbstractContextManager[WriteUnit]:
        """Collect changes; leaving the block commits all of them or none, raising inside it discards them.

        When the block has been left, the commit survives a crash and a power cut, and what the design promises of the
        files (`db.json` shows it while it is small) holds. Raises `WritesUnavailable` when it cannot be kept; its
        message says so if the outcome is unknown. `Crossed`, one of these, says that another update was in the way
        and that this one can be made again.
        """
        ...

    def is_writable(self) -> bool:
        """Whether an update can be expected to succeed; `why_read_only` says why not."""
        ...

    def why_read_only(self) -> str:
        """One sentence for the page, "" while writable."""
        ...
