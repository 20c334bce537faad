"""Two versions of a map know what changed between them; lists are kept up to date by it."""

import random
import weakref

import pytest

from shop.store.maps import STEP_KEYS, STEPS_KEPT, PersistentMap


def really_changed(one: PersistentMap[int], other: PersistentMap[int]) -> set[str]:
    return {key for key in {*one, *other} if one.get(key) is not other.get(key)}


@pytest.mark.parametrize("seed", range(20))
def test_changed_keys_are_all_that_changed_whichever_of_two_versions_is_asked(seed: int) -> None:
    chance = random.Random(seed)
    versions = [PersistentMap({f"k{number}": 10_000 + number for number in range(20)})]
    for step in range(STEPS_KEPT * 2):
        # Not always from the newest: an update that failed leaves a branch that nobody follows.
        parent = versions[-1] if chance.random() < 0.9 else chance.choice(versions[-5:])
        keys = chance.sample([f"k{number}" for number in range(30)], chance.randrange(1, 4))
        changes = {key: None if chance.random() < 0.3 else 20_000 + step for key in keys}
        versions.append(parent.with_changes(changes))

    for _ in range(300):
        one, other = chance.choice(versions), chance.choice(versions)
        changed = one.changed_since(other)
        assert changed is not None
        assert changed >= really_changed(one, other)


def test_nothing_changed_since_itself() -> None:
    records = PersistentMap({"a": 1}).with_changes({"b": 2})

    assert records.changed_since(records) == set()


def test_one_step_back_costs_one_step() -> None:
    older = PersistentMap({f"k{number}": number for number in range(100)}).with_changes(
        {f"k{n}": -n for n in range(50)}
    )
    newer = older.with_changes({"k7": 1000})

    assert newer.changed_since(older) == older.changed_since(newer) == {"k7"}


def test_a_version_that_is_kept_keeps_none_of_those_before_it() -> None:
    before = PersistentMap({"a": 1}).with_changes({"b": 2})
    its_changes = weakref.ref(before._changes)
    newer = before.with_changes({"b": 3})
    assert newer.changed_since(before) == {"b"}

    del before

    assert its_changes() is None
    assert dict(newer.items()) == {"a": 1, "b": 3}


def test_a_big_step_is_compared_instead_of_remembered() -> None:
    older: PersistentMap[int] = PersistentMap()
    newer = older.with_changes({f"k{number}": number for number in range(STEP_KEYS)})

    assert newer.changed_since(older) == really_changed(newer, older)


def test_maps_of_two_stores_are_not_compared() -> None:
    assert PersistentMap({"a": 1}).changed_since(PersistentMap({"a": 1})) is None
