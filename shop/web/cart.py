"""The cart: shown, filled, changed. Looking at it changes nothing; every change is a POST answered by a redirect."""

from flask import Blueprint, Response, flash, render_template, request, session
from flask.typing import ResponseReturnValue
from msgspec import ValidationError, convert, to_builtins

from shop import cart as carts
from shop.errors import Conflict, Invalid, NotFound
from shop.models import Product
from shop.web import cart_shown, fragments
from shop.web.catalog import product_page
from shop.web.extensions import limited
from shop.web.forms import LineForm
from shop.web.onward import see_other
from shop.web.services import services
from shop.web.updates import keep
from shop.web.visitor import cart_id, common_frame, remember_cart

bp = Blueprint("cart", __name__)

REMOVED_KEY = "removed"  # the line that "Undo" puts back, in the visitor's session


@bp.get("/cart")
def show() -> ResponseReturnValue:
    return cart_page()


@bp.post("/cart/lines")
@limited("CART_ADDS_PER_ADDRESS")
def add() -> ResponseReturnValue:
    """Put a product in the cart; a refusal is shown on the product's page, beside what was typed."""
    form = LineForm(request.form)
    product = _product(form.typed("product_id"))
    if not form.validate():
        return product_page(product, form, status=400)
    try:
        cart = keep(lambda unit: carts.add(unit, cart_id(), product.id, form.wanted(), services().clock.now()))
    except Invalid as refusal:
        form.refuse(refusal.fields)
        return product_page(product, form, status=refusal.status)
    except Conflict as refusal:
        return product_page(product, form, problem=refusal.message, status=refusal.status)
    remember_cart(cart.id)
    flash(f"{product.name} is in your cart.")
    return see_other("/cart")


@bp.post("/cart/lines/<product_id>")
def change(product_id: str) -> ResponseReturnValue:
    """Have another quantity of what is in the cart; a refusal is shown beside its field."""
    form = LineForm(request.form)
    if not form.validate():
        return cart_page(product_id, form, status=400)
    try:
        keep(lambda unit: carts.change(unit, cart_id(), product_id, form.wanted(), services().clock.now()))
    except Invalid as refusal:
        form.refuse(refusal.fields)
        return cart_page(product_id, form, status=refusal.status)
    except NotFound as refusal:
        return _back_to_cart(refusal.message)
    return see_other("/cart")


@bp.post("/cart/lines/<product_id>/removal")
def remove(product_id: str) -> ResponseReturnValue:
    """Take a line out; the next page offers to put it back."""
    try:
        removed = keep(lambda unit: carts.remove(unit, cart_id(), product_id, services().clock.now()))
    except NotFound as refusal:
        return _back_to_cart(refusal.message)
    session[REMOVED_KEY] = to_builtins(removed)
    flash(f"{removed.product_name or 'One product'} was removed from your cart.", "undo")
    return see_other("/cart")


@bp.post("/cart/restore")
def restore() -> ResponseReturnValue:
    """Put back the line that was removed last; a second time there is nothing to put back."""
    try:
        removed = convert(session.pop(REMOVED_KEY, None), carts.Removed)
    except ValidationError:
        return _back_to_cart("There is nothing to put back.")
    try:
        cart = keep(lambda unit: carts.restore(unit, cart_id(), removed, services().clock.now()))
    except (NotFound, Conflict) as refusal:
        return _back_to_cart(refusal.message)
    remember_cart(cart.id)
    flash(f"{removed.product_name or 'The product'} is back in your cart.")
    return see_other("/cart")


@bp.post("/cart/prices")
def accept_prices() -> ResponseReturnValue:
    """Go on at the prices of now."""
    try:
        keep(lambda unit: carts.accept_prices(unit, cart_id(), services().clock.now()))
    except NotFound as refusal:
        return _back_to_cart(refusal.message)
    flash("The new prices are in your cart.")
    return see_other("/cart")


def cart_page(product_id: str = "", form: LineForm | None = None, *, status: int = 200) -> ResponseReturnValue:
    """The cart at the prices of now; *form* is what was typed for the line of *product_id* and refused."""
    mine = cart_id()
    with services().repository.view() as unit:
        shown = cart_shown.shown(carts.priced(unit, unit.cart(mine) if mine else None))
        frame = common_frame(unit)
    if form is not None:
        return render_template(shown.template, **shown.variables(product_id, form)), status
    return Response(fragments.page(shown, frame).body(), status)


def _product(product_id: str) -> Product:
    with services().repository.view() as unit:
        product = unit.product(product_id)
    if product is None:
        raise NotFound("There is no such product.")
    return product


def _back_to_cart(sentence: str) -> ResponseReturnValue:
    flash(sentence, "warning")
    return see_other("/cart")
