"""The list of goods and the page of one, as a visitor reads them."""

import pytest
from msgspec.structs import replace
from werkzeug.datastructures import MultiDict

from shop.models import NAME_LENGTH_MAX
from shop.web.catalog import query_of
from tests.builders import a_category, a_product, keep

TEA = a_category(slug="tea", name="Tea", rank=1)
MAPS = a_category(slug="maps", name="Maps", rank=2)
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id, price_cents=3400, stock=500)
CUP = a_product(slug="cup", name="Cup", category_id=TEA.id, price_cents=900, stock=3)
ATLAS = a_product(slug="atlas", name="Atlas", category_id=MAPS.id, price_cents=2650, stock=0)
OLD = a_product(slug="old", name="Old Map", category_id=MAPS.id, is_archived=True)


@pytest.fixture(autouse=True)
def goods(repository):
    keep(repository, TEA, MAPS, POT, CUP, ATLAS, OLD)


def names_on(page):
    return [card.one(class_="product-card__name").text for card in page.tree.all(class_="product-card")]


def test_the_front_page_shows_what_is_sold_with_prices(visitor):
    page = visitor.get("/")

    assert page.status == 200
    assert names_on(page) == ["Atlas", "Cup", "Teapot"]
    assert [price.text for price in page.tree.all(class_="product-card__price")] == [
        "€26.50 Sold out",
        "€9.00 Only 3 left",
        "€34.00",
    ]


def test_a_sale_that_changes_what_a_card_shows_changes_the_card(visitor, repository):
    visitor.get("/")
    with repository.update() as unit:
        unit.put_product(a_product(id=CUP.id, sku=CUP.sku, slug="cup", name="Cup", category_id=TEA.id, stock=2))

    page = visitor.get("/", q="cup")

    assert page.tree.one(class_="product-card__price").text == "€12.50 Only 2 left"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "tea"}, ["Cup", "Teapot"]),  # by name, and by category
        ({"q": "TEAP"}, ["Teapot"]),
        ({"category": "maps"}, ["Atlas"]),
        ({"in_stock": "1"}, ["Cup", "Teapot"]),
        ({"sort": "price"}, ["Cup", "Atlas", "Teapot"]),
        ({"sort": "-price"}, ["Teapot", "Atlas", "Cup"]),
        ({"q": "tea", "category": "maps"}, []),
    ],
)
def test_search_category_stock_and_sort_choose_the_goods(visitor, query, expected):
    assert names_on(visitor.get("/", **query)) == expected


@pytest.mark.parametrize(
    "address",
    [
        "/?page=0",
        "/?page=-3",
        "/?page=abc",
        "/?page=1.5",
        "/?page=%E2%91%A0",
        "/?page=1000000000",
        "/?page=" + "9" * 500,
        "/?sort=%27%3B--",
        "/?in_stock=yes",
        "/?sort=name&sort=price&page=1&page=2",
        "/?q[]=x&unknown=1",
        "/?q=%00%ff",
    ],
)
def test_an_address_that_makes_no_sense_is_answered_with_goods_or_none_but_never_fails(visitor, address):
    assert visitor.get(address).status == 200


def test_a_page_far_inside_a_long_list_is_the_one_that_was_asked_for():
    assert query_of(MultiDict({"page": "12345"})).page == 12345


def test_an_overlong_search_is_cut_to_what_a_field_holds(visitor):
    page = visitor.get("/", q="x" * 10_000)

    assert page.status == 200
    assert page.tree.one("input", id="search")["value"] == "x" * 100


def test_nothing_found_says_so_and_shows_the_way_out(visitor):
    page = visitor.get("/", q="zebra", in_stock="1")

    assert "No product has words that begin like “zebra”" in page.text
    assert [link["href"] for link in page.main.all("a")] == ["/?q=zebra", "/"]


def test_an_unknown_category_is_no_error(visitor):
    page = visitor.get("/", category="nope")

    assert page.status == 200
    assert page.heading == "No such category"


