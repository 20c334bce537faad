"""The goods, for the shopkeeper: the list, a new one, an edit that notices other edits, on and off the shelf."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import structlog
from flask import Blueprint, current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from msgspec import Struct
from wtforms import StringField

from shop import catalog
from shop.errors import Invalid, NotFound, ShopError, StaleVersion, WritesUnavailable
from shop.models import Category, Product
from shop.money import parse_stock, plain_amount
from shop.units import WriteUnit
from shop.web.admin_auth import current_admin, login_required, login_required_keeping_form, refusal, retry_after
from shop.web.admin_lists import address, page_asked, words_asked
from shop.web.forms import ShopForm
from shop.web.services import services
from shop.web.updates import keep

bp = Blueprint("admin_products", __name__, url_prefix="/admin/products")
bp.register_error_handler(ShopError, refusal)

PRODUCTS_PER_PAGE = 25
ARCHIVED_KEY = "archived"  # the product that "Undo" puts back, in the visitor's session
FIELDS = {
    "name": "Name",
    "sku": "SKU",
    "category_id": "Category",
    "price": "Price",
    "stock": "Stock",
    "description": "Description",
    "picture": "Picture",
}
STOCK_HINT = "What is sold while you type is taken into account."
STATE_FIELD, STATE_LABEL = "state", "State"  # shown among what changed; it has buttons of its own
UNDO = "undo-archive"  # the category of a flash that offers to put a product back

_log = structlog.get_logger("admin")


class ProductForm(ShopForm):
    """A product as it is typed; and, hidden, as it was shown: each field's text, the version and the stock."""

    name = StringField()
    sku = StringField()
    category_id = StringField()
    price = StringField()
    stock = StringField()
    description = StringField()
    picture = StringField()
    version = StringField()
    seen_sku = StringField()
    seen_name = StringField()
    seen_description = StringField()
    seen_category_id = StringField()
    seen_price = StringField()
    seen_stock = StringField()
    seen_picture = StringField()
    seen_state = StringField()

    def values(self, kept: Product | None = None) -> catalog.ProductValues | None:
        """What was typed, checked, or None with the fields marked."""
        problems: dict[str, str] = {}
        try:
            values = catalog.validate_product({name: self.typed(name) for name in FIELDS})
        except Invalid as invalid:
            problems = invalid.fields
        picture = self.typed("picture")
        if picture and picture not in pictures() and picture != (kept.picture if kept else ""):
            problems.setdefault("picture", "Choose a picture from the list.")
        if problems:
            self.refuse(problems)
            return None
        return values

    def version_seen(self) -> int:
        """The version that was shown; 0, which no product has, for anything that is none."""
        text = self.typed("version")
        return int(text) if re.fullmatch("[0-9]{1,12}", text) else 0

    def stock_seen(self) -> int:
        """The stock that was shown; raises `Invalid` for anything that is none."""
        try:
            return parse_stock(self.typed("seen_stock"))
        except ValueError:
            raise Invalid({"stock": "Enter the stock again."}) from None

    def is_touched(self, name: str) -> bool:
        """Whether the field holds something else than when it was shown."""
        return _plain(self.typed(name)) != _plain(self.typed(f"seen_{name}"))

    def show(self, texts: Mapping[str, str], *, fields: Sequence[str]) -> None:
        """Fill *fields* with *texts*."""
        for name in fields:
            self[name].data = texts[name]

    def see(self, product: Product) -> None:
        """What is shown now is *product* as it is kept now."""
        self["version"].data = str(product.version)
        for name, text in texts_of(product).items():
            self[f"seen_{name}"].data = text


class Change(Struct, frozen=True):
    """What somebody else did to one field while a form was open."""

    label: str
    before: str
    now: str
    typed: str | None  # None when the field was left as it was


@bp.get("")
@login_required
def index() -> ResponseReturnValue:
    words, archived = words_asked(), request.args.get("archived") == "1"
    with services().repository.view() as unit:
        page = unit.admin_products(words=words, archived=archived, page=page_asked(), size=PRODUCTS_PER_PAGE)
        categories = {category.id: category.name for category in unit.categories()}
    path, flag = url_for("admin_products.index"), "1" if archived else ""
    return render_template(
        "admin/products/index.html",
        page=page,
        categories=categories,
        words=words,
        archived=archived,
        address_of_page=lambda number: address(path, q=words, archived=flag, page=number),
        address_on_sale=address(path, q=words),
        address_archived=address(path, q=words, archived="1"),
    )


