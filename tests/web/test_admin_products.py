"""The goods as the shopkeeper sees and changes them."""

from contextlib import contextmanager

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from shop.errors import WritesUnavailable
from shop.models import DESCRIPTION_LENGTH_MAX, NAME_LENGTH_MAX, Product
from tests.builders import a_category, a_product, keep, keep_products, order_of, product_in
from tests.web.visitor import Page, Visitor

INDEX = "/admin/products"
NEW = "/admin/products/new"
CATEGORIES = "/admin/categories"
EDITED_FIELDS = ("name", "sku", "category_id", "price", "stock", "description", "picture")


@pytest.fixture
def shelf(repository):
    """A category to put products in."""
    category = a_category(id="tea", slug="tea", name="Tea & Kitchen")
    keep(repository, category)
    return category


@pytest.fixture
def teapot(repository, shelf) -> Product:
    product = a_product(
        name="Teapot",
        sku="TEA-POT",
        slug="teapot",
        description="Keeps tea warm.",
        category_id="tea",
        price_cents=1250,
        stock=10,
        picture="pictures/tea-pot.svg",
    )
    keep_products(repository, product)
    return product


@pytest.fixture
def broken(shopkeeper, teapot, repository, monkeypatch):
    """A shop that can be read and not written."""

    @contextmanager
    def refuse():
        raise WritesUnavailable("The shop can be read but not changed at the moment.", 5)
        yield

    monkeypatch.setattr(repository, "update", refuse)


def address(product: Product) -> str:
    return f"/admin/products/{product.id}"


def typed_in(page: Page) -> dict[str, str]:
    """What stands in the fields that a person sees."""
    fields = page.fields(page.main.one("form", novalidate="")["action"])
    return {name: fields.get(name, "") for name in EDITED_FIELDS}


def rows(page: Page) -> list[list[str]]:
    return [[cell.text for cell in row.all("td")] for row in page.main.one("tbody").all("tr")]


def names_on(page: Page) -> list[str]:
    return [link.text for link in page.main.all("a", class_="rows__name")]


def new_product_form(**fields: str) -> dict[str, str]:
    return {
        "name": "Enamel mug",
        "sku": "TEA-MUG",
        "category_id": "tea",
        "price": "14.50",
        "stock": "20",
        "description": "Chips a little.",
        "picture": "pictures/tea-mug.svg",
    } | fields


def is_there(visitor: Visitor, path: str) -> bool:
    with visitor.client.get(path) as response:
        return response.status_code == 200


def products_in(repository) -> int:
    with repository.view() as unit:
        return unit.counts()["products"]


# ---- the list


def test_the_list_shows_what_is_in_the_shop_by_name(shopkeeper, repository, teapot):
    keep_products(repository, a_product(name="Basket", sku="BAS-01", category_id="tea", price_cents=123456, stock=1234))
    keep_products(repository, a_product(name="Old lamp", category_id="tea", is_archived=True))

    page = shopkeeper.get(INDEX)

    assert rows(page) == [
        ["", "Basket BAS-01", "Tea & Kitchen", "€1,234.56", "1,234"],
        ["", "Teapot TEA-POT", "Tea & Kitchen", "€12.50", "10"],
    ]
    assert "2 products" in page.main.text
    assert page.tree.one("nav", aria_label="Admin").one("a", aria_current="page").text == "Products"


def test_what_runs_out_is_marked_in_the_list(shopkeeper, repository, shelf):
    keep_products(repository, a_product(name="A", sku="A", category_id="tea", stock=0))
    keep_products(repository, a_product(name="B", sku="B", category_id="tea", stock=2))

    page = shopkeeper.get(INDEX)

    assert [badge.text for badge in page.main.all(class_="badge")] == ["Sold out", "Only 2 left"]


def test_the_archive_is_a_list_of_its_own(shopkeeper, repository, teapot):
    keep_products(repository, a_product(name="Old lamp", category_id="tea", is_archived=True))

    page = shopkeeper.get(INDEX, archived="1")

    assert names_on(page) == ["Old lamp"]
    assert page.main.one("nav", aria_label="Which products").one("a", aria_current="true").text == "Archived"


@pytest.mark.parametrize(
    ("words", "found"),
    [("tea", ["Cup", "Teapot"]), ("TEA-PO", ["Teapot"]), ("warm", ["Teapot"]), ("kitch cup", ["Cup"])],
)
def test_a_search_finds_by_name_sku_category_and_description(shopkeeper, repository, teapot, words, found):
    keep_products(repository, a_product(name="Cup", sku="CUP", category_id="tea"))

    page = shopkeeper.get(INDEX).send(INDEX, q=words)

    assert names_on(page) == found
    assert page.main.one("input", name="q")["value"] == words


