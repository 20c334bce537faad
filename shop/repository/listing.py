"""Lists of records kept ready: sorted, searchable, filtered, without looking at every record for each page.

A `Listing` belongs to one version of a collection and never changes; the next version derives the next listing from it by what
changed. It holds ids only. Whoever shows a page reads the records from a snapshot, so a list can never show an old price.
"""

import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import islice
from operator import and_, or_
from typing import Any, Generic, TypeVar, overload

from msgspec import Struct

from shop.repository.words import Bits, WordIndex
from shop.store.maps import PersistentMap
from shop.text import words_of

R = TypeVar("R")

SortKey = Callable[[Any], tuple[Any, ...]]
CHANGES_MAX = 1000  # above it the next listing is sorted and indexed anew
FOUND_KEPT = 32  # results of searches and filters that are kept
FEW = 300  # so many that were found are sorted; of more, the list in its order is gone through
EARLY = 480  # as far as this it is gone through for each page; beyond, once and whole


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


Condition = tuple[str, ...]  # words of a text; one of them must begin like one of these


class Listing(Generic[R]):
    """The list of one version of a collection. One that is *kept* to be asked again and again has an index of its words."""

    def __init__(self, plan: Plan[R], records: PersistentMap[R], *, is_kept: bool = False) -> None:
        self._plan = plan
        self.records = records
        self._is_kept = is_kept
        listed = [(id, record) for id, record in records.items() if plan.includes(record)]
        self._texts = PersistentMap({id: _text_of(plan, record) for id, record in listed})
        self._flagged = frozenset(id for id, record in listed if plan.is_flagged(record))
        self._sorted: dict[str, _Order] = {}
        self._words: WordIndex | None = None
        self._unflagged: Bits | None = None
        self._found: dict[tuple[Any, ...], Sequence[str]] = {}

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
        conditions = [(word, *_facets_with(word, facet_texts)) for word in words]
        if facet is not None:
            conditions.append((_facet_word(facet),))
        without_flagged = without_flagged and bool(self._flagged)
        if not conditions and not without_flagged:
            return self._in_order(sort).ids
        if not self._is_kept:
            return self._look_through(conditions, sort, without_flagged)
        key = (sort, without_flagged, *conditions)
        found = self._found.get(key)
        return _remember(self._found, key, self._look_up(conditions, sort, without_flagged)) if found is None else found

    def warm(self) -> None:
        """Make now what the first searches would have to wait for."""
        index = self._index()
        for sort in self._plan.sorts:
            self._in_order(sort).slots(index)

    def derived(self, records: PersistentMap[R]) -> "Listing[R]":
        """The list of another version of the same collection, at the cost of what changed in between."""
        changed = records.changed_since(self.records)
        if changed is None:
            return Listing(self._plan, records, is_kept=self._is_kept)
        moves = [
            (id, before, after)
            for id in changed
            for before, after in [(self._listed(self.records, id), self._listed(records, id))]
            if not (before is None and after is None)
        ]
        moved = [move for move in moves if not self._is_alike(move[1], move[2])]
        new: Listing[R] = Listing.__new__(Listing)
        new._plan, new.records, new._is_kept = self._plan, records, self._is_kept
        new._take_over_texts(self, moved)
        new._take_over_orders(self, moved)
        new._take_over_flags(self, [(id, after) for id, _, after in moves])
        is_same = not moved and new._flagged is self._flagged
        new._found = self._found if is_same else {}
        new._unflagged = self._unflagged if new._flagged is self._flagged and new._words is self._words else None
        return new

    def _look_up(self, conditions: Iterable[Condition], sort: str, without_flagged: bool) -> Sequence[str]:
        """What meets all conditions, by the index."""
        index = self._index()
        sets = [reduce(or_, map(index.beginning, condition)) for condition in conditions]
        if without_flagged:
            sets.append(self._without_flagged(index))
        found = reduce(and_, sets)
        if found.bit_count() <= FEW:
            return sorted(index.ids_in(found), key=self._key(sort, self.records))
        return _Found(index, found, self._in_order(sort))

    def _look_through(self, conditions: Iterable[Condition], sort: str, without_flagged: bool) -> Sequence[str]:
        """The same by a look at each, for who asks once."""
        texts, flagged = self._texts, self._flagged if without_flagged else frozenset()
        beginnings = [tuple(map(needle, condition)) for condition in conditions]
        found = [
            id
            for id, text in texts.items()
            if id not in flagged and all(any(one in text for one in condition) for condition in beginnings)
        ]
        return sorted(found, key=self._key(sort, self.records))

    def _index(self) -> WordIndex:
        # Two threads may make it at the same time: that costs work, and both are right.
        words = self._words
        if words is None:
            words = self._words = WordIndex(self._texts.items())
        return words

    def _without_flagged(self, index: WordIndex) -> Bits:
        unflagged = self._unflagged
        if unflagged is None:
            unflagged = self._unflagged = index.all & ~index.set_of(self._flagged)
        return unflagged

    def _in_order(self, sort: str) -> "_Order":
        order = self._sorted.get(sort)
        if order is None:
            order = self._sorted[sort] = _Order(sorted(self._texts, key=self._key(sort, self.records)))
        return order

    def _key(self, sort: str, records: PersistentMap[R]) -> Callable[[str], tuple[Any, ...]]:
        key = self._plan.sorts[sort]
        return lambda id: key(records.get(id))

    def _listed(self, records: PersistentMap[R], id: str) -> R | None:
        record = records.get(id)
        return record if record is not None and self._plan.includes(record) else None

    def _is_alike(self, before: R | None, after: R | None) -> bool:
        return before is not None and after is not None and self._plan.is_listed_alike(before, after)

    def _take_over_texts(self, old: "Listing[R]", moved: Sequence[tuple[str, R | None, R | None]]) -> None:
        changes = [
            (id, before, after)
            for id, _, record in moved
            for before, after in [(old._texts.get(id), None if record is None else _text_of(self._plan, record))]
            if before != after
        ]
        self._texts, self._words = old._texts, old._words
        if changes:
            self._texts = old._texts.with_changes({id: text for id, _, text in changes})
            is_much = len(changes) > CHANGES_MAX
            self._words = old._words.changed(changes) if old._words is not None and not is_much else None

    def _take_over_orders(self, old: "Listing[R]", moved: Sequence[tuple[str, R | None, R | None]]) -> None:
        if not moved:
            self._sorted = old._sorted
        elif len(moved) > CHANGES_MAX:
            self._sorted = {}
        else:
            self._sorted = {sort: self._moved(old, sort, moved) for sort in list(old._sorted)}

    def _moved(self, old: "Listing[R]", sort: str, moved: Sequence[tuple[str, R | None, R | None]]) -> "_Order":
        order, key = old._sorted[sort].copy(with_slots=self._words is not None), self._plan.sorts[sort]
        old_key, new_key = self._key(sort, old.records), self._key(sort, self.records)
        for _, before, _ in moved:
            if before is not None:
                order.take_out(bisect_left(order.ids, key(before), key=old_key))
        for id, _, after in moved:
            if after is not None:
                order.put_in(bisect_left(order.ids, key(after), key=new_key), id, self._words)
        return order

    def _take_over_flags(self, old: "Listing[R]", changed: Iterable[tuple[str, R | None]]) -> None:
        flags = [(id, after is not None and self._plan.is_flagged(after)) for id, after in changed]
        self._flagged = old._flagged
        if any(is_flagged != (id in old._flagged) for id, is_flagged in flags):
            flagged = {id for id, is_flagged in flags if is_flagged}
            self._flagged = old._flagged.difference(id for id, _ in flags) | flagged


