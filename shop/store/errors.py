"""Every way the store says no. The text of each is one line for an operator: what happened, where, what to do."""

from pathlib import Path


class StoreError(Exception):
    """The store cannot do what was asked."""


class StoreDamaged(StoreError):
    """A file holds something that this store did not write there; nothing of it is served.

    `path` and `offset` (bytes; None when the whole file is meant) say where.
    """

    def __init__(self, path: Path, offset: int | None, what: str) -> None:
        where = f"{path}" if offset is None else f"{path} at byte {offset}"
        super().__init__(f"{where}: {what}")
        self.path = path
        self.offset = offset


class StoreMismatch(StoreError):
    """Commits were offered that do not continue this store's history."""


class StoreReadOnly(StoreError):
    """The store can be read, not written; the text says why and what ends it."""


class StoreFull(StoreError):
    """The commit could not be appended (no space, quota, file size limit); nothing of it was kept. Trying again is right."""


class OutcomeUnknown(StoreReadOnly):
    """The commit was appended but the disk did not confirm it: after a restart it is there once, or not at all."""


class DuplicateKey(StoreError):
    """Another record has this key in a unique index."""

    def __init__(self, index: str, key: str) -> None:
        super().__init__(f"{index}: {key!r} is taken")
        self.index = index
        self.key = key