def test_a_search_stays_in_the_archive(shopkeeper, repository, teapot):
    keep_products(repository, a_product(name="Tea tin", category_id="tea", is_archived=True))

    page = shopkeeper.get(INDEX, archived="1").send(INDEX, q="tea")

    assert names_on(page) == ["Tea tin"]


def test_a_long_list_comes_in_pages_that_keep_the_search(shopkeeper, repository, shelf):
    keep_products(repository, *[a_product(name=f"Mug {n:02}", category_id="tea") for n in range(60)])
    keep_products(repository, a_product(name="Lamp", category_id="tea"))

    first = shopkeeper.get(INDEX, q="mug")
    second = shopkeeper.get(first.main.one("a", rel="next")["href"])
    last = shopkeeper.get(INDEX, q="mug", page="999999999999999")

    assert "60 products" in first.main.text
    assert names_on(first) == [f"Mug {n:02}" for n in range(25)]
    assert names_on(second) == [f"Mug {n:02}" for n in range(25, 50)]
    assert names_on(last) == [f"Mug {n:02}" for n in range(50, 60)]


@pytest.mark.parametrize("page", ["0", "-1", "abc", "1e9", "NaN", "", "٣"])
def test_a_page_that_is_none_is_the_first(shopkeeper, teapot, page):
    assert names_on(shopkeeper.get(INDEX, page=page)) == ["Teapot"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "The shelves are empty."),
        ({"archived": "1"}, "Nothing is archived."),
        ({"q": "<b>zzz"}, "No product in the shop has words that begin like “<b>zzz”."),
        ({"q": "zzz", "archived": "1"}, "No product in the archive has words that begin like “zzz”."),
    ],
)
def test_an_empty_list_says_why_and_what_to_do(shopkeeper, query, words):
    page = shopkeeper.get(INDEX, **query)

    assert words in page.main.text
    assert page.main.all("a")


# ---- a new one


def test_a_new_product_is_in_the_shop_at_once(shopkeeper, shelf):
    with capture_logs() as lines:
        answer = shopkeeper.get(NEW).send(NEW, **new_product_form())

    page = answer.follow()
    assert (answer.status, page.heading) == (303, "Enamel mug")
    assert page.notices == ["Enamel mug is in the shop."]
    assert typed_in(page) == new_product_form()
    in_shop = shopkeeper.get("/products/enamel-mug")
    assert "€14.50" in in_shop.main.text
    assert in_shop.main.one("img", class_="product__picture")["src"].startswith("/static/pictures/tea-mug.svg")
    assert [(line["event"], line["sku"], line["admin"]) for line in lines] == [("product created", "TEA-MUG", "admin")]


def test_a_product_without_a_picture_shows_the_placeholder(shopkeeper, shelf):
    shopkeeper.get(NEW).send(NEW, **new_product_form(picture=""))

    picture = shopkeeper.get("/products/enamel-mug").main.one("img", class_="product__picture")

    assert picture["src"].startswith("/static/placeholder.svg")
    assert is_there(shopkeeper, picture["src"])


def test_every_picture_that_can_be_chosen_is_there(shopkeeper, shelf):
    page = shopkeeper.get(NEW)
    pictures = list(page.main.one("fieldset", class_="picture-choice").all("img"))

    assert len(pictures) > 24
    assert all(picture["alt"] for picture in pictures)
    assert all(is_there(shopkeeper, picture["src"]) for picture in pictures)


BAD_VALUES = {
    "price": [
        *("abc", "-1", "1e9", "NaN", "", "0", "1.234", "Infinity", "0x10", "١", "1 000", "1_0", "9" * 10_000),
        *("1000000.01", "12.50.1", ".5", "5.", "€5", "\0"),
    ],
    "stock": ["abc", "-1", "1e9", "NaN", "", "1.5", "1000001", "9" * 10_000, "٣"],
    "name": ["", "   ", "x" * (NAME_LENGTH_MAX + 1), "x" * 10_000, "a\0b", "a\u202eb", "a\nb"],
    "sku": ["", "a b", "-", "A--B", "x" * 33, "Ä", "<b>", "x" * 10_000],
    "description": ["x" * (DESCRIPTION_LENGTH_MAX + 1), "a\0b"],
    "category_id": ["", "nothing", "' or 1=1"],
    "picture": ["../../etc/passwd", "pictures/none.svg", "https://evil.example/x.svg", "css/base.css"],
}
KEPT_FIELDS = ("name", "sku", "price", "stock", "description")  # a choice that is none cannot be shown again


