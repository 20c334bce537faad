"""Which texts have a word that begins so: an index of words for lists that are searched as they are typed.

A text is its words with single spaces before each, as `listing.searchable` makes it. Each text has a slot, and a set of texts is a
number with a bit for each slot: two sets of 100,000 are joined, cut and counted in microseconds. The texts of a rare word are a tuple of
slots instead, because a bit for everybody would be dear for one.

An index never changes; the next one is derived from it by what changed, and at the cost of that.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress

from shop.store.maps import PersistentMap

_AFTER_ALL = "\U0010ffff"  # sorts behind every letter that a word can have
_DIGITS = bytes.maketrans(b"01", b"\0\1")
_RARE_MAX = 64
_RARE_SHARE = 256  # a word is rare in fewer texts than one of so many

Bits = int
_Slots = tuple[int, ...] | Bits
Change = tuple[str, str | None, str | None]  # id, its text before and after; None where there is none


class WordIndex:
    """The words of many texts, each text under an id."""

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        self._ids: list[str] = []  # by slot
        found: dict[str, list[int]] = {}
        for slot, (id, text) in enumerate(texts):
            self._ids.append(id)
            for word in set(text.split()):
                found.setdefault(word, []).append(slot)
        self._slots = PersistentMap({id: slot for slot, id in enumerate(self._ids)})
        self._rare_max = max(_RARE_MAX, len(self._ids) // _RARE_SHARE)
        self._having = PersistentMap({word: self._kept(slots) for word, slots in found.items()})
        self._words = sorted(found)
        self.all: Bits = (1 << len(self._ids)) - 1

    def beginning(self, beginning: str) -> Bits:
        """The texts that have a word beginning with *beginning*."""
        bits: Bits = 0
        rare: list[int] = []
        words = self._words
        for word in words[bisect_left(words, beginning) : bisect_left(words, beginning + _AFTER_ALL)]:
            found = self._having.get(word)
            if isinstance(found, int):
                bits |= found
            elif found is not None:
                rare += found
        return bits | self._bits(rare)

    def set_of(self, ids: Iterable[str]) -> Bits:
        """The set of these texts."""
        return self._bits([slot for id in ids if (slot := self._slots.get(id)) is not None])

    def ids_in(self, bits: Bits) -> list[str]:
        """The texts of the set, in no promised order."""
        return list(compress(self._ids, self._flags(bits)))

    def slots_of(self, ids: Iterable[str]) -> "array[int]":
        """The slots of texts that are all in the index, in the same order."""
        return array("I", [slot for id in ids if (slot := self._slots.get(id)) is not None])

    def slot_of(self, id: str) -> int:
        """The slot of a text in the index."""
        return self._slots.get(id) or 0

    def those_in(self, bits: Bits, ids: Iterable[str], slots: Iterable[int]) -> Iterator[str]:
        """Those of *ids* that are in the set, one after the other as they are asked for; *slots* are theirs."""
        return compress(ids, map(self._flags(bits).__getitem__, slots))

    def changed(self, changes: Sequence[Change]) -> "WordIndex":
        """The index after *changes*."""
        new: WordIndex = WordIndex.__new__(WordIndex)
        new._rare_max, new.all = self._rare_max, self.all
        new._ids, new._slots = self._with_slots_for(changes)
        moved: dict[str, dict[int, bool]] = {}  # word -> slot -> whether its text has the word now
        for id, before, after in changes:
            slot = new.slot_of(id)
            old, now = set((before or "").split()), set((after or "").split())
            for word in old ^ now:
                moved.setdefault(word, {})[slot] = word in now
            new.all = new.all & ~(1 << slot) if after is None else new.all | 1 << slot
        having = {word: new._moved(self._having.get(word) or (), slots) for word, slots in moved.items()}
        new._having = self._having.with_changes(having)
        new._words = self._with_words(having)
        return new

    def _with_slots_for(self, changes: Iterable[Change]) -> tuple[list[str], PersistentMap[int]]:
        """One that was taken out has kept its slot."""
        more = [id for id, _, _ in changes if self._slots.get(id) is None]
        if not more:
            return self._ids, self._slots
        first = len(self._ids)
        return [*self._ids, *more], self._slots.with_changes({id: first + place for place, id in enumerate(more)})

    def _with_words(self, having: Mapping[str, _Slots | None]) -> list[str]:
        gone = [word for word, slots in having.items() if slots is None and self._having.get(word) is not None]
        come = [word for word, slots in having.items() if slots is not None and self._having.get(word) is None]
        if not gone and not come:
            return self._words
        words = list(self._words)
        for word in gone:
            del words[bisect_left(words, word)]
        for word in come:
            insort(words, word)
        return words

    def _moved(self, slots: _Slots, moved: Mapping[int, bool]) -> _Slots | None:
        """*slots* of one word after some came and went; None for none."""
        if isinstance(slots, int):
            for slot, is_in in moved.items():
                slots = slots | 1 << slot if is_in else slots & ~(1 << slot)
            return slots or None
        left = [slot for slot in slots if slot not in moved]
        return self._kept(left + [slot for slot, is_in in moved.items() if is_in]) or None

    def _kept(self, slots: Sequence[int]) -> _Slots:
        return tuple(slots) if len(slots) <= self._rare_max else self._bits(slots)

    def _flags(self, bits: Bits) -> bytes:
        """For each slot 1 if it is in the set, else 0."""
        return format(bits, f"0{len(self._ids)}b").encode().translate(_DIGITS)[::-1]

    def _bits(self, slots: Sequence[int]) -> Bits:
        if not slots:
            return 0
        data = bytearray(len(self._ids) // 8 + 1)
        for slot in slots:
            data[slot >> 3] |= 1 << (slot & 7)
        return int.from_bytes(data, "little")