@bp.get("/new")
@login_required
def new() -> ResponseReturnValue:
    return _form_page(ProductForm(category_id=request.args.get("category", "")))


@bp.post("/new")
@login_required_keeping_form
def create() -> ResponseReturnValue:
    """Keep a new product, or say what stands in the way with everything typed kept."""
    form = ProductForm(request.form)
    values = form.values()
    if values is None:
        return _form_page(form, status=400)
    try:
        product = keep(lambda unit: catalog.create_product(unit, values, services().clock.now()))
    except Invalid as invalid:
        form.refuse(invalid.fields)
        return _form_page(form, status=invalid.status)
    except WritesUnavailable as unavailable:
        return _form_page(form, refused=unavailable)
    _log.info("product created", admin=current_admin(), product=product.id, sku=product.sku)
    flash(f"{product.name} is in the shop.")
    return redirect(url_for("admin_products.show", product_id=product.id), 303)


@bp.get("/<product_id>")
@login_required
def show(product_id: str) -> ResponseReturnValue:
    product = _product(product_id)
    form = ProductForm()
    form.show(texts_of(product), fields=tuple(FIELDS))
    form.see(product)
    return _form_page(form, product)


@bp.post("/<product_id>")
@login_required_keeping_form
def save(product_id: str) -> ResponseReturnValue:
    """Keep an edit; of two at once the second is told what the first changed, and loses nothing it typed."""
    form = ProductForm(request.form)
    product = _product(product_id)
    values = form.values(product)
    if values is None:
        return _form_page(form, product, status=400)
    try:
        edited = keep(lambda unit: _edit(unit, product_id, form, values))
    except StaleVersion as stale:
        return _conflict_page(form, product_id, stale)
    except Invalid as invalid:
        return _refused_page(form, product_id, invalid)
    except WritesUnavailable as unavailable:
        return _form_page(form, product, refused=unavailable)
    _log.info("product changed", admin=current_admin(), product=edited.id, sku=edited.sku, version=edited.version)
    flash(f"{edited.name} is saved. {_stock_sentence(values.stock, edited.stock)}".strip())
    return redirect(url_for("admin_products.show", product_id=product_id), 303)


@bp.post("/<product_id>/archive")
@login_required
def archive(product_id: str) -> ResponseReturnValue:
    """Take a product off the shelf; the next page offers to put it back."""
    form = ProductForm(request.form)
    try:
        product = keep(lambda unit: catalog.archive(unit, product_id, form.version_seen(), services().clock.now()))
    except StaleVersion:
        return _not_as_seen(product_id)
    _log.info("product archived", admin=current_admin(), product=product.id, sku=product.sku)
    session[ARCHIVED_KEY] = [product.id, product.version]
    flash(f"{product.name} is archived: it is not sold any more.", UNDO)
    return redirect(url_for("admin_products.index"), 303)


@bp.post("/<product_id>/unarchive")
@login_required
def unarchive(product_id: str) -> ResponseReturnValue:
    form = ProductForm(request.form)
    try:
        product = keep(lambda unit: catalog.unarchive(unit, product_id, form.version_seen(), services().clock.now()))
    except StaleVersion:
        return _not_as_seen(product_id)
    _log.info("product unarchived", admin=current_admin(), product=product.id, sku=product.sku)
    flash(f"{product.name} is back in the shop.")
    return redirect(url_for("admin_products.show", product_id=product_id), 303)


def pictures() -> Mapping[str, str]:
    """What can be chosen: path below /static -> what it is called."""
    return _pictures(Path(current_app.static_folder or ""))


def texts_of(product: Product) -> dict[str, str]:
    """A product as its form shows it."""
    return {
        "name": product.name,
        "sku": product.sku,
        "category_id": product.category_id,
        "price": plain_amount(product.price_cents),
        "stock": str(product.stock),
        "description": product.description,
        "picture": product.picture,
        STATE_FIELD: "Archived" if product.is_archived else "In the shop",
    }


