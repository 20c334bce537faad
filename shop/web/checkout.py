"""The checkout: one page, no account. It is asked as often as the customer likes and makes one order at most."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from flask import Blueprint, Response, get_template_attribute, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from msgspec import Struct

from shop import cart as carts
from shop import orders
from shop.errors import CartChanged, Conflict
from shop.models import Customer, Order
from shop.units import WriteUnit
from shop.web import cart_shown, fragments
from shop.web.cart_shown import CartShown
from shop.web.extensions import limited
from shop.web.forms import CheckoutForm
from shop.web.links import order_address
from shop.web.onward import see_other
from shop.web.services import services
from shop.web.updates import keep
from shop.web.visitor import cart_id, common_frame

bp = Blueprint("checkout", __name__)

COUNTRIES = (("", "Choose a country"), *orders.COUNTRIES.items())
KEY = "checkout_key"


class CheckoutShown(Struct, frozen=True):
    """The checkout for a customer who has typed nothing yet, with a gap for the key of the cart."""

    cart: CartShown

    template = "checkout/show.html"

    @property
    def line_count(self) -> int:
        return self.cart.line_count

    def variables(self) -> dict[str, Any]:
        return {
            "cart": self.cart,
            KEY: fragments.gap(KEY),
            "form": CheckoutForm(),
            "fields": _untouched_fields(),
            "sentence": "",
            "problems": {},
        }


@bp.get("/checkout")
def show() -> ResponseReturnValue:
    return _checkout_page(CheckoutForm())


@bp.post("/checkout")
@limited("ORDERS_PER_ADDRESS")
def place() -> ResponseReturnValue:
    """Order, or put one line right, or say what stands in the way; what was typed is kept until there is an order."""
    form = CheckoutForm(request.form)
    if form.typed("settle"):
        return _settle(form)
    customer = form.customer()
    if customer is None:
        return _checkout_page(form, status=400)
    try:
        order = _order(form, customer)
    except CartChanged as refusal:
        return _checkout_page(form, sentence=refusal.message, problems=refusal.problems, status=refusal.status)
    except Conflict as refusal:
        return _checkout_page(form, sentence=refusal.message, status=refusal.status)
    return see_other(order_address(order.number))


def _order(form: CheckoutForm, customer: Customer) -> Order:
    parts = services()
    return keep(
        lambda unit: orders.place(
            unit,
            cart_id=cart_id(),
            customer=customer,
            checkout_key=form.typed("checkout_key"),
            expected_total_cents=form.expected_total(),
            now=parts.clock.now(),
            currency=parts.config.currency,
        )
    )


def _settle(form: CheckoutForm) -> ResponseReturnValue:
    """Put one line right and show the checkout again, with the sums of now; nothing is ordered."""
    keep(lambda unit: _put_right(unit, form.typed("settle"), services().clock.now()))
    return _checkout_page(form)


def _put_right(unit: WriteUnit, product_id: str, now: datetime) -> None:
    """Make a line what can be ordered now: at its new price, the pieces that are left, or out of the cart."""
    mine = cart_id()
    lines = carts.priced(unit, unit.cart(mine) if mine else None).lines
    line = next((line for line in lines if line.product.id == product_id), None)
    if line is None:
        return
    if not line.available:
        carts.remove(unit, mine, product_id, now)
        return
    if line.exceeds_stock:
        carts.change(unit, mine, product_id, line.available, now)
    if line.is_price_changed:
        carts.accept_prices(unit, mine, now)


def _checkout_page(
    form: CheckoutForm, *, sentence: str = "", problems: Mapping[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    mine = cart_id()
    with services().repository.view() as unit:
        cart = carts.priced(unit, unit.cart(mine) if mine else None)
        frame = common_frame(unit)
    if cart.is_empty:
        return see_other("/cart")
    shown = CheckoutShown(cart_shown.shown(cart))
    if form.is_untouched:
        return Response(fragments.page(shown, frame).body(checkout_key=cart.checkout_key))
    refused = {"form": form, "fields": _fields(form), "sentence": sentence, "problems": problems or {}}
    return render_template(shown.template, **{**shown.variables(), KEY: cart.checkout_key, **refused}), status


def _fields(form: CheckoutForm) -> Markup:
    drawn: Markup = get_template_attribute("checkout/_fields.html", "fields")(form, COUNTRIES)
    return drawn


@cache
def _untouched_fields() -> Markup:
    return _fields(CheckoutForm())
