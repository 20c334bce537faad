"""A map that never changes: every change makes a new one and shares what stayed.

The only module that knows the persistent-map library. What a file held when it was opened stays in a plain dict (the base: opening
and memory cost what the dict costs); what changed since lives in a hash array mapped trie over it. A map is safe to read
from any thread without a lock, and two maps that are the same object hold the same records.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import immutables

V = TypeVar("V")

_ABSENT: Any = object()
_DELETED: Any = object()
_Steps = tuple[tuple[int, tuple[str, ...]], ...]

STEPS_KEPT = 64
STEP_KEYS = 1000  # a bigger change is not remembered key by key

_NO_CHANGES: "immutables.Map[str, Any]" = immutables.Map()
_numbers = itertools.count()


class PersistentMap(Generic[V]):
    """str -> V. Whoever hands over *base* must not change it any more."""

    __slots__ = ("_base", "_changes", "_count", "_number", "_steps")

    def __init__(self, base: dict[str, V] | None = None) -> None:
        self._base: dict[str, V] = {} if base is None else base
        self._changes = _NO_CHANGES
        self._count = len(self._base)
        # The last few versions before this one, and the keys that changed after each. By number: who keeps one version keeps no others.
        self._steps: _Steps = ()
        self._number = next(_numbers)

    def get(self, key: str) -> V | None:
        found = self._changes.get(key, _ABSENT)
        if found is _ABSENT:
            return self._base.get(key)
        return None if found is _DELETED else found

    def __contains__(self, key: str) -> bool:
        found = self._changes.get(key, _ABSENT)
        return key in self._base if found is _ABSENT else found is not _DELETED

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for key, _ in self.items():
            yield key

    def items(self) -> Iterator[tuple[str, V]]:
        """Each key once, in no promised order."""
        changes = self._changes
        if not changes:
            yield from self._base.items()
            return
        for key, value in self._base.items():
            found = changes.get(key, _ABSENT)
            if found is _ABSENT:
                yield key, value
            elif found is not _DELETED:
                yield key, found
        for key, value in changes.items():
            if value is not _DELETED and key not in self._base:
                yield key, value

    def values(self) -> Iterator[V]:
        for _, value in self.items():
            yield value

    def changed_since(self, older: "PersistentMap[V]") -> set[str] | None:
        """The keys whose record may not be the same object in *older* (which may also be the younger); None when the two do
        not come from one base.

        A few versions apart it costs what the changes in between cost; further apart, all changes since the base was made.
        """
        if self._base is not older._base:
            return None
        changed = self._keys_since(older)
        if changed is None:
            changed = older._keys_since(self)
        if changed is None:
            changed = {key for key, value in self._changes.items() if older._changes.get(key, _ABSENT) is not value}
            changed.update(key for key in older._changes if key not in self._changes)
        return changed

    def _keys_since(self, older: "PersistentMap[V]") -> set[str] | None:
        if older._changes is self._changes:
            return set()
        changed: set[str] = set()
        for before, keys in reversed(self._steps):
            changed.update(keys)
            if before == older._number:
                return changed
        return None

    def with_changes(self, changes: Mapping[str, V | None]) -> "PersistentMap[V]":
        """The map after *changes*; None deletes. The cost is that of the changes."""
        count, before, base = self._count, self._changes, self._base
        with before.mutate() as mutation:
            for key, value in changes.items():
                found = before.get(key, _ABSENT)
                there = key in base if found is _ABSENT else found is not _DELETED
                if value is not None:
                    mutation[key] = value
                    count += not there
                elif there:
                    count -= 1
                    if key in base:
                        mutation[key] = _DELETED
                    else:
                        mutation.pop(key, None)
            changed = mutation.finish()
        new: PersistentMap[V] = PersistentMap.__new__(PersistentMap)
        new._base, new._changes, new._count, new._number = base, changed, count, next(_numbers)
        new._steps = (
            (*self._steps[1 - STEPS_KEPT :], (self._number, tuple(changes))) if len(changes) < STEP_KEYS else ()
        )
        return new