@pytest.mark.parametrize("field", BAD_VALUES)
def test_a_bad_value_is_refused_beside_its_field_with_everything_typed_kept(shopkeeper, repository, shelf, field):
    empty = shopkeeper.get(NEW)

    for value in BAD_VALUES[field]:
        typed = new_product_form() | {field: value}
        page = empty.send(NEW, **typed)

        assert page.status == 400, value
        assert page.heading == "New product"
        assert page.error_of(f"field-{field}"), value
        assert page.tree.one(role="alert").one("a", href=f"#field-{field}").text == page.error_of(f"field-{field}")
        assert {name: typed_in(page)[name] for name in KEPT_FIELDS} == {name: typed[name] for name in KEPT_FIELDS}
    assert products_in(repository) == 0


@pytest.mark.parametrize("field", BAD_VALUES)
def test_a_bad_value_changes_no_product_that_is_there(shopkeeper, repository, teapot, field):
    form = shopkeeper.get(address(teapot))

    for value in BAD_VALUES[field]:
        page = form.send(address(teapot), **{"description": "Another.", field: value})

        assert page.status == 400, value
        assert page.error_of(f"field-{field}"), value
        assert page.heading == "Teapot"
    assert product_in(repository, teapot) == teapot


def test_several_bad_values_are_told_at_once_in_the_order_of_the_fields(shopkeeper, shelf):
    page = shopkeeper.get(NEW).send(NEW, name="", sku="", price="abc", stock="-1")

    links = [link["href"] for link in page.tree.one(role="alert").all("a")]

    assert links == ["#field-name", "#field-sku", "#field-category_id", "#field-price", "#field-stock"]


def test_a_sku_that_is_taken_is_refused_beside_its_field(shopkeeper, repository, teapot):
    page = shopkeeper.get(NEW).send(NEW, **new_product_form(sku="tea-pot"))

    assert page.status == 400
    assert page.error_of("field-sku") == "Another product has this SKU."
    assert products_in(repository) == 1


def test_what_is_typed_is_text_and_never_markup(shopkeeper, shelf):
    evil = '"><script>alert(1)</script>'
    shopkeeper.get(NEW).send(NEW, **new_product_form(name=evil, description=evil))

    for path in (INDEX, "/", "/admin/"):
        page = shopkeeper.get(path)
        assert not [script for script in page.tree.all("script") if "src" not in script.attributes]
    assert names_on(shopkeeper.get(INDEX)) == [evil]


@pytest.mark.usefixtures("broken")
def test_a_shop_that_cannot_be_written_loses_nothing_typed(shopkeeper, teapot):
    new = shopkeeper.get(NEW).send(NEW, **new_product_form())
    edit = shopkeeper.get(address(teapot)).send(address(teapot), name="Better teapot")
    category = shopkeeper.get(CATEGORIES).send(CATEGORIES, name="Lamps")

    for page in (new, edit, category):
        assert page.status == 503
        assert page.response.headers["Retry-After"] == "5"
        assert "not changed at the moment" in " ".join(page.notices)
    assert typed_in(new) == new_product_form()
    assert typed_in(edit)["name"] == "Better teapot"
    assert category.tree.one(id="field-name")["value"] == "Lamps"


@pytest.mark.usefixtures("broken")
def test_what_has_no_form_says_in_the_admins_frame_that_it_cannot_be_written(shopkeeper, teapot):
    page = shopkeeper.get(address(teapot)).send(f"{address(teapot)}/archive")

    assert (page.status, page.heading) == (503, "Not just now")
    assert page.tree.one("nav", aria_label="Admin")


# ---- an edit


def test_the_form_is_filled_with_what_is_kept(shopkeeper, teapot):
    page = shopkeeper.get(address(teapot))

    assert typed_in(page) == {
        "name": "Teapot",
        "sku": "TEA-POT",
        "category_id": "tea",
        "price": "12.50",
        "stock": "10",
        "description": "Keeps tea warm.",
        "picture": "pictures/tea-pot.svg",
    }
    assert page.main.one("option", selected="").text == "Tea & Kitchen"