@cache
def _pictures(folder: Path) -> Mapping[str, str]:
    found = sorted(path.relative_to(folder) for path in (folder / "pictures").glob("*.*"))
    return {path.as_posix(): path.stem.replace("-", " ").capitalize() for path in found}


def _edit(unit: WriteUnit, product_id: str, form: ProductForm, values: catalog.ProductValues) -> Product:
    return catalog.edit_product(
        unit,
        product_id,
        form.version_seen(),
        values,
        stock_seen=form.stock_seen(),
        now=services().clock.now(),
    )


def _form_page(
    form: ProductForm,
    product: Product | None = None,
    *,
    status: int = 200,
    refused: ShopError | None = None,
    changes: Sequence[Change] = (),
) -> ResponseReturnValue:
    """The form as it was filled in. *refused* is a sentence that belongs to no field; its status is the page's."""
    retry_seconds = refused.retry_seconds if isinstance(refused, WritesUnavailable) else None
    page = render_template(
        "admin/products/form.html",
        form=form,
        product=product,
        category_options=[("", "Choose a category"), *((one.id, one.name) for one in _categories())],
        currency=services().config.currency,
        stock_hint=STOCK_HINT if product else "How many can be sold.",
        pictures=pictures(),
        sentence=refused.message if refused else "",
        changes=changes,
    )
    return page, refused.status if refused else status, retry_after(retry_seconds)


def _conflict_page(form: ProductForm, product_id: str, stale: StaleVersion) -> ResponseReturnValue:
    """What was changed meanwhile beside what was typed. Saving again, on purpose, goes over it.

    A field that was left as it was shows the newer text: nobody typed the older one. A stock that was typed is from now on
    meant for the stock of now, which stands beside it: nobody can tell any more what of the difference was sold.
    """
    product = _product(product_id)
    changes = changes_between(form, product, {category.id: category.name for category in _categories()})
    form.show(texts_of(product), fields=[name for name in FIELDS if not form.is_touched(name)])
    form.see(product)
    return _form_page(form, product, refused=stale, changes=changes)


def changes_between(form: ProductForm, product: Product, categories: Mapping[str, str]) -> list[Change]:
    """Each field whose kept text is not the one that the form was filled with."""

    def shown(name: str, text: str) -> str:
        return categories.get(text, text) if name == "category_id" else text or "–"

    changes = []
    for name, now in texts_of(product).items():
        before = _plain(form.typed(f"seen_{name}"))
        if before == _plain(now):
            continue
        is_typed = name in FIELDS and form.is_touched(name)
        typed = shown(name, form.typed(name)) if is_typed else None
        if typed and name == "stock":
            typed += " (saving makes it that)"
        changes.append(Change(FIELDS.get(name, STATE_LABEL), shown(name, before), shown(name, now), typed))
    return changes


def _refused_page(form: ProductForm, product_id: str, invalid: Invalid) -> ResponseReturnValue:
    """A stock is refused because of what was sold meanwhile: what is typed next is meant for the stock of now."""
    product = _product(product_id)
    if "stock" in invalid.fields:
        form["seen_stock"].data = str(product.stock)
    form.refuse(invalid.fields)
    return _form_page(form, product, status=invalid.status)


def _not_as_seen(product_id: str) -> ResponseReturnValue:
    name = _product(product_id).name
    flash(f"{name} was changed by somebody else meanwhile. This is how it is now; nothing was done to it.", "warning")
    return redirect(url_for("admin_products.show", product_id=product_id), 303)


def _stock_sentence(typed: int, kept: int) -> str:
    """How the stock came to be another than the one typed."""
    if kept == typed:
        return ""
    moved = f"{typed - kept:,} were sold" if kept < typed else f"{kept - typed:,} came back"
    return f"{moved} meanwhile, so the stock is {kept:,}."


def _product(product_id: str) -> Product:
    with services().repository.view() as unit:
        product = unit.product(product_id)
    if product is None:
        raise NotFound("There is no such product.")
    return product


def _categories() -> Sequence[Category]:
    with services().repository.view() as unit:
        return unit.categories()


def _plain(text: str) -> str:
    """As before the browser sent it: it ends each line of a field in two characters."""
    return text.replace("\r\n", "\n")