def test_pages_lead_to_each_other_and_keep_what_was_asked(visitor, repository):
    keep(repository, *[a_product(category_id=MAPS.id) for _ in range(30)])

    first = visitor.get("/", category="maps", sort="price")
    last = visitor.get("/", category="maps", sort="price", page=str(10**9))

    assert first.tree.one("a", rel="next")["href"] == "/?category=maps&sort=price&page=2"
    assert "Page 2 of 2" in last.text
    assert last.tree.one("a", rel="prev")["href"] == "/?category=maps&sort=price"
    assert len(names_on(first)) + len(names_on(last)) == 31


def test_the_menu_marks_where_the_visitor_is(visitor):
    menu = visitor.get("/", category="tea").tree.one("nav", aria_label="Categories")

    assert [link.text for link in menu.all("a")] == ["Everything", "Tea", "Maps"]
    assert menu.one("a", aria_current="page").text == "Tea"


@pytest.mark.parametrize(
    ("slug", "words"), [("pot", "In stock"), ("cup", "Only 3 left"), ("atlas", "Sold out"), ("old", "No longer sold")]
)
def test_a_product_says_how_many_are_left(visitor, slug, words):
    assert visitor.get(f"/products/{slug}").tree.one("article").one(class_="badge").text == words


@pytest.mark.parametrize("slug", ["atlas", "old"])
def test_what_cannot_be_bought_has_no_button_to_buy_it(visitor, slug):
    page = visitor.get(f"/products/{slug}")

    assert page.status == 200
    assert not list(page.main.all("form"))


def test_what_is_archived_is_not_found_but_its_page_remains(visitor):
    assert names_on(visitor.get("/", q="old map")) == []
    assert "This product is no longer sold." in visitor.get("/products/old").text


@pytest.mark.parametrize("slug", ["nope", "x" * 10_000, "%00", "..%2f..%2fetc"])
def test_an_unknown_product_is_a_page_that_says_so(visitor, slug):
    page = visitor.get(f"/products/{slug}")

    assert page.status == 404
    assert page.heading == "There is nothing here"


def test_beside_a_product_stand_others_of_its_category(visitor):
    assert names_on(visitor.get("/products/pot")) == ["Cup"]


def test_names_and_descriptions_are_text_and_never_markup(visitor, repository):
    evil = "<script>alert(1)</script>\"'&"
    keep(repository, a_product(slug="evil", name=evil, description=evil, category_id=TEA.id))

    page = visitor.get("/products/evil")

    assert page.heading == evil
    assert evil in names_on(visitor.get("/"))
    assert not [script for script in page.tree.all("script") if not script.attributes.get("src")]


def test_looking_around_leaves_no_cookie_and_writes_nothing(visitor, repository):
    with repository.view() as unit:
        before = unit.position()

    for address in ("/", "/?q=tea", "/?category=tea", "/cart", "/nope"):
        assert "Set-Cookie" not in visitor.get(address).response.headers
    visitor.get("/products/pot")  # its form needs a token, so it has a cookie

    with repository.view() as unit:
        assert unit.position() == before


def test_a_long_name_is_shown_whole(visitor, repository):
    name = "Z" * NAME_LENGTH_MAX
    keep(repository, a_product(slug="long", name=name, category_id=TEA.id))

    assert visitor.get("/products/long").heading == name


def test_a_list_that_the_browser_has_already_is_not_sent_again(client, repository):
    first = client.get("/")
    tag = {"If-None-Match": first.headers["ETag"]}

    again = client.get("/", headers=tag)
    keep(repository, replace(POT, price_cents=3500))
    changed = client.get("/", headers=tag)

    assert first.headers["Cache-Control"] == "private, no-cache"
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Content-Security-Policy"]
    assert (changed.status_code, "€35.00" in changed.text) == (200, True)


def test_one_visitors_list_is_never_anothers(app, visitor):
    nobodys = visitor.client.get("/").headers["ETag"]
    visitor.add("pot")

    mine = visitor.client.get("/", headers={"If-None-Match": nobodys})

    assert mine.status_code == 200
    assert "Cookie" in mine.headers["Vary"]
