"""The demo goods: what a new shop has on its shelves."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from shop.clock import ManualClock
from shop.demo.goods import GOODS, SHELVES
from shop.demo.seed import seed
from shop.models import DESCRIPTION_LENGTH_MAX, NAME_LENGTH_MAX, Category, Product

STATIC = Path(__file__).resolve().parents[2] / "static"
PICTURES = [STATIC / f"pictures/{good.sku.lower()}.svg" for good in GOODS]


class ShelvesOnly:
    """As much of a repository as seeding needs; counts the commits."""

    def __init__(self) -> None:
        self.products: dict[str, Product] = {}
        self.categories: dict[str, Category] = {}
        self.commits = 0

    @contextmanager
    def view(self) -> Iterator[Any]:
        yield self

    @contextmanager
    def update(self) -> Iterator[Any]:
        yield self
        self.commits += 1

    def counts(self) -> Mapping[str, int]:
        return {"products": len(self.products), "categories": len(self.categories), "orders": 0}

    def put_product(self, product: Product) -> None:
        self.products[product.id] = product

    def put_category(self, category: Category) -> None:
        self.categories[category.id] = category


@pytest.fixture
def shelves() -> ShelvesOnly:
    return ShelvesOnly()


def test_seeding_fills_an_empty_shop_in_one_commit(shelves):
    created = seed(shelves, ManualClock())

    assert created == len(shelves.products) >= 30
    assert len(shelves.categories) == 6
    assert shelves.commits == 1


def test_every_category_has_something_to_look_at(shelves):
    seed(shelves, ManualClock())

    in_category = Counter(product.category_id for product in shelves.products.values())

    assert set(in_category) == set(shelves.categories)
    assert min(in_category.values()) >= 4


def test_one_product_is_sold_out_one_is_nearly_so_and_the_others_last_for_many_buyers(shelves):
    seed(shelves, ManualClock())

    stocks = sorted(product.stock for product in shelves.products.values())

    assert stocks[:2] == [0, 3]
    assert stocks[2] >= 500


def test_ids_skus_slugs_and_names_are_unique():
    for field in ("sku", "slug", "name"):
        assert len({getattr(good, field) for good in GOODS}) == len(GOODS), field
    assert len({shelf.slug for shelf in SHELVES}) == len(SHELVES)


def test_ids_and_links_are_made_of_plain_letters(shelves):
    seed(shelves, ManualClock())

    for product in shelves.products.values():
        assert product.id == f"p-{product.sku.lower()}"
        assert product.sku == product.sku.upper()
        assert product.slug.replace("-", "").isascii()
        assert product.slug.replace("-", "").isalnum()


def test_names_texts_and_prices_are_within_the_limits_of_the_shop():
    for good in GOODS:
        assert 0 < len(good.name) <= NAME_LENGTH_MAX
        assert 80 <= len(good.description) <= DESCRIPTION_LENGTH_MAX
        assert 500 <= good.price_cents <= 50_000
        assert not any(line != line.strip() or "  " in line for line in good.description.split("\n"))


def test_seeding_is_the_same_each_time(shelves):
    other = ShelvesOnly()

    seed(shelves, ManualClock())
    seed(other, ManualClock())

    assert shelves.products == other.products
    assert shelves.categories == other.categories


def test_a_second_seed_does_nothing(shelves):
    seed(shelves, ManualClock())
    before = dict(shelves.products)

    assert seed(shelves, ManualClock()) == 0
    assert shelves.products == before
    assert shelves.commits == 1


def test_a_shop_with_a_category_of_its_own_is_left_alone(shelves):
    shelves.put_category(Category(id="c-own", slug="own", name="Own"))

    assert seed(shelves, ManualClock()) == 0
    assert not shelves.products


def test_the_newest_product_is_the_last_of_the_table(shelves):
    seed(shelves, ManualClock())

    newest = max(shelves.products.values(), key=lambda product: product.created_at)

    assert newest.sku == GOODS[-1].sku
    assert len({product.created_at for product in shelves.products.values()}) == len(GOODS)


def test_each_product_names_the_picture_drawn_for_it(shelves):
    seed(shelves, ManualClock())

    for product in shelves.products.values():
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