def test_an_edit_is_kept_and_the_address_stays(shopkeeper, repository, teapot):
    with capture_logs() as lines:
        answer = shopkeeper.get(address(teapot)).send(
            address(teapot), name="Big teapot", price="20,00", description="One\r\nTwo", sku="tea-big"
        )

    kept = product_in(repository, teapot)
    assert answer.status == 303
    assert answer.follow().notices == ["Big teapot is saved."]
    assert (kept.name, kept.price_cents, kept.description, kept.sku) == ("Big teapot", 2000, "One\nTwo", "TEA-BIG")
    assert (kept.slug, kept.stock, kept.version) == ("teapot", 10, 2)
    assert "€20.00" in shopkeeper.get("/products/teapot").main.text
    assert [(line["event"], line["version"]) for line in lines] == [("product changed", 2)]


def test_an_unknown_product_is_a_page_in_the_admins_frame(shopkeeper, teapot):
    token = shopkeeper.get(NEW).fields(NEW)["csrf_token"]
    answers = [shopkeeper.get("/admin/products/nothing")] + [
        shopkeeper.post(f"/admin/products/nothing{action}", {"csrf_token": token, "version": "1"})
        for action in ("", "/archive", "/unarchive")
    ]

    for page in answers:
        assert (page.status, page.heading) == (404, "There is nothing here")
        assert page.tree.one("nav", aria_label="Admin")


def test_what_was_sold_while_the_stock_was_typed_stays_sold(shopkeeper, repository, teapot):
    form = shopkeeper.get(address(teapot))
    order_of(repository, (teapot, 3))

    page = form.send(address(teapot), stock="30").follow()

    assert product_in(repository, teapot).stock == 27
    assert page.notices == ["Teapot is saved. 3 were sold meanwhile, so the stock is 27."]
    assert typed_in(page)["stock"] == "27"


def test_a_sale_is_no_reason_to_refuse_an_edit_of_something_else(shopkeeper, repository, teapot):
    form = shopkeeper.get(address(teapot))
    order_of(repository, (teapot, 3))

    form.send(address(teapot), name="Big teapot")

    kept = product_in(repository, teapot)
    assert (kept.name, kept.stock) == ("Big teapot", 7)


def test_a_stock_that_was_sold_below_zero_is_asked_for_again(shopkeeper, repository, teapot):
    form = shopkeeper.get(address(teapot))
    order_of(repository, (teapot, 8))

    refused = form.send(address(teapot), stock="3", name="Big teapot")

    assert refused.status == 400
    assert refused.error_of("field-stock") == "8 were sold meanwhile, and only 2 are left. Enter the stock again."
    assert typed_in(refused)["name"] == "Big teapot"
    assert product_in(repository, teapot).stock == 2

    refused.send(address(teapot), stock="1")
    assert product_in(repository, teapot).stock == 1


@pytest.mark.parametrize("seen", ["", "abc", "-1", "9" * 5000, "NaN"])
def test_a_forged_stock_changes_nothing(shopkeeper, repository, teapot, seen):
    page = shopkeeper.get(address(teapot)).send(address(teapot), seen_stock=seen)

    assert page.status == 400
    assert page.error_of("field-stock") == "Enter the stock again."
    assert product_in(repository, teapot) == teapot


@pytest.mark.parametrize("version", ["", "0", "abc", "-1", "1.0", "9" * 5000, "٣"])
def test_a_forged_version_changes_nothing(shopkeeper, repository, teapot, version):
    assert shopkeeper.get(address(teapot)).send(address(teapot), version=version, name="X").status == 409
    assert product_in(repository, teapot) == teapot


def test_fields_the_form_does_not_have_change_nothing(shopkeeper, repository, teapot):
    extra = {
        "id": "other",
        "slug": "other",
        "is_archived": "1",
        "created_at": "x",
        "price_cents": "1",
        "product_id": "x",
    }

    shopkeeper.get(address(teapot)).send(address(teapot), **extra)

    kept = product_in(repository, teapot)
    assert (kept.id, kept.slug, kept.is_archived, kept.price_cents) == (teapot.id, "teapot", False, 1250)


# ---- two at once


def changes_on(page: Page) -> list[list[str]]:
    section = page.main.one("section", aria_labelledby="changes")
    return [[cell.text for cell in row.children if not isinstance(cell, str)] for row in section.one("tbody").all("tr")]


