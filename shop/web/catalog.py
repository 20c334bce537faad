"""The goods: the list with its search and filters, and the page of one product."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from urllib.parse import urlencode

from flask import Blueprint, Response, get_template_attribute, make_response, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from msgspec.structs import replace
from werkzeug.datastructures import MultiDict

from shop import cart as carts
from shop.errors import NotFound
from shop.models import Category, Product
from shop.money import format_money
from shop.units import CatalogQuery
from shop.web import farside
from shop.web.filters import FEW_LEFT, PLACEHOLDER
from shop.web.forms import LineForm
from shop.web.services import services

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


@bp.get("/")
def index() -> ResponseReturnValue:
    """The goods that match; whatever is asked in a way the shop does not know is left out."""
    query = query_of(request.args)
    with farside.view() as unit:
        page = unit.catalog(query)
        category = unit.category_by_slug(query.category_slug) if query.category_slug else None
    page_text = render_template(
        "catalog/index.html",
        query=query,
        page=page,
        cards=cards(page.items),
        category=category,
        heading=_heading(query, category),
        is_front=query == CatalogQuery(),
        sorts=SORTS,
        words=query.words,
        menu_slug="" if not query.words and not query.category_slug else query.category_slug or None,
        address_of_page=_address_of_page(query),
        address_everywhere=address_of(replace(query, category_slug="", page=1)),
        address_without_stock=address_of(replace(query, in_stock=False, page=1)),
    )
    return _unless_known(page_text)


@bp.get("/products/<slug>")
def show(slug: str) -> ResponseReturnValue:
    """One product. Raises `NotFound` for one that never was; one that is not sold any more says so."""
    with farside.view() as unit:
        product = unit.product_by_slug(slug) if len(slug) <= SLUG_LENGTH_MAX else None
    if product is None:
        raise NotFound(farside.missing("There is no such product."))
    return product_page(product, LineForm(product_id=product.id, quantity="1"))


def product_page(product: Product, form: LineForm, *, problem: str = "", status: int = 200) -> ResponseReturnValue:
    """The page of *product* with *form* as it was filled in; *problem* is a sentence that belongs to no field."""
    with farside.view() as unit:
        category = unit.category(product.category_id)
        near = unit.catalog(CatalogQuery(category_slug=category.slug, size=RELATED_SHOWN + 1)).items if category else []
    related = [other for other in near if other.id != product.id][:RELATED_SHOWN]
    page = render_template(
        "catalog/show.html",
        product=product,
        category=category,
        form=form,
        problem=problem,
        related=cards(related),
        shipping_cents=carts.SHIPPING_CENTS,
        free_shipping_from_cents=carts.FREE_SHIPPING_FROM_CENTS,
    )
    return page, status


def query_of(args: MultiDict[str, str]) -> CatalogQuery:
    """What an address asks for; a value that makes no sense is as if it were not there."""
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


def cards(products: Iterable[Product]) -> Markup:
    """The products as cards of a grid, each drawn once for as long as what it shows stays the same."""
    currency = services().config.currency
    return Markup("").join(
        _card(
            product.slug,
            product.name,
            product.price_cents,
            product.picture,
            min(product.stock, FEW_LEFT + 1),  # more does not show, so a sale does not draw the card anew
            currency,
        )
        for product in products
    )


@lru_cache(maxsize=4096)
def _card(slug: str, name: str, price_cents: int, picture: str, stock: int, currency: str) -> Markup:
    draw = get_template_attribute("catalog/_card.html", "card")
    drawn: Markup = draw(slug, name, format_money(price_cents, currency), picture or PLACEHOLDER, stock)
    return drawn


def _unless_known(page_text: str) -> Response:
    """The page, or 304 to a browser that has exactly this one: most who come back to the list find it unchanged."""
    response = make_response(page_text)
    response.headers["Cache-Control"] = "private, no-cache"  # it may hold a message and the count of a cart
    response.add_etag()
    response.set_etag(f"{response.get_etag()[0]}{farside.tag()}")  # what one side shows is never taken for the other's
    return response.make_conditional(request)  # type: ignore[return-value]


def _heading(query: CatalogQuery, category: Category | None) -> str:
    if query.words:
        return f"Results for “{query.words}”"
    if query.category_slug:
        return category.name if category else "No such category"
    return "Everything"


def _address_of_page(query: CatalogQuery) -> Callable[[int], str]:
    return lambda number: address_of(replace(query, page=number))
