"""The demo goods: what a new shop has on its shelves."""

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from shop.demo.goods import GOODS, SHELVES
from shop.demo.seed import seed
from shop.models import DESCRIPTION_LENGTH_MAX, NAME_LENGTH_MAX, Category, Product
from shop.repository.embedded import EmbeddedRepository
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import Store, create_store
from shop.units import CatalogQuery

STATIC = Path(__file__).resolve().parents[2] / "static"
PICTURES = [STATIC / f"pictures/{good.sku.lower()}.svg" for good in GOODS]


def products(store: Store) -> list[Product]:
    return [product for _, product in store.state.items("products")]


def test_seeding_fills_an_empty_shop_in_one_commit(repository, store, clock):
    created = seed(repository, clock)

    assert created == store.state.count("products") >= 30
    assert store.state.count("categories") == 6
    assert store.position.lsn == 1


def test_every_category_has_something_to_look_at(repository, store, clock):
    seed(repository, clock)

    in_category = Counter(product.category_id for product in products(store))

    assert set(in_category) == {id for id, _ in store.state.items("categories")}
    assert min(in_category.values()) >= 4


def test_one_product_is_sold_out_one_is_nearly_so_and_the_others_last_for_many_buyers(repository, store, clock):
    seed(repository, clock)

    stocks = sorted(product.stock for product in products(store))

    assert stocks[:2] == [0, 3]
    assert stocks[2] >= 500


def test_ids_skus_slugs_and_names_are_unique():
    for field in ("sku", "slug", "name"):
        assert len({getattr(good, field) for good in GOODS}) == len(GOODS), field
    assert len({shelf.slug for shelf in SHELVES}) == len(SHELVES)


def test_ids_and_links_are_made_of_plain_letters(repository, store, clock):
    seed(repository, clock)

    for product in products(store):
        assert product.id == f"p-{product.sku.lower()}"
        assert product.sku == product.sku.upper()
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", product.slug)


def test_names_texts_and_prices_are_within_the_limits_of_the_shop():
    for good in GOODS:
        assert 0 < len(good.name) <= NAME_LENGTH_MAX
        assert 80 <= len(good.description) <= DESCRIPTION_LENGTH_MAX
        assert 500 <= good.price_cents <= 50_000
        assert not any(line != line.strip() or "  " in line for line in good.description.split("\n"))


def test_seeding_is_the_same_each_time(repository, store, clock, tmp_path):
    (tmp_path / "other").mkdir()
    other = create_store(tmp_path / "other" / "db.json", SCHEMA, indexes=INDEXES, clock=clock)

    seed(repository, clock)
    seed(EmbeddedRepository(other), clock)

    for collection in ("products", "categories"):
        assert dict(store.state.items(collection)) == dict(other.state.items(collection))
    other.close()


def test_a_second_seed_does_nothing(repository, store, clock):
    seed(repository, clock)
    before = store.position

    assert seed(repository, clock) == 0
    assert store.position == before


def test_a_shop_with_a_category_of_its_own_is_left_alone(repository, store, clock):
    with repository.update() as unit:
        unit.put_category(Category(id="c-own", slug="own", name="Own"))

    assert seed(repository, clock) == 0
    assert not products(store)


def test_the_newest_product_is_the_last_of_the_table(repository, clock):
    seed(repository, clock)

    with repository.view() as unit:
        newest = [product.sku for product in unit.catalog(CatalogQuery(sort="newest", size=100)).items]

    assert newest == [good.sku for good in reversed(GOODS)]


def test_each_product_names_the_picture_drawn_for_it(repository, store, clock):
    seed(repository, clock)

    for product in products(store):
        assert (STATIC / product.picture).is_file(), product.sku


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_a_square_drawing_that_loads_and_runs_nothing(path):
    root = ElementTree.fromstring(path.read_bytes())

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox") == "0 0 400 400"
    assert path.stat().st_size <= 4096
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        assert name in {"svg", "g", "defs", "use", "clipPath", "path", "rect", "circle", "ellipse"}, name
        for attribute, value in element.attrib.items():
            assert attribute != "style"
            assert not attribute.startswith("on"), attribute
            if attribute.endswith("href"):
                assert value[0] == "#"
                assert value[1:] in ids
            if "url(" in value:
                assert value.startswith("url(#")
                assert value[5:-1] in ids
