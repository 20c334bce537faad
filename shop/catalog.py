"""The catalog as the shopkeeper keeps it: products, categories, their addresses."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct, convert
from msgspec.structs import replace

from shop.errors import Invalid, NotFound, StaleVersion
from shop.ids import new_id
from shop.models import DESCRIPTION_LENGTH_MAX, NAME_LENGTH_MAX, STOCK_MAX, Category, Product, timestamp
from shop.money import parse_price, parse_stock
from shop.text import clean_line, clean_text, fold, slug_of
from shop.units import ReadUnit, WriteUnit

SKU_LENGTH_MAX = 32
CATEGORY_NAME_LENGTH_MAX = 60
PICTURE_LENGTH_MAX = 200

_SKU = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)*")
_PICTURE = re.compile(r"(?:[a-z0-9][a-z0-9_-]*/)*[a-z0-9][a-z0-9_-]*\.(?:svg|png|jpg|jpeg|webp)")


class ProductValues(Struct, frozen=True, kw_only=True):
    """What a shopkeeper types about a product, checked."""

    sku: str
    name: str
    description: str
    category_id: str
    price_cents: int
    stock: int
    picture: str


def validate_product(form: Mapping[str, str]) -> ProductValues:
    """The values typed into the fields `sku name description category_id price stock picture`, cleaned.

    Raises `Invalid` with a sentence for each field that cannot be accepted. Whether the category exists and the SKU is
    free is seen when the product is kept.
    """
    problems: dict[str, str] = {}

    def value_of(field: str, parse: Callable[[str], object]) -> object:
        try:
            return parse(form.get(field, ""))
        except ValueError as refusal:
            problems[field] = str(refusal)
            return None

    values = {
        "sku": value_of("sku", _parse_sku),
        "name": value_of("name", lambda text: clean_line(text, length_max=NAME_LENGTH_MAX, name="a name")),
        "description": value_of("description", _parse_description),
        "category_id": value_of("category_id", _parse_category_id),
        "price_cents": value_of("price", _parse_price_above_zero),
        "stock": value_of("stock", lambda text: parse_stock(text.strip())),
        "picture": value_of("picture", _parse_picture),
    }
    if problems:
        raise Invalid(problems)
    return convert(values, ProductValues)


def create_product(unit: WriteUnit, values: ProductValues, now: datetime) -> Product:
    """Keep a new product. Raises `Invalid` for a category that does not exist and a SKU that another product has."""
    _check_category(unit, values.category_id)
    product = Product(
        id=new_id(),
        sku=values.sku,
        slug=_free_slug(values.name, "product", lambda slug: unit.product_by_slug(slug) is not None),
        name=values.name,
        description=values.description,
        category_id=values.category_id,
        price_cents=values.price_cents,
        stock=values.stock,
        picture=values.picture,
        created_at=timestamp(now),
        updated_at=timestamp(now),
    )
    unit.put_product(product)
    return product


def edit_product(
    unit: WriteUnit, product_id: str, version: int, values: ProductValues, *, stock_seen: int, now: datetime
) -> Product:
    """Change a product to *values*; its address stays.

    The stock is changed by what the shopkeeper added to or took from *stock_seen*, the number the form was filled with,
    so that what was sold meanwhile stays sold. Raises `NotFound`, `StaleVersion` when somebody else edited the product,
    and `Invalid` as `create_product` does or for a stock that would fall below 0.
    """
    product = _product_at(unit, product_id, version)
    _check_category(unit, values.category_id)
    edited = replace(
        product,
        sku=values.sku,
        name=values.name,
        description=values.description,
        category_id=values.category_id,
        price_cents=values.price_cents,
        stock=_new_stock(product.stock, values.stock, stock_seen),
        picture=values.picture,
    )
    return _keep_edit(unit, edited, now)


def archive(unit: WriteUnit, product_id: str, version: int, now: datetime) -> Product:
    """Stop selling a product; orders and links still name it. Raises `NotFound`, `StaleVersion`."""
    return _keep_edit(unit, replace(_product_at(unit, product_id, version), is_archived=True), now)


def unarchive(unit: WriteUnit, product_id: str, version: int, now: datetime) -> Product:
    """Sell an archived product again. Raises `NotFound`, `StaleVersion`."""
    return _keep_edit(unit, replace(_product_at(unit, product_id, version), is_archived=False), now)


def create_category(unit: WriteUnit, name: str) -> Category:
    """Keep a new category, last in the menu. Raises `Invalid` on the field `name`, also when another is called the same."""
    try:
        cleaned = clean_line(name, length_max=CATEGORY_NAME_LENGTH_MAX, name="a name")
    except ValueError as refusal:
        raise Invalid({"name": str(refusal)}) from None
    others = unit.categories()
    if any(fold(other.name) == fold(cleaned) for other in others):
        raise Invalid({"name": "There is a category of this name already."})
    category = Category(
        id=new_id(),
        slug=_free_slug(cleaned, "category", lambda slug: unit.category_by_slug(slug) is not None),
        name=cleaned,
        rank=max((other.rank for other in others), default=0) + 1,
    )
    unit.put_category(category)
    return category


def _parse_sku(text: str) -> str:
    sku = clean_line(text, length_max=SKU_LENGTH_MAX, name="a SKU").upper()
    if not _SKU.fullmatch(sku):
        raise ValueError("Use letters, digits and single hyphens, like MUG-01.")
    return sku


def _parse_description(text: str) -> str:
    return clean_text(text, length_max=DESCRIPTION_LENGTH_MAX, name="a description")


def _parse_category_id(text: str) -> str:
    if not text:
        raise ValueError("Choose a category.")
    return text


def _parse_price_above_zero(text: str) -> int:
    cents = parse_price(text.strip())
    if cents == 0:
        raise ValueError("Enter a price above zero, like 12.50.")
    return cents


def _parse_picture(text: str) -> str:
    if text and (len(text) > PICTURE_LENGTH_MAX or not _PICTURE.fullmatch(text)):
        raise ValueError("Choose a picture from the list.")
    return text


def _product_at(unit: WriteUnit, product_id: str, version: int) -> Product:
    product = unit.product(product_id)
    if product is None:
        raise NotFound("There is no such product.")
    if product.version != version:
        raise StaleVersion(
            f"{product.name} was changed by somebody else since this page was shown. What you typed is still here; "
            "compare it with what is kept now, and save again."
        )
    return product


def _check_category(unit: ReadUnit, category_id: str) -> None:
    if unit.category(category_id) is None:
        raise Invalid({"category_id": "Choose a category."})


def _new_stock(kept: int, typed: int, seen: int) -> int:
    stock = kept + typed - seen
    if stock < 0:
        raise Invalid({"stock": f"{seen - kept} were sold meanwhile, and only {kept} are left. Enter the stock again."})
    if stock > STOCK_MAX:
        raise Invalid({"stock": f"This would make a stock of {stock:,}; at most {STOCK_MAX:,} are possible."})
    return stock


def _keep_edit(unit: WriteUnit, edited: Product, now: datetime) -> Product:
    kept = replace(edited, version=edited.version + 1, updated_at=timestamp(now))
    unit.put_product(kept)
    return kept


def _free_slug(name: str, fallback: str, is_taken: Callable[[str], bool]) -> str:
    """An address made of *name*; the second of the same name ends in `-2`. The same shop gives the same address."""
    stem = slug_of(name) or fallback
    slug, number = stem, 2
    while is_taken(slug):
        slug, number = f"{stem}-{number}", number + 1
    return slug
