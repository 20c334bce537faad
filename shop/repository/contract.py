"""The contract of a repository. Every implementation passes the suite in `tests/contract/`."""

from contextlib import AbstractContextManager
from typing import Protocol

from shop.units import ReadUnit, WriteUnit


class Repository(Protocol):
    """The shop's records, on the side that is primary now.

    Safe to use from many threads at once.
    """

    def view(self) -> AbstractContextManager[ReadUnit]:
        """A snapshot that never changes while it is held; what others commit meanwhile is not in it."""
        ...

    def update(self) -> AbstractContextManager[WriteUnit]:
        """Collect changes; leaving the block commits all of them or none, raising inside it discards them.

        When the block has been left, the commit survives a crash and a power cut, and what the design promises of the
        files (`db.json` shows it while it is small) holds. Raises `WritesUnavailable` when it cannot be kept; its
        message says so if the outcome is unknown.
        """
        ...

    def is_writable(self) -> bool:
        """Whether an update can be expected to succeed; `why_read_only` says why not."""
        ...

    def why_read_only(self) -> str:
        """One sentence for the page, "" while writable."""
        ...
