"""What a shopkeeper may type about a product, and what becomes of it when others write too."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shop import catalog
from shop.errors import Invalid, NotFound, StaleVersion
from shop.models import STOCK_MAX, Category, Product, timestamp
from shop.repository.contract import Repository
from shop.text import fold, slug_of, words_of
from tests.builders import (
    NOW,
    a_category,
    keep,
    order_of,
    product_form,
    product_in,
    product_values,
)

LATER = NOW + timedelta(hours=1)


def create(repository: Repository, **fields: object) -> Product:
    with repository.update() as unit:
        if unit.category("category") is None:
            unit.put_category(a_category(id="category"))
        return catalog.create_product(unit, product_values(**fields), NOW)


def edit(repository: Repository, product: Product, *, stock_seen: int | None = None, **fields: object) -> Product:
    with repository.update() as unit:
        return catalog.edit_product(
            unit,
            product.id,
            product.version,
            product_values(**fields),
            stock_seen=product.stock if stock_seen is None else stock_seen,
            now=LATER,
        )


def create_category(repository: Repository, name: str) -> Category:
    with repository.update() as unit:
        return catalog.create_category(unit, name)


# ---- what is typed

INVALID = [
    ("sku", ""), ("sku", "x" * 33), ("sku", "TEA POT"), ("sku", "-TEA"), ("sku", "TEA-"), ("sku", "TEA--POT"), ("sku", "TÉA"),
    ("sku", "x" * 10_000), ("sku", "<b>"), ("name", ""), ("name", " "), ("name", "x" * 121), ("name", "x" * 10_000), ("name", "a\x00"),
    ("description", "x" * 4_001), ("description", "a\x00"), ("category_id", ""),
    ("price", ""), ("price", "abc"), ("price", "-1"), ("price", "1e9"), ("price", "NaN"), ("price", "inf"), ("price", "0"),
    ("price", "0.00"), ("price", "1.005"), ("price", "1000000.01"), ("price", "9" * 10_000), ("price", "１２"), ("price", "1,000.00"),
    ("stock", ""), ("stock", "abc"), ("stock", "-1"), ("stock", "1.5"), ("stock", "1000001"), ("stock", "1e3"), ("stock", "9" * 10_000),
    ("picture", "../secret.svg"), ("picture", "/etc/passwd"), ("picture", "http://example.com/a.svg"), ("picture", "a.html"),
    ("picture", "x" * 10_000 + ".svg"), ("picture", "a/../b.svg"), ("picture", "a.svg\n"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "text"), INVALID)
def test_what_is_no_product_gets_a_sentence_beside_its_field(field: str, text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        catalog.validate_product(product_form(**{field: text}))

    assert set(refusal.value.fields) == {field}
    assert refusal.value.fields[field].endswith(".")


def test_an_empty_form_gets_a_sentence_for_each_field_that_is_needed() -> None:
    with pytest.raises(Invalid) as refusal:
        catalog.validate_product({})

    assert set(refusal.value.fields) == {"sku", "name", "category_id", "price", "stock"}


def test_what_was_typed_is_cleaned() -> None:
    values = catalog.validate_product(
        product_form(sku=" tea-pot ", name=" Teapot ", price=" 12,50 ", stock=" 7 ", picture="pictures/tea-pot.svg")
    )

    assert values == product_values(stock=7, picture="pictures/tea-pot.svg")


def test_fields_that_are_not_in_the_form_cannot_be_set() -> None:
    typed = product_form() | {"id": "other", "slug": "other", "version": "9", "is_archived": "1", "price_cents": "1"}

    assert catalog.validate_product(typed) == product_values()


# ---- creating


def test_a_new_product_is_kept_with_an_address_made_of_its_name(repository: Repository) -> None:
    product = create(repository, name="Crème Brûlée & Co.")

    with repository.view() as unit:
        assert unit.product_by_slug("creme-brulee-co") == product
        assert unit.product_by_sku("TEA-POT") == product
    assert (product.version, product.created_at, product.is_archived) == (1, timestamp(NOW), False)


def test_the_second_of_the_same_name_gets_another_address(repository: Repository) -> None:
    slugs = [create(repository, sku=f"POT-{number}").slug for number in range(3)]

    assert slugs == ["teapot", "teapot-2", "teapot-3"]


@pytest.mark.parametrize("name", ["茶壶", "!!!", "🫖"])
def test_a_name_without_latin_letters_still_gets_an_address(repository: Repository, name: str) -> None:
    assert create(repository, name=name).slug == "product"


def test_a_sku_that_is_taken_is_refused_beside_its_field(repository: Repository) -> None:
    create(repository)

    with pytest.raises(Invalid) as refusal:
        create(repository, name="Other")

    assert set(refusal.value.fields) == {"sku"}


def test_a_category_that_does_not_exist_is_refused_beside_its_field(repository: Repository) -> None:
    with pytest.raises(Invalid) as refusal:
        create(repository, category_id="unknown")

    assert set(refusal.value.fields) == {"category_id"}


# ---- editing


def test_an_edit_changes_the_values_and_keeps_the_address(repository: Repository) -> None:
    product = create(repository)

    edited = edit(repository, product, name="Kettle", price_cents=999, sku="KETTLE")

    assert edited == product_in(repository, product)
    assert (edited.name, edited.price_cents, edited.sku, edited.slug) == ("Kettle", 999, "KETTLE", "teapot")
    assert (edited.version, edited.created_at, edited.updated_at) == (2, timestamp(NOW), timestamp(LATER))


def test_the_second_of_two_editors_is_told(repository: Repository) -> None:
    product = create(repository)
    edit(repository, product, name="First")

    with pytest.raises(StaleVersion, match="First was changed"):
        edit(repository, product, name="Second")

    assert product_in(repository, product).name == "First"


@pytest.mark.parametrize(
    ("seen", "kept", "typed", "then"),
    [(10, 10, 15, 15), (10, 7, 10, 7), (10, 7, 12, 9), (10, 7, 5, 2), (10, 12, 10, 12), (10, 3, 7, 0), (5, 0, 5, 0)],
)
def test_the_stock_is_changed_by_what_the_editor_added_or_took(
    repository: Repository, seen: int, kept: int, typed: int, then: int
) -> None:
    product = create(repository, stock=kept)

    assert edit(repository, product, stock_seen=seen, stock=typed).stock == then


def test_a_sale_while_the_form_is_open_is_not_undone(repository: Repository) -> None:
    product = create(repository, stock=10)
    order_of(repository, (product, 4))

    edited = edit(repository, product, stock=10, name="Kettle")

    assert (edited.name, edited.stock) == ("Kettle", 6)


def test_a_stock_that_would_fall_below_zero_is_refused(repository: Repository) -> None:
    product = create(repository, stock=10)
    order_of(repository, (product, 8))

    with pytest.raises(Invalid, match="marked below") as refusal:
        edit(repository, product, stock=7)

    assert refusal.value.fields == {"stock": "8 were sold meanwhile, and only 2 are left. Enter the stock again."}
    assert product_in(repository, product).stock == 2


def test_a_stock_above_the_highest_is_refused(repository: Repository) -> None:
    product = create(repository, stock=STOCK_MAX)

    with pytest.raises(Invalid) as refusal:
        edit(repository, product, stock_seen=0, stock=1)

    assert set(refusal.value.fields) == {"stock"}


def test_an_edit_cannot_take_anothers_sku(repository: Repository) -> None:
    create(repository, sku="CUP")
    product = create(repository, sku="POT")

    with pytest.raises(Invalid) as refusal:
        edit(repository, product, sku="CUP")

    assert set(refusal.value.fields) == {"sku"}
    assert product_in(repository, product) == product


def test_an_edit_cannot_name_an_unknown_category_or_product(repository: Repository) -> None:
    product = create(repository)

    with pytest.raises(Invalid):
        edit(repository, product, category_id="unknown")
    with pytest.raises(NotFound):
        edit(repository, replace(product, id="unknown"))


def test_an_archived_product_can_be_sold_again(repository: Repository) -> None:
    product = create(repository)

    with repository.update() as unit:
        archived = catalog.archive(unit, product.id, 1, LATER)
    with repository.update() as unit:
        sold = catalog.unarchive(unit, product.id, 2, LATER)

    assert (archived.is_archived, archived.version) == (True, 2)
    assert (sold.is_archived, sold.version) == (False, 3)


@pytest.mark.parametrize("do", [catalog.archive, catalog.unarchive])
def test_archiving_checks_the_version(repository: Repository, do: object) -> None:
    product = create(repository)

    with pytest.raises(StaleVersion), repository.update() as unit:
        do(unit, product.id, 7, LATER)  # type: ignore[operator]
    with pytest.raises(NotFound), repository.update() as unit:
        do(unit, "unknown", 1, LATER)  # type: ignore[operator]

    assert product_in(repository, product) == product


# ---- categories


def test_a_new_category_is_the_last_of_the_menu(repository: Repository) -> None:
    keep(repository, a_category(name="Zebra", rank=3))

    category = create_category(repository, "  Été & Soleil ")

    with repository.view() as unit:
        assert [kept.name for kept in unit.categories()] == ["Zebra", "Été & Soleil"]
        assert unit.category_by_slug("ete-soleil") == category


@pytest.mark.parametrize("name", ["Home", "HOME", " hôme "])
def test_a_category_of_the_same_name_is_refused(repository: Repository, name: str) -> None:
    create_category(repository, "Home")

    with pytest.raises(Invalid) as refusal:
        create_category(repository, name)

    assert set(refusal.value.fields) == {"name"}


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "x" * 10_000, "a\x00b"])
def test_what_is_no_name_of_a_category_is_refused(repository: Repository, name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create_category(repository, name)

    assert set(refusal.value.fields) == {"name"}


def test_categories_whose_names_lead_to_one_address_get_two(repository: Repository) -> None:
    slugs = [create_category(repository, name).slug for name in ("Tea Pots", "Tea-Pots", "Tea/Pots")]

    assert slugs == ["tea-pots", "tea-pots-2", "tea-pots-3"]


# ---- words and addresses


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Café CRÈME", ["cafe", "creme"]),
        ("MUG-01", ["mug", "01"]),
        ("  ", []),
        ("Straße Øre Łódź", ["strasse", "ore", "lodz"]),
        ("it's", ["it", "s"]),
        ("茶 壶", ["茶", "壶"]),
        ("ﬁne", ["fine"]),
        ("\u2103", ["c"]),
        ("snake_case", ["snake", "case"]),
    ],
)
def test_words_are_found_without_case_and_accents(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text())
def test_folding_twice_is_folding_once_for_every_word(text: str) -> None:
    assert [fold(word) for word in words_of(text)] == words_of(text)


@given(st.text(max_size=200))
def test_an_address_is_plain(text: str) -> None:
    slug = slug_of(text)

    assert len(slug) <= 60
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not slug.startswith("-")
    assert not slug.endswith("-")
    assert "--" not in slug
