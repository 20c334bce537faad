"""The embedded store: persistent maps, a journal with group commit, a checkpoint. It knows nothing of shops, replicas or the web."""

from shop.store.errors import (
    DuplicateKey,
    OutcomeUnknown,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMismatch,
    StoreReadOnly,
)
from shop.store.files import OS_FILES, Files
from shop.store.journal import Commit
from shop.store.opening import (
    Schema,
    create_store,
    decode_commit,
    forked,
    is_absent,
    journal_path,
    open_store,
    read_snapshot,
)
from shop.store.state import Index, Op, Position, State
from shop.store.store import Store
from shop.store.unit import Unit

__all__ = [
    "OS_FILES",
    "Commit",
    "DuplicateKey",
    "Files",
    "Index",
    "Op",
    "OutcomeUnknown",
    "Position",
    "Schema",
    "State",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreMismatch",
    "StoreReadOnly",
    "Unit",
    "create_store",
    "decode_commit",
    "forked",
    "is_absent",
    "journal_path",
    "open_store",
    "read_snapshot",
]
