"""Lists of records kept ready: sorted, searchable, filtered, without looking at every record for each page.

A `Listing` belongs to one version of a collection and never changes; the next version derives the next listing from it by what
changed. It holds ids only. Whoever shows a page reads the records from a snapshot, so a list can never show an old price.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from shop.store.maps import PersistentMap
from shop.text import words_of

R = TypeVar("R")

SortKey = Callable[[Any], tuple[Any, ...]]
FOUND_KEPT = 32  # results of searches and filters that are kept, of at most the whole list each


class Plan(Struct, Generic[R], frozen=True, kw_only=True):
    """What a listing is made of."""

    includes: Callable[[R], bool]  # whether a record is in the list at all
    sorts: Mapping[str, SortKey]  # name -> key; every key ends in the id, so that no two are equal
    text: Callable[[R], str]  # what a search looks through
    facet: Callable[[R], str]  # the one value a list can be narrowed to
    is_listed_alike: Callable[[R, R], bool]  # whether a change leaves place, text and facet as they were
    is_flagged: Callable[[R], bool]  # what a list can be had without; may change often


def searchable(text: str) -> str:
    """*text* so that `needle(word) in searchable(text)` tells whether one of its words begins with *word*."""
    return " " + " ".join(words_of(text))


def needle(word: str) -> str:
    return " " + word


class Listing(Generic[R]):
    """The list of one version of a collection."""

    def __init__(self, plan: Plan[R], records: PersistentMap[R]) -> None:
        self._plan = plan
        self.records = records
        listed = [(id, record) for id, record in records.items() if plan.includes(record)]
        self._texts = {id: searchable(plan.text(record)) for id, record in listed}
        self._facets = {id: plan.facet(record) for id, record in listed}
        self._flagged = frozenset(id for id, record in listed if plan.is_flagged(record))
        self._sorted: dict[str, list[str]] = {}
        self._found: dict[tuple[Any, ...], Sequence[str]] = {}
        self._unflagged: dict[tuple[Any, ...], Sequence[str]] = {}

    def ids(
        self,
        *,
        sort: str,
        words: Sequence[str],
        facet: str | None,
        without_flagged: bool,
        facet_texts: Mapping[str, str],
    ) -> Sequence[str]:
        """Those that match, in order. Each of *words* begins a word of the record's text or of its facet's."""
        word_facets = tuple((word, _facets_with(word, facet_texts)) for word in words)
        key = (sort, word_facets, facet)
        if not without_flagged:
            return self._ids(key)
        found = self._unflagged.get(key)
        if found is None:
            flagged = self._flagged
            found = _remember(self._unflagged, key, [id for id in self._ids(key) if id not in flagged])
        return found

    def derived(self, records: PersistentMap[R]) -> "Listing[R]":
        """The list of another version of the same collection, at the cost of what changed in between."""
        changed = records.changed_since(self.records)
        if changed is None:
            return Listing(self._plan, records)
        moves = [
            (id, before, after)
            for id in changed
            for before, after in [(self._listed(self.records, id), self._listed(records, id))]
            if not (before is None and after is None)
        ]
        moved = [move for move in moves if not self._is_alike(move[1], move[2])]
        new: Listing[R] = Listing.__new__(Listing)
        new._plan, new.records = self._plan, records
        new._take_over(self, moved)
        new._flag(self, [(id, after) for id, _, after in moves])
        return new

    def _ids(self, key: tuple[Any, ...]) -> Sequence[str]:
        sort, word_facets, facet = key
        if not word_facets and facet is None:
            return self._in_order(sort)
        found = self._found.get(key)
        if found is None:
            found = _remember(self._found, key, self._search(self._in_order(sort), word_facets, facet))
        return found

    def _search(
        self, ids: Sequence[str], word_facets: Iterable[tuple[str, frozenset[str]]], facet: str | None
    ) -> Sequence[str]:
        texts, facets = self._texts, self._facets
        if facet is not None:
            ids = [id for id in ids if facets[id] == facet]
        for word, with_word in word_facets:
            begin = needle(word)
            if with_word:
                ids = [id for id in ids if begin in texts[id] or facets[id] in with_word]
            else:
                ids = [id for id in ids if begin in texts[id]]
        return ids

    def _in_order(self, sort: str) -> list[str]:
        ids = self._sorted.get(sort)
        if ids is None:
            key = self._key(sort, self.records)
            ids = self._sorted[sort] = sorted(self._texts, key=key)
        return ids

    def _key(self, sort: str, records: PersistentMap[R]) -> Callable[[str], tuple[Any, ...]]:
        key = self._plan.sorts[sort]
        return lambda id: key(records.get(id))

    def _listed(self, records: PersistentMap[R], id: str) -> R | None:
        record = records.get(id)
        return record if record is not None and self._plan.includes(record) else None

    def _is_alike(self, before: R | None, after: R | None) -> bool:
        return before is not None and after is not None and self._plan.is_listed_alike(before, after)

    def _take_over(self, old: "Listing[R]", moved: Sequence[tuple[str, R | None, R | None]]) -> None:
        if not moved:
            self._texts, self._facets, self._sorted, self._found = old._texts, old._facets, old._sorted, old._found
            return
        self._texts, self._facets, self._found = dict(old._texts), dict(old._facets), {}
        for id, _, after in moved:
            if after is None:
                del self._texts[id], self._facets[id]
            else:
                self._texts[id], self._facets[id] = searchable(self._plan.text(after)), self._plan.facet(after)
        self._sorted = {} if len(moved) > 1000 else {sort: self._moved(old, sort, moved) for sort in list(old._sorted)}

    def _moved(self, old: "Listing[R]", sort: str, moved: Sequence[tuple[str, R | None, R | None]]) -> list[str]:
        ids, key = list(old._sorted[sort]), self._plan.sorts[sort]
        old_key, new_key = self._key(sort, old.records), self._key(sort, self.records)
        for _, before, _ in moved:
            if before is not None:
                del ids[bisect_left(ids, key(before), key=old_key)]
        for id, _, after in moved:
            if after is not None:
                ids.insert(bisect_left(ids, key(after), key=new_key), id)
        return ids

    def _flag(self, old: "Listing[R]", changed: Iterable[tuple[str, R | None]]) -> None:
        flagged = set(old._flagged)
        for id, after in changed:
            if after is not None and self._plan.is_flagged(after):
                flagged.add(id)
            else:
                flagged.discard(id)
        is_same = flagged == old._flagged
        self._flagged = old._flagged if is_same else frozenset(flagged)
        self._unflagged = old._unflagged if is_same and self._found is old._found else {}


class Newest(Generic[R]):
    """The listing of whichever version was asked for last. Safe from many threads; they wait for each other only to derive."""

    def __init__(self, plan: Plan[R]) -> None:
        self._plan = plan
        self._listing: Listing[R] | None = None
        self._lock = threading.Lock()

    def of(self, records: PersistentMap[R]) -> Listing[R]:
        listing = self._listing
        if listing is not None and listing.records is records:
            return listing
        with self._lock:
            listing = self._listing
            if listing is None:
                listing = Listing(self._plan, records)
            elif listing.records is not records:
                listing = listing.derived(records)
            self._listing = listing
            return listing


def _facets_with(word: str, facet_texts: Mapping[str, str]) -> frozenset[str]:
    begin = needle(word)
    return frozenset(facet for facet, text in facet_texts.items() if begin in text)


def _remember(found: dict[tuple[Any, ...], Sequence[str]], key: tuple[Any, ...], ids: Sequence[str]) -> Sequence[str]:
    if len(found) >= FOUND_KEPT:
        found.clear()
    found[key] = ids
    return ids