def test_of_two_admins_the_second_is_told_what_the_first_changed_and_loses_nothing(
    shopkeeper, second_shopkeeper, repository, teapot
):
    mine, theirs = shopkeeper.get(address(teapot)), second_shopkeeper.get(address(teapot))
    theirs.send(address(teapot), price="19.00", description="Pours well.", name="Stone teapot")

    page = mine.send(address(teapot), name="My teapot", description="Mine.\r\nMine too.")

    assert page.status == 409
    assert "changed by somebody else" in page.notices[0]
    assert changes_on(page) == [
        ["Name", "Teapot", "Stone teapot", "My teapot"],
        ["Price", "12.50", "19.00", "the new one, since you had not changed it"],
        ["Description", "Keeps tea warm.", "Pours well.", "Mine. Mine too."],
    ]
    typed = typed_in(page)
    assert (typed["name"], typed["description"], typed["price"]) == ("My teapot", "Mine.\r\nMine too.", "19.00")
    assert product_in(repository, teapot).name == "Stone teapot"


def test_a_text_of_several_lines_that_was_not_touched_is_not_taken_for_typed(
    shopkeeper, second_shopkeeper, repository, teapot
):
    """A browser ends the lines of a field in two characters, also of a field that nobody touched."""
    keep_products(repository, replace(teapot, description="One\nTwo"))
    mine, theirs = shopkeeper.get(address(teapot)), second_shopkeeper.get(address(teapot))
    theirs.send(address(teapot), description="Three")

    page = mine.send(address(teapot), name="My teapot", description="One\r\nTwo", seen_description="One\r\nTwo")

    assert changes_on(page) == [["Description", "One Two", "Three", "the new one, since you had not changed it"]]
    assert typed_in(page)["description"] == "Three"
    mixed = mine.send(address(teapot), name="My teapot", description="One\r\nTwo", seen_description="One\nTwo")
    assert typed_in(mixed)["description"] == "Three"


def test_the_second_admin_may_save_over_it_on_purpose(shopkeeper, second_shopkeeper, repository, teapot):
    mine, theirs = shopkeeper.get(address(teapot)), second_shopkeeper.get(address(teapot))
    theirs.send(address(teapot), price="19.00", name="Stone teapot")
    page = mine.send(address(teapot), name="My teapot")
    assert page.main.one("button", class_="button--primary").text == "Save over it"

    answer = page.send(address(teapot))

    kept = product_in(repository, teapot)
    assert answer.status == 303
    assert (kept.name, kept.price_cents, kept.version) == ("My teapot", 1900, 3)


def test_the_second_admin_may_drop_what_was_typed(shopkeeper, second_shopkeeper, teapot):
    mine, theirs = shopkeeper.get(address(teapot)), second_shopkeeper.get(address(teapot))
    theirs.send(address(teapot), name="Stone teapot")
    page = mine.send(address(teapot), name="My teapot")

    link = next(link for link in page.main.all("a") if link.text == "Drop what I typed")

    assert typed_in(shopkeeper.get(link["href"]))["name"] == "Stone teapot"


def test_saving_over_it_is_refused_once_more_when_there_is_a_third_edit(
    shopkeeper, second_shopkeeper, repository, teapot
):
    mine, theirs = shopkeeper.get(address(teapot)), second_shopkeeper.get(address(teapot))
    theirs.send(address(teapot), name="Stone teapot")
    conflict = mine.send(address(teapot), name="My teapot")
    second_shopkeeper.get(address(teapot)).send(address(teapot), name="Iron teapot")

    again = conflict.send(address(teapot))

    assert again.status == 409
    assert changes_on(again) == [["Name", "Stone teapot", "Iron teapot", "My teapot"]]
    assert product_in(repository, teapot).name == "Iron teapot"


def test_a_stock_that_two_admins_changed_becomes_what_the_second_one_meant(
    shopkeeper, second_shopkeeper, repository, teapot
):
    mine, theirs = shopkeeper.get(address(teapot)), second_shopkeeper.get(address(teapot))
    theirs.send(address(teapot), stock="50")
    order_of(repository, (teapot, 4))
    page = mine.send(address(teapot), stock="60")
    assert changes_on(page) == [["Stock", "10", "46", "60 (saving makes it that)"]]
    order_of(repository, (teapot, 5))

    page.send(address(teapot))

    assert product_in(repository, teapot).stock == 55, "60, and 5 sold after that was shown"


def test_a_product_that_was_archived_meanwhile_says_so(shopkeeper, second_shopkeeper, repository, teapot):
    mine = shopkeeper.get(address(teapot))
    second_shopkeeper.get(address(teapot)).send(f"{address(teapot)}/archive")

    page = mine.send(address(teapot), name="My teapot")

    assert changes_on(page) == [["State", "In the shop", "Archived", "the new one, since you had not changed it"]]
    page.send(address(teapot))
    assert product_in(repository, teapot).is_archived


