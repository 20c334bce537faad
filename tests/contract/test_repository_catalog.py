"""The catalog answers what was asked, in order, page by page, and never with what is not sold."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from shop.models import LOW_STOCK_MAX, Category, Product
from shop.repository.contract import Repository
from shop.text import fold, words_of
from shop.units import CatalogQuery
from tests.builders import a_category, a_product, catalog, keep, keep_products, names, order_of, product_in

SORTS: dict[str, Callable[[Product], Any]] = {
    "name": lambda product: (fold(product.name), product.id),
    "price": lambda product: (product.price_cents, fold(product.name), product.id),
    "-price": lambda product: (-product.price_cents, fold(product.name), product.id),
    "newest": lambda product: (-int("".join(filter(str.isdigit, product.created_at))), fold(product.name), product.id),
}


def found(repository: Repository, words: str) -> list[str]:
    return names(catalog(repository, words=words).items)


# ---- search


@pytest.fixture
def shelf(repository: Repository) -> Repository:
    """A small shop to search in."""
    keep(repository, a_category(id="kitchen", slug="kitchen", name="Küche & Bad"), a_category(id="desk", name="Desk"))
    keep_products(
        repository,
        a_product(name="Enamel Mug", sku="MUG-01", description="For tea and coffee.", category_id="kitchen"),
        a_product(name="Teapot", sku="POT-77", description="Pours without dripping.", category_id="kitchen"),
        a_product(name="Crème pencil", sku="PEN-01", description="Soft; it's grey.", category_id="desk"),
    )
    return repository


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("mug", ["Enamel Mug"]),
        ("MUG", ["Enamel Mug"]),
        ("ena", ["Enamel Mug"]),
        ("ug", []),
        ("tea", ["Enamel Mug", "Teapot"]),
        ("tea mug", ["Enamel Mug"]),
        ("mug   coffee\ttea", ["Enamel Mug"]),
        ("mug teapot", []),
        ("creme", ["Crème pencil"]),
        ("CRÈME", ["Crème pencil"]),
        ("cre\u0300me", ["Crème pencil"]),
        ("kuche", ["Enamel Mug", "Teapot"]),
        ("küche pour", ["Teapot"]),
        ("desk", ["Crème pencil"]),
        ("MUG-01", ["Enamel Mug"]),
        ("pot-77", ["Teapot"]),
        ("01", ["Crème pencil", "Enamel Mug"]),
        ("dripping.", ["Teapot"]),
        ("it's", ["Crème pencil"]),
        ("", ["Crème pencil", "Enamel Mug", "Teapot"]),
        ("   ", ["Crème pencil", "Enamel Mug", "Teapot"]),
        ("!!!", []),
        ("%", []),
        ("_", []),
        ("tea%", ["Enamel Mug", "Teapot"]),
        ("'", []),
        ("\\", []),
        ("(.*", []),
        ("nothing", []),
        ("x" * 10_000, []),
        ("\x00", []),
    ],
)
def test_each_word_begins_some_word_of_name_sku_category_or_description(
    shelf: Repository, words: str, result: list[str]
) -> None:
    assert found(shelf, words) == result


def test_a_sale_does_not_disturb_the_search(shelf: Repository) -> None:
    assert found(shelf, "mug") == ["Enamel Mug"]
    with shelf.view() as unit:
        mug = unit.product_by_sku("MUG-01")
    assert mug is not None

    order_of(shelf, (mug, 3))

    page = catalog(shelf, words="mug")
    assert [product.stock for product in page.items] == [7]


def test_a_renamed_product_is_found_by_its_new_name_alone(shelf: Repository) -> None:
    with shelf.view() as unit:
        mug = unit.product_by_sku("MUG-01")
    assert mug is not None
    assert found(shelf, "enamel") == ["Enamel Mug"]

    keep(shelf, replace(mug, name="Steel Cup"))

    assert found(shelf, "enamel") == []
    assert found(shelf, "steel") == ["Steel Cup"]
    assert found(shelf, "") == ["Crème pencil", "Steel Cup", "Teapot"]


def test_a_renamed_category_is_found_by_its_new_name_alone(shelf: Repository) -> None:
    assert found(shelf, "kuche") == ["Enamel Mug", "Teapot"]

    keep(shelf, a_category(id="kitchen", slug="kitchen", name="Pantry"))

    assert found(shelf, "kuche") == []
    assert found(shelf, "pantry") == ["Enamel Mug", "Teapot"]


# ---- filters


def test_archived_products_are_never_found(repository: Repository) -> None:
    keep_products(repository, a_product(name="Sold"), a_product(name="Archived", is_archived=True))

    assert names(catalog(repository).items) == ["Sold"]
    assert found(repository, "archived") == []


def test_archiving_takes_a_product_out_and_back(repository: Repository) -> None:
    product = a_product(name="Mug")
    keep_products(repository, product, a_product(name="Pot"))
    assert names(catalog(repository).items) == ["Mug", "Pot"]

    keep(repository, replace(product, is_archived=True))
    assert names(catalog(repository).items) == ["Pot"]
    keep(repository, product)

    assert names(catalog(repository).items) == ["Mug", "Pot"]


def test_a_category_narrows_the_catalog(repository: Repository) -> None:
    keep_products(repository, a_product(name="Cup", category_id="kitchen"), a_product(name="Pen", category_id="desk"))

    assert names(catalog(repository, category_slug="desk").items) == ["Pen"]
    assert names(catalog(repository, category_slug="desk", words="cup").items) == []
    assert catalog(repository, category_slug="unknown").total == 0


def test_a_product_moves_with_its_category(repository: Repository) -> None:
    product = a_product(name="Cup", category_id="kitchen")
    keep_products(repository, product, a_product(name="Pen", category_id="desk"))
    assert names(catalog(repository, category_slug="kitchen").items) == ["Cup"]

    keep(repository, replace(product, category_id="desk"))

    assert names(catalog(repository, category_slug="kitchen").items) == []
    assert names(catalog(repository, category_slug="desk").items) == ["Cup", "Pen"]


def test_the_stock_filter_leaves_out_what_is_sold_out_the_moment_it_is(repository: Repository) -> None:
    last, many = a_product(name="Last", stock=1), a_product(name="Many", stock=99)
    keep_products(repository, last, many, a_product(name="None", stock=0))
    assert names(catalog(repository, in_stock=True).items) == ["Last", "Many"]

    order_of(repository, (last, 1))
    sold_out = catalog(repository, in_stock=True)
    keep(repository, replace(product_in(repository, last), stock=5))

    assert (names(sold_out.items), sold_out.total) == (["Many"], 1)
    assert names(catalog(repository, in_stock=True).items) == ["Last", "Many"]
    assert names(catalog(repository).items) == ["Last", "Many", "None"]


def test_filters_narrow_together(repository: Repository) -> None:
    keep_products(
        repository,
        a_product(name="Tea cup", category_id="kitchen"),
        a_product(name="Tea bowl", category_id="kitchen", stock=0),
        a_product(name="Plate", category_id="kitchen"),
        a_product(name="Tea towel", category_id="home"),
    )

    page = catalog(repository, words="tea", category_slug="kitchen", in_stock=True)

    assert names(page.items) == ["Tea cup"]
    assert page.total == 1


def test_a_page_shows_the_price_and_stock_of_its_own_moment(repository: Repository) -> None:
    product = a_product(price_cents=1000)
    keep_products(repository, product)
    assert catalog(repository).items == [product]

    for price_cents in (1100, 900, 1000):
        changed = replace(product, price_cents=price_cents, stock=price_cents)
        keep(repository, changed)
        assert catalog(repository).items == [changed]


# ---- order


@pytest.mark.parametrize(
    ("sort", "result"),
    [
        ("name", ["apple", "Éclair", "fig", "Zebra"]),
        ("price", ["fig", "Éclair", "Zebra", "apple"]),
        ("-price", ["apple", "Éclair", "Zebra", "fig"]),
        ("newest", ["Zebra", "fig", "apple", "Éclair"]),
        ("unknown", ["apple", "Éclair", "fig", "Zebra"]),
        ("", ["apple", "Éclair", "fig", "Zebra"]),
    ],
)
def test_products_come_in_the_order_that_was_asked(repository: Repository, sort: str, result: list[str]) -> None:
    keep_products(
        repository,
        a_product(name="Zebra", price_cents=500, created_at="2026-03-01T00:00:00Z"),
        a_product(name="apple", price_cents=900, created_at="2025-12-31T23:59:59Z"),
        a_product(name="Éclair", price_cents=500, created_at="2025-12-31T23:59:59Z"),
        a_product(name="fig", price_cents=100, created_at="2026-01-01T00:00:00Z"),
    )

    assert names(catalog(repository, sort=sort).items) == result


def test_a_new_price_moves_a_product_at_once(repository: Repository) -> None:
    first, second = a_product(name="A", price_cents=100), a_product(name="B", price_cents=200)
    keep_products(repository, first, second)
    assert names(catalog(repository, sort="price").items) == ["A", "B"]

    keep(repository, replace(first, price_cents=300))

    assert names(catalog(repository, sort="price").items) == ["B", "A"]
    assert names(catalog(repository, sort="-price").items) == ["A", "B"]


def test_products_of_one_name_keep_their_order_from_page_to_page(repository: Repository) -> None:
    keep_products(repository, *[a_product(name="Same", id=f"p{number}") for number in range(30)])

    pages = [catalog(repository, page=number, size=7) for number in range(1, 6)]

    assert [product.id for page in pages for product in page.items] == sorted(f"p{number}" for number in range(30))


# ---- pages


@pytest.mark.parametrize(
    ("page", "size", "number", "shown"),
    [
        (1, 4, 1, ["P0", "P1", "P2", "P3"]),
        (2, 4, 2, ["P4", "P5", "P6", "P7"]),
        (3, 4, 3, ["P8", "P9"]),
        (4, 4, 3, ["P8", "P9"]),
        (10**9, 4, 3, ["P8", "P9"]),
        (0, 4, 1, ["P0", "P1", "P2", "P3"]),
        (-5, 4, 1, ["P0", "P1", "P2", "P3"]),
        (1, 10, 1, [f"P{number}" for number in range(10)]),
        (2, 9, 2, ["P9"]),
    ],
)
def test_a_page_past_the_end_is_the_last_one(
    repository: Repository, page: int, size: int, number: int, shown: list[str]
) -> None:
    keep_products(repository, *[a_product(name=f"P{number}") for number in range(10)])

    result = catalog(repository, page=page, size=size)

    assert (names(result.items), result.number, result.total, result.size) == (shown, number, 10, size)


def test_an_empty_catalog_has_one_empty_page(repository: Repository) -> None:
    page = catalog(repository, page=7)

    assert (list(page.items), page.total, page.number, page.last_number) == ([], 0, 1, 1)


# ---- for the shopkeeper


def test_the_shopkeeper_lists_sold_and_archived_products_apart(repository: Repository) -> None:
    keep_products(
        repository,
        a_product(name="Cup", sku="CUP-1"),
        a_product(name="Bowl", stock=0),
        a_product(name="Old cup", is_archived=True),
    )

    def listed(*, words: str = "", archived: bool = False) -> list[str]:
        with repository.view() as unit:
            return names(unit.admin_products(words=words, archived=archived, page=1, size=10).items)

    assert listed() == ["Bowl", "Cup"]
    assert listed(archived=True) == ["Old cup"]
    assert listed(words="cup") == ["Cup"]
    assert listed(words="cup", archived=True) == ["Old cup"]
    assert listed(words="cup-1") == ["Cup"]


def test_the_shopkeepers_list_has_pages(repository: Repository) -> None:
    keep_products(repository, *[a_product(name=f"P{number}") for number in range(5)])

    with repository.view() as unit:
        page = unit.admin_products(words="", archived=False, page=9, size=2)

    assert (names(page.items), page.number, page.total) == (["P4"], 3, 5)


def low_in_stock(repository: Repository) -> list[str]:
    with repository.view() as unit:
        return names(unit.products_low_in_stock(page=1, size=10).items)


def test_what_is_running_out_is_listed_the_fewest_first(repository: Repository) -> None:
    keep_products(
        repository,
        a_product(name="Enough", stock=LOW_STOCK_MAX + 1),
        a_product(name="Few", stock=LOW_STOCK_MAX),
        a_product(name="None", stock=0),
        a_product(name="One", stock=1),
        a_product(name="Archived", stock=0, is_archived=True),
    )

    assert low_in_stock(repository) == ["None", "One", "Few"]


def test_a_sale_puts_a_product_on_that_list_and_a_delivery_takes_it_off(repository: Repository) -> None:
    product = a_product(name="Cup", stock=LOW_STOCK_MAX + 1)
    keep_products(repository, product, a_product(name="Pot", stock=LOW_STOCK_MAX - 1))
    assert low_in_stock(repository) == ["Pot"]

    order_of(repository, (product, 3))
    sold = low_in_stock(repository)
    keep(repository, replace(product, stock=50))

    assert sold == ["Cup", "Pot"]
    assert low_in_stock(repository) == ["Pot"]


# ---- against a model


@pytest.mark.parametrize("seed", range(12))
def test_after_any_edits_the_catalog_is_what_looking_at_every_product_would_give(
    repository: Repository, seed: int
) -> None:
    """Lists are derived from one state to the next; here each is compared with one made from nothing."""
    chance = random.Random(seed)
    categories = {id: a_category(id=id, slug=id, name=id) for id in ("red", "blue", "green")}
    keep(repository, *categories.values())
    products: dict[str, Product] = {}

    for _ in range(40):
        changed = [_random_product(chance, products) for _ in range(chance.choice([1, 1, 1, 5]))]
        keep(repository, *changed)
        products.update((product.id, product) for product in changed)
        for _ in range(3):
            query = _random_query(chance)
            assert list(_all(repository, query)) == _expected(query, products, categories), query


def _random_product(chance: random.Random, products: dict[str, Product]) -> Product:
    if products and chance.random() < 0.6:
        product = chance.choice(list(products.values()))
        change: dict[str, Any] = chance.choice(
            [
                {"stock": chance.randrange(3)},
                {"stock": chance.randrange(3)},
                {"price_cents": chance.randrange(1, 6)},
                {"name": chance.choice(["Red cup", "blue Pot", "Cup"])},
                {"is_archived": chance.random() < 0.5},
                {"category_id": chance.choice(["red", "blue", "green"])},
            ]
        )
        return replace(product, **change)
    return a_product(
        name=chance.choice(["Cup", "Pot", "Éclair", "eclair red"]),
        category_id=chance.choice(["red", "blue", "green"]),
        price_cents=chance.randrange(1, 6),
        stock=chance.randrange(3),
        created_at=f"2026-01-0{chance.randrange(1, 5)}T00:00:00Z",
    )


def _random_query(chance: random.Random) -> CatalogQuery:
    return CatalogQuery(
        words=chance.choice(["", "", "cup", "r", "red c", "ecl", "blue", "xyz"]),
        category_slug=chance.choice(["", "", "red", "blue", "none"]),
        in_stock=chance.random() < 0.5,
        sort=chance.choice(list(SORTS)),
        size=7,
    )


def _all(repository: Repository, query: CatalogQuery) -> list[Product]:
    """Every page of the answer, one after the other."""
    with repository.view() as unit:
        first = unit.catalog(query)
        pages = [first, *(unit.catalog(replace(query, page=page)) for page in range(2, first.last_number + 1))]
        assert first.total == sum(len(page.items) for page in pages)
    return [product for page in pages for product in page.items]


def _expected(query: CatalogQuery, products: dict[str, Product], categories: dict[str, Category]) -> list[Product]:
    matching = [product for product in products.values() if _matches(query, product, categories[product.category_id])]
    return sorted(matching, key=SORTS[query.sort])


def _matches(query: CatalogQuery, product: Product, category: Category) -> bool:
    words = words_of(f"{product.name} {product.sku} {product.description} {category.name}")
    return (
        not product.is_archived
        and query.category_slug in ("", category.slug)
        and (product.stock > 0 or not query.in_stock)
        and all(any(word.startswith(typed) for word in words) for typed in words_of(query.words))
    )