class _Order:
    """All of a list in one order; beside the ids, once they are asked for, their slots in its index."""

    def __init__(self, ids: list[str], slots: "array[int] | None" = None) -> None:
        self.ids = ids
        self._slots = slots

    def slots(self, index: WordIndex) -> "array[int]":
        slots = self._slots
        if slots is None:
            slots = self._slots = index.slots_of(self.ids)
        return slots

    def copy(self, *, with_slots: bool) -> "_Order":
        slots = self._slots
        return _Order(list(self.ids), slots[:] if with_slots and slots is not None else None)

    def take_out(self, place: int) -> None:
        del self.ids[place]
        if self._slots is not None:
            del self._slots[place]

    def put_in(self, place: int, id: str, index: WordIndex | None) -> None:
        self.ids.insert(place, id)
        if self._slots is not None and index is not None:
            self._slots.insert(place, index.slot_of(id))


class _Found(Sequence[str]):
    """Many that were found, in the order of a list that holds them and others; counted at once, gone through as far as a page needs."""

    def __init__(self, index: WordIndex, found: Bits, order: _Order) -> None:
        self._all: Callable[[], Iterable[str]] = lambda: index.those_in(found, order.ids, order.slots(index))
        self._count = found.bit_count()
        self._whole: list[str] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if self._whole is None and isinstance(place, slice) and 0 <= place.start <= place.stop <= EARLY:
            return list(islice(self._all(), place.start, place.stop))
        if self._whole is None:
            self._whole = list(self._all())
        return self._whole[place]


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
                listing = Listing(self._plan, records, is_kept=True)
            elif listing.records is not records:
                listing = listing.derived(records)
            self._listing = listing
            return listing


def _text_of(plan: Plan[R], record: R) -> str:
    """What is searched of a record; its facet is one more word, which nobody can type."""
    return searchable(plan.text(record)) + needle(_facet_word(plan.facet(record)))


def _facet_word(facet: str) -> str:
    return f"\0{facet}\0"


def _facets_with(word: str, facet_texts: Mapping[str, str]) -> Condition:
    begin = needle(word)
    return tuple([_facet_word(facet) for facet, text in facet_texts.items() if begin in text])


def _remember(found: dict[tuple[Any, ...], Sequence[str]], key: tuple[Any, ...], ids: Sequence[str]) -> Sequence[str]:
    if len(found) >= FOUND_KEPT:
        found.clear()
    found[key] = ids
    return ids