def test_a_category_that_was_changed_meanwhile_is_shown_by_its_name(shopkeeper, second_shopkeeper, repository, teapot):
    keep(repository, a_category(id="desk", slug="desk", name="Desk"))
    mine = shopkeeper.get(address(teapot))
    second_shopkeeper.get(address(teapot)).send(address(teapot), category_id="desk")

    page = mine.send(address(teapot), name="My teapot")

    assert changes_on(page)[0][:3] == ["Category", "Tea & Kitchen", "Desk"]


# ---- on and off the shelf


def test_an_archived_product_is_gone_from_the_shop_and_can_be_put_back(shopkeeper, repository, teapot):
    with capture_logs() as lines:
        answer = shopkeeper.get(address(teapot)).send(f"{address(teapot)}/archive")
        page = answer.follow()
        assert (answer.status, answer.location) == (303, INDEX)
        assert page.notices == ["Teapot is archived: it is not sold any more. Undo"]
        assert product_in(repository, teapot).is_archived
        assert shopkeeper.get("/").main.text.count("Teapot") == 0

        undone = page.send(f"{address(teapot)}/unarchive")

    assert undone.follow().notices == ["Teapot is back in the shop."]
    assert not product_in(repository, teapot).is_archived
    assert [line["event"] for line in lines] == ["product archived", "product unarchived"]


def test_an_archived_product_can_be_put_back_from_its_page(shopkeeper, repository, teapot):
    shopkeeper.get(address(teapot)).send(f"{address(teapot)}/archive")

    shopkeeper.get(address(teapot)).send(f"{address(teapot)}/unarchive")

    assert not product_in(repository, teapot).is_archived


@pytest.mark.parametrize("action", ["archive", "unarchive"])
def test_a_product_that_somebody_edited_meanwhile_is_not_moved(
    shopkeeper, second_shopkeeper, repository, teapot, action
):
    if action == "unarchive":
        shopkeeper.get(address(teapot)).send(f"{address(teapot)}/archive")
    mine = shopkeeper.get(address(teapot))
    second_shopkeeper.get(address(teapot)).send(address(teapot), name="Stone teapot")
    before = product_in(repository, teapot)

    answer = mine.send(f"{address(teapot)}/{action}")

    assert answer.location == address(teapot)
    assert "Stone teapot was changed by somebody else meanwhile." in answer.follow().notices[0]
    assert product_in(repository, teapot) == before


def test_looking_at_an_address_that_changes_things_changes_nothing(shopkeeper, repository, teapot):
    for action in ("archive", "unarchive"):
        assert shopkeeper.get(f"{address(teapot)}/{action}").status == 405
    assert product_in(repository, teapot) == teapot


# ---- categories


def test_a_new_category_is_the_last_in_the_menu_and_can_be_chosen(shopkeeper, teapot):
    with capture_logs() as lines:
        answer = shopkeeper.get(CATEGORIES).send(CATEGORIES, name="  Lamps & Light ")

    page = answer.follow()
    assert answer.status == 303
    assert rows(page) == [["Tea & Kitchen", "1"], ["Lamps & Light", "0"]]
    assert page.notices == ["Lamps & Light is in the menu now, as the last one."]
    assert shopkeeper.get("/").tree.one("nav", class_="site-menu").text.endswith("Lamps & Light")
    assert "Lamps & Light" in shopkeeper.get(NEW).main.one("select").text
    assert [(line["event"], line["slug"]) for line in lines] == [("category created", "lamps-light")]


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "x" * 10_000, "tea & KITCHEN", "a\0b", "a\u202eb"])
def test_a_bad_name_of_a_category_is_refused_beside_the_field(shopkeeper, teapot, name):
    page = shopkeeper.get(CATEGORIES).send(CATEGORIES, name=name)

    assert page.status == 400
    assert page.error_of("field-name")
    assert page.tree.one(id="field-name")["value"] == name
    assert rows(page) == [["Tea & Kitchen", "1"]]


def test_a_shop_without_categories_says_what_they_are_for(shopkeeper):
    assert "A product needs one." in shopkeeper.get(CATEGORIES).main.text


def test_the_admin_is_on_the_page_of_no_visitor(visitor: Visitor, teapot):
    assert "/admin/products" not in visitor.get("/products/teapot").response.text
