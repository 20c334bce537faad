"""A list that is kept and derived over many edits is the list that would be made anew, by whatever it is searched."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from shop.models import Product
from shop.repository import listing
from shop.repository.embedded import _SOLD
from shop.repository.listing import Listing, Newest, searchable
from shop.repository.words import WordIndex
from shop.store.maps import PersistentMap
from tests.builders import a_product

WORDS = "tea teapot pot kettle ketch mug muggle é1 12 120 a an ant".split()
CATEGORIES = ("c1", "c2", "")
FACET_TEXTS = {"c1": searchable("Tea things"), "c2": searchable("Ants")}


def some_product(rng: random.Random, number: int) -> Product:
    return a_product(
        id=f"p{number}",
        name=" ".join(rng.choices(WORDS, k=3)),
        sku=f"S-{number}",
        category_id=rng.choice(CATEGORIES),
        price_cents=rng.randrange(100, 120),
        stock=rng.choice((0, 1, 20)),
        created_at=f"2026-01-0{rng.randrange(1, 9)}T00:00:00Z",
        is_archived=rng.random() < 0.1,
    )


def edits(rng: random.Random, count: int) -> Iterator[PersistentMap[Product]]:
    """Versions of a collection: new products, and others changed in every way, sold out, archived, deleted and back."""
    records: PersistentMap[Product] = PersistentMap({f"p{n}": some_product(rng, n) for n in range(700)})
    yield records
    for _ in range(count):
        changes: dict[str, Product | None] = {}
        for _ in range(rng.choice((1, 3, 30))):
            number = rng.randrange(750)
            known = records.get(f"p{number}")
            changes[f"p{number}"] = rng.choice(
                (some_product(rng, number), None, replace(known, stock=0) if known else None)
            )
        records = records.with_changes(changes)
        yield records


def questions(rng: random.Random, count: int) -> Iterator[Mapping[str, Any]]:
    for _ in range(count):
        words = [word[: rng.randrange(1, len(word) + 1)] for word in rng.choices(WORDS, k=rng.randrange(4))]
        yield {
            "sort": rng.choice(list(_SOLD.sorts)),
            "words": [searchable(word).strip() for word in words],
            "facet": rng.choice((None, None, *CATEGORIES, "unknown")),
            "without_flagged": rng.random() < 0.4,
            "facet_texts": FACET_TEXTS,
        }


@pytest.mark.parametrize("seed", range(4))
def test_a_list_over_many_edits_answers_like_one_made_anew(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "FEW", 20)
    monkeypatch.setattr(listing, "EARLY", 50)
    monkeypatch.setattr(listing, "CHANGES_MAX", 25)
    rng = random.Random(seed)
    newest: Newest[Product] = Newest(_SOLD)

    for records in edits(rng, 25):
        kept, anew = newest.of(records), Listing(_SOLD, records)
        for question in questions(rng, 12):
            found, expected = kept.ids(**question), list(anew.ids(**question))
            assert len(found) == len(expected), question
            assert list(found[0:24]) == expected[:24], question
            assert list(found[24:48]) == expected[24:48], question
            assert list(found[0 : len(found)]) == expected, question


def test_a_sale_shares_the_index_and_an_edit_of_the_price_does_too() -> None:
    records: PersistentMap[Product] = PersistentMap({"pot": a_product(id="pot", name="Teapot", stock=9)})
    first = Listing(_SOLD, records, is_kept=True)
    first.warm()
    pot = records.get("pot")
    assert pot is not None

    sold = first.derived(records.with_changes({"pot": replace(pot, stock=8)}))
    dearer = sold.derived(sold.records.with_changes({"pot": replace(pot, price_cents=9)}))
    renamed = dearer.derived(dearer.records.with_changes({"pot": replace(pot, name="Kettle")}))

    assert first._words is not None
    assert sold._words is first._words
    assert dearer._words is first._words
    assert renamed._words is not first._words
    assert renamed.ids(sort="name", words=["ket"], facet=None, without_flagged=False, facet_texts={}) == ["pot"]
    assert first.ids(sort="name", words=["teap"], facet=None, without_flagged=False, facet_texts={}) == ["pot"]


@pytest.mark.parametrize("count", [1, 64, 65, 700])
def test_an_index_finds_beginnings_of_rare_and_of_common_words_and_forgets_them(count: int) -> None:
    texts = {f"t{n}": f" common word{n} {'odd' if n % 2 else 'even'}" for n in range(count)}
    index = WordIndex(texts.items())

    assert len(index.ids_in(index.beginning("com"))) == count
    assert index.ids_in(index.beginning("word0")) == ["t0"]
    assert index.beginning("mmon") == 0

    without = index.changed([(id, text, None) for id, text in texts.items()])
    assert without.beginning("") == without.all == 0
    assert len(index.ids_in(index.beginning(""))) == count
    again = without.changed([("t0", None, " back"), ("new", None, " common")])
    assert sorted(again.ids_in(again.all)) == ["new", "t0"]
    assert again.ids_in(again.beginning("back")) == ["t0"]
