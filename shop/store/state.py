"""The database as a value: one state, and the changes that lead to the next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from shop.store.errors import DuplicateKey
from shop.store.maps import PersistentMap


class Position(NamedTuple):
    """How far a copy has come. Equal positions mean equal history."""

    timeline: int  # grows with each promotion
    lsn: int  # commits since the store was created; used again after a fork
    checksum: str  # chained over the commits, so that a fork shows


class Index(NamedTuple):
    """A unique index: `key(record)` leads to the record's id; a record whose key is None is left out."""

    name: str
    collection: str
    key: Callable[[Any], str | None]


class Op(NamedTuple):
    """One changed record; None when it was deleted."""

    collection: str
    id: str
    record: Any


class Change(Protocol):
    """`Op`, or what a decoder made of one."""

    @property
    def collection(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def record(self) -> Any: ...


class State:
    """All records at one position. It never changes; holding one holds a consistent snapshot."""

    __slots__ = ("_indexes", "_maps", "forks", "position")

    def __init__(
        self,
        position: Position,
        maps: Mapping[str, PersistentMap[Any]],
        indexes: Mapping[str, PersistentMap[str]],
        forks: tuple[Position, ...] = (),
    ) -> None:
        self.position = position
        self.forks = forks  # the last position of each timeline that was left, oldest first
        self._maps = maps
        self._indexes = indexes

    def map(self, collection: str) -> PersistentMap[Any]:
        """A collection's records by id; the same object as long as nothing in it changed."""
        return self._maps[collection]

    def get(self, collection: str, id: str) -> Any:
        return self._maps[collection].get(id)

    def find(self, index: str, key: str) -> str | None:
        """The id of the record with this key, or None."""
        return self._indexes[index].get(key)

    def items(self, collection: str) -> Iterator[tuple[str, Any]]:
        return self._maps[collection].items()

    def count(self, collection: str) -> int:
        return len(self._maps[collection])

    def collections(self) -> list[str]:
        return list(self._maps)

    def on_timeline(self, position: Position) -> "State":
        """The same records at *position*, on a higher timeline; the position left behind becomes a fork."""
        return State(position, self._maps, self._indexes, (*self.forks, self.position))


def build_state(
    position: Position,
    collections: Mapping[str, dict[str, Any]],
    indexes: Mapping[str, list[Index]],
    forks: tuple[Position, ...] = (),
) -> State:
    """A state over plain dicts, which must not be changed afterwards; the indexes are made here."""
    found: dict[str, PersistentMap[str]] = {}
    for collection, its_indexes in indexes.items():
        for index in its_indexes:
            found[index.name] = PersistentMap(_index(index, collections[collection]))
    return State(position, {name: PersistentMap(records) for name, records in collections.items()}, found, forks)


def _index(index: Index, records: dict[str, Any]) -> dict[str, str]:
    ids: dict[str, str] = {}
    for id, record in records.items():
        key = index.key(record)
        if key is not None:
            ids[key] = id
    return ids


class Replayed:
    """Operations `(collection, id, record)`, made while one goes through them: a batch is kept as what it is anyway, a dict."""

    __slots__ = ("_maps",)

    def __init__(self, maps: Mapping[str, Mapping[str, Any]]) -> None:
        self._maps = maps

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        for collection, changed in self._maps.items():
            for id, record in changed.items():
                yield collection, id, record


class Changes:
    """What is to become of a state: collected, readable at once, applied in one step."""

    __slots__ = ("_changed_indexes", "_changed_maps", "_indexes", "ops", "state")

    def __init__(self, state: State, indexes: Mapping[str, list[Index]]) -> None:
        self.state = state
        self._indexes = indexes
        self._changed_maps: dict[str, dict[str, Any]] = {}
        self._changed_indexes: dict[str, dict[str, str | None]] = {}
        self.ops: dict[tuple[str, str], Any] = {}

    def get(self, collection: str, id: str) -> Any:
        changed = self._changed_maps.get(collection)
        if changed is not None and id in changed:
            return changed[id]
        return self.state.get(collection, id)

    def find(self, index: str, key: str) -> str | None:
        changed = self._changed_indexes.get(index)
        if changed is not None and key in changed:
            return changed[key]
        return self.state.find(index, key)

    def items(self, collection: str) -> Iterator[tuple[str, Any]]:
        changed = self._changed_maps.get(collection)
        return (self.state.map(collection).with_changes(changed) if changed else self.state.map(collection)).items()

    def count(self, collection: str) -> int:
        changed = self._changed_maps.get(collection)
        return len(self.state.map(collection).with_changes(changed)) if changed else self.state.count(collection)

    def put(self, collection: str, id: str, record: Any) -> None:
        """Raises `DuplicateKey` before anything is changed."""
        self._change_indexes(collection, id, record)
        self._changed_maps.setdefault(collection, {})[id] = record
        self.ops[collection, id] = record

    def delete(self, collection: str, id: str) -> None:
        if self.get(collection, id) is None:
            return
        self._change_indexes(collection, id, None)
        self._changed_maps.setdefault(collection, {})[id] = None
        self.ops[collection, id] = None

    def replay(self, ops: Sequence[Change]) -> None:
        """All the ops of one commit at once. Raises `DuplicateKey`, and is then of no use any more.

        The unique keys are freed first and taken afterwards: a commit holds only how its records ended, and two of them may have
        exchanged their keys.
        """
        if self._indexes:
            indexed = [op for op in ops if op.collection in self._indexes]
            for op in indexed:
                self._free_keys(op.collection, op.id)
            for op in indexed:
                self._take_keys(op.collection, op.id, op.record)
        maps = self._changed_maps
        for op in ops:
            if op.collection in maps:
                maps[op.collection][op.id] = op.record
            else:
                maps[op.collection] = {op.id: op.record}

    def replayed(self) -> "Replayed":
        """What all that was replayed came to: each record once, as it ended."""
        return Replayed(self._changed_maps)

    def _free_keys(self, collection: str, id: str) -> None:
        old = self.get(collection, id)
        for index in self._indexes[collection]:
            key = None if old is None else index.key(old)
            if key is not None and self.find(index.name, key) == id:
                self._changed_indexes.setdefault(index.name, {})[key] = None

    def _take_keys(self, collection: str, id: str, record: Any) -> None:
        for index in self._indexes[collection]:
            key = None if record is None else index.key(record)
            if key is None:
                continue
            if self.find(index.name, key) not in (None, id):
                raise DuplicateKey(index.name, key)
            self._changed_indexes.setdefault(index.name, {})[key] = id

    def _change_indexes(self, collection: str, id: str, record: Any) -> None:
        its_indexes = self._indexes.get(collection)
        if not its_indexes:
            return
        old = self.get(collection, id)
        moves: list[tuple[str, str | None, str | None]] = []
        for index in its_indexes:
            before = None if old is None else index.key(old)
            after = None if record is None else index.key(record)
            if before == after:
                continue
            if after is not None and self.find(index.name, after) not in (None, id):
                raise DuplicateKey(index.name, after)
            moves.append((index.name, before, after))
        for name, before, after in moves:
            changed = self._changed_indexes.setdefault(name, {})
            if before is not None:
                changed[before] = None
            if after is not None:
                changed[after] = id

    def applied(self, position: Position) -> State:
        """The next state; a timeline that grew leaves a fork behind."""
        maps = dict(self.state._maps)
        for collection, changed in self._changed_maps.items():
            maps[collection] = maps[collection].with_changes(changed)
        indexes = self.state._indexes
        if self._changed_indexes:
            indexes = dict(indexes)
            for name, keys in self._changed_indexes.items():
                indexes[name] = indexes[name].with_changes(keys)
        forks = self.state.forks
        if position.timeline > self.state.position.timeline:
            forks = (*forks, self.state.position)
        return State(position, maps, indexes, forks)
