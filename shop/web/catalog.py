"""The goods: the list with its search and filters, and the page of one product."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, get_template_attribute, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from msgspec import Struct
from msgspec.structs import replace
from werkzeug.datastructures import MultiDict

from shop import cart as carts
from shop.errors import NotFound
from shop.models import Product
from shop.money import format_money
from shop.units import CatalogQuery, Page, ReadUnit
from shop.web import farside, fragments
from shop.web.filters import FEW_LEFT, PLACEHOLDER
from shop.web.forms import LineForm
from shop.web.services import services
from shop.web.visitor import common_frame, has_messages

bp = Blueprint("catalog", __name__)

WORDS_LENGTH_MAX = 100
SLUG_LENGTH_MAX = 100
RELATED_SHOWN = 4
SORTS = {
    "name": "Name",
    "price": "Price, lowest first",
    "-price": "Price, highest first",
    "newest": "Newest",
}


FRONT = CatalogQuery()  # what is asked by who asks for nothing


class CardShown(Struct, frozen=True):
    """A product in a grid: what is read there, and no more."""

    slug: str
    name: str
    price_cents: int
    picture: str
    stock: int  # no more than `FEW_LEFT` and one: more does not show, so that a sale does not draw the card anew
    currency: str


class IndexShown(Struct, frozen=True):
    """The list as a visitor sees it."""

    query: CatalogQuery
    cards: tuple[CardShown, ...]
    total: int
    number: int
    category_name: str | None  # None: no category is asked for, or there is no such

    template = "catalog/index.html"
    line_count = 0

    def variables(self) -> dict[str, Any]:
        query = self.query
        return {
            "query": query,
            "page": Page(items=self.cards, total=self.total, number=self.number, size=query.size),
            "cards": cards(self.cards),
            "category_name": self.category_name,
            "heading": _heading(query, self.category_name),
            "is_front": query == FRONT,
            "sorts": SORTS,
            "words": query.words,
            "menu_slug": _menu_slug(query),
            "address_of_page": _address_of_page(query),
            "address_everywhere": address_of(replace(query, category_slug="", page=1)),
            "address_without_stock": address_of(replace(query, in_stock=False, page=1)),
        }


class ProductShown(Struct, frozen=True):
    """One product and what stands beside it, as a visitor sees it who has typed nothing yet."""

    id: str
    slug: str
    sku: str
    name: str
    description: str
    price_cents: int
    picture: str
    stock: int  # as on a card
    is_archived: bool
    category: "fragments.MenuEntry | None"
    related: tuple[CardShown, ...]

    template = "catalog/show.html"
    line_count = 0

    def variables(self) -> dict[str, Any]:
        return {
            "product": self,
            "category": self.category,
            "form": LineForm(product_id=self.id, quantity="1"),
            "problem": "",
            "related": cards(self.related),
            "shipping_cents": carts.SHIPPING_CENTS,
            "free_shipping_from_cents": carts.FREE_SHIPPING_FROM_CENTS,
        }


@bp.get("/")
def index() -> ResponseReturnValue:
    """The goods that match; whatever is asked in a way the shop does not know is left out."""
    query = query_of(request.args)
    with farside.view() as unit:
        page = unit.catalog(query)
        category = unit.category_by_slug(query.category_slug) if query.category_slug else None
        frame = common_frame(unit, words=query.words, menu_slug=_menu_slug(query))
    shown = IndexShown(query, _cards_shown(page.items), page.total, page.number, category.name if category else None)
    return _unless_known(fragments.page(shown, frame))


@bp.get("/products/<slug>")
def show(slug: str) -> ResponseReturnValue:
    """One product. Raises `NotFound` for one that never was; one that is not sold any more says so."""
    with farside.view() as unit:
        product = unit.product_by_slug(slug) if len(slug) <= SLUG_LENGTH_MAX else None
        if product is None:
            raise NotFound(farside.missing("There is no such product."))
        shown, frame = _product_shown(unit, product), common_frame(unit)
    return Response(fragments.page(shown, frame).body())


def product_page(product: Product, form: LineForm, *, problem: str = "", status: int = 200) -> ResponseReturnValue:
    """The page of *product* with *form* as it was filled in; *problem* is a sentence that belongs to no field."""
    with farside.view() as unit:
        shown = _product_shown(unit, product)
    return render_template(shown.template, **{**shown.variables(), "form": form, "problem": problem}), status


def query_of(args: MultiDict[str, str]) -> CatalogQuery:
    """What an address asks for; a value that makes no sense is as if it were not there."""
    if not args:
        return FRONT
    page = args.get("page", "")
    sort = args.get("sort", "name")
    return CatalogQuery(
        words=" ".join(args.get("q", "")[:WORDS_LENGTH_MAX].split()),
        category_slug=args.get("category", "")[:SLUG_LENGTH_MAX],
        in_stock=args.get("in_stock", "") == "1",
        sort=sort if sort in SORTS else "name",
        page=max(1, int(page[:12])) if page.isascii() and page.isdigit() else 1,
    )


def address_of(query: CatalogQuery) -> str:
    """The address that asks for *query*, without what is asked anyway."""
    asked = {
        "q": query.words,
        "category": query.category_slug,
        "in_stock": "1" if query.in_stock else "",
        "sort": query.sort if query.sort != "name" else "",
        "page": str(query.page) if query.page > 1 else "",
    }
    given = {name: value for name, value in asked.items() if value}
    return f"/?{urlencode(given)}" if given else "/"


def cards(shown: Iterable[CardShown]) -> Markup:
    """The products as cards of a grid, each drawn once for as long as what it shows stays the same."""
    return Markup("").join([_card(one) for one in shown])


@lru_cache(maxsize=4096)
def _card(shown: CardShown) -> Markup:
    draw = get_template_attribute("catalog/_card.html", "card")
    price = format_money(shown.price_cents, shown.currency)
    drawn: Markup = draw(shown.slug, shown.name, price, shown.picture or PLACEHOLDER, shown.stock)
    return drawn


def _cards_shown(products: Iterable[Product]) -> tuple[CardShown, ...]:
    currency = services().config.currency
    return tuple(
        [
            CardShown(
                product.slug,
                product.name,
                product.price_cents,
                product.picture,
                min(product.stock, FEW_LEFT + 1),
                currency,
            )
            for product in products
        ]
    )


def _product_shown(unit: ReadUnit, product: Product) -> ProductShown:
    category = unit.category(product.category_id)
    near = unit.catalog(CatalogQuery(category_slug=category.slug, size=RELATED_SHOWN + 1)).items if category else []
    return ProductShown(
        product.id,
        product.slug,
        product.sku,
        product.name,
        product.description,
        product.price_cents,
        product.picture,
        min(product.stock, FEW_LEFT + 1),
        product.is_archived,
        fragments.MenuEntry(category.slug, category.name) if category else None,
        _cards_shown([other for other in near if other.id != product.id][:RELATED_SHOWN]),
    )


def _unless_known(drawn: fragments.Drawn) -> Response:
    """The page, or 304 to a browser that has exactly this one: most who come back to the list find it unchanged."""
    is_told, body = has_messages(), drawn.body()
    tag = fragments.tag_of(body) if is_told else drawn.tag
    response = Response(body)
    response.headers["Cache-Control"] = "private, no-cache"  # it may hold a message and the count of a cart
    response.headers["ETag"] = f'"{tag}{farside.tag()}"'  # what one side shows is never taken for the other's
    if "If-None-Match" in request.headers:
        response.make_conditional(request)
    return response


def _menu_slug(query: CatalogQuery) -> str | None:
    """Where in the menu the query is; a search through everything is nowhere."""
    return query.category_slug or (None if query.words else "")


def _heading(query: CatalogQuery, category_name: str | None) -> str:
    if query.words:
        return f"Results for “{query.words}”"
    if query.category_slug:
        return "No such category" if category_name is None else category_name
    return "Everything"


def _address_of_page(query: CatalogQuery) -> Callable[[int], str]:
    return lambda number: address_of(replace(query, page=number))
