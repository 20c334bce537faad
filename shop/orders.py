"""Orders: made of a cart once, sent or cancelled later.

An order keeps everything it needs to be read in ten years: names, prices and the address as they were. Stock is taken when an
order is placed and goes back when it is cancelled; nothing else in the shop sells.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from shop import cart as carts
from shop.errors import CartChanged, Conflict, Invalid, NotFound, StaleVersion
from shop.models import Cart, CartLine, Customer, Order, OrderLine, OrderStatus, Product, timestamp
from shop.text import clean_line, clean_text
from shop.units import WriteUnit

EMAIL_LENGTH_MAX = 254  # the longest that fits in an SMTP path
NOTE_LENGTH_MAX = 500

COUNTRIES: Mapping[str, str] = {  # where the shop delivers: ISO 3166-1 alpha-2 -> name, in the order of the list
    "AT": "Austria",
    "BE": "Belgium",
    "BG": "Bulgaria",
    "HR": "Croatia",
    "CY": "Cyprus",
    "CZ": "Czechia",
    "DK": "Denmark",
    "EE": "Estonia",
    "FI": "Finland",
    "FR": "France",
    "DE": "Germany",
    "GR": "Greece",
    "HU": "Hungary",
    "IS": "Iceland",
    "IE": "Ireland",
    "IT": "Italy",
    "LV": "Latvia",
    "LI": "Liechtenstein",
    "LT": "Lithuania",
    "LU": "Luxembourg",
    "MT": "Malta",
    "NL": "Netherlands",
    "NZ": "New Zealand",
    "NO": "Norway",
    "PL": "Poland",
    "PT": "Portugal",
    "RO": "Romania",
    "SK": "Slovakia",
    "SI": "Slovenia",
    "ES": "Spain",
    "SE": "Sweden",
    "CH": "Switzerland",
    "GB": "United Kingdom",
}

_EMAIL = re.compile(
    r"(?=.{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])"
)

# Field, what a sentence calls it, the most characters it may have.
_LINES = (
    ("name", "your name", 120),
    ("email", "your e-mail address", EMAIL_LENGTH_MAX),
    ("street", "the street and number", 120),
    ("postcode", "the postcode", 16),
    ("city", "the city", 80),
)


def validate_customer(form: Mapping[str, str]) -> Customer:
    """The customer typed into the fields `name email street postcode city country note`, cleaned.

    Raises `Invalid` with a sentence for each field that cannot be accepted.
    """
    problems: dict[str, str] = {}
    values: dict[str, str] = {}
    for field, name, length_max in _LINES:
        try:
            values[field] = clean_line(form.get(field, ""), length_max=length_max, name=name)
        except ValueError as refusal:
            problems[field] = str(refusal)
    try:
        values["note"] = clean_text(form.get("note", ""), length_max=NOTE_LENGTH_MAX, name="a note")
    except ValueError as refusal:
        problems["note"] = str(refusal)
    if "email" in values and not _EMAIL.fullmatch(values["email"]):
        problems["email"] = "Enter an e-mail address like name@example.com."
    values["country"] = form.get("country", "")
    if values["country"] not in COUNTRIES:
        problems["country"] = "Choose a country from the list."
    if problems:
        raise Invalid(problems)
    return Customer(**values)


def place(
    unit: WriteUnit,
    cart_id: str,
    customer: Customer,
    *,
    checkout_key: str,
    expected_total_cents: int,
    now: datetime,
    currency: str,
) -> Order:
    """Make one order of the cart, take its stock and empty the cart; a second call with the same key returns that order.

    Raises `CartChanged` when a price, a stock or the total is not what the customer was shown, and `Conflict` when this
    checkout belongs to no cart that could be ordered now. Nothing is changed then.
    """
    made = unit.order_by_checkout_key(checkout_key)
    if made:
        return made
    cart = _cart_to_order(unit, cart_id, checkout_key)
    products = unit.products(sorted(line.product_id for line in cart.lines))
    lines = [line for line in cart.lines if line.product_id in products]
    _check_nothing_changed(lines, products)
    ordered = tuple(_order_line(products[line.product_id], line.quantity) for line in lines)
    due = carts.costs(sum(line.total_cents for line in ordered))
    if not ordered or due.total_cents != expected_total_cents:
        raise CartChanged("Your cart changed since this page was shown. Please look at it again.", {})

    for line in lines:
        _move_stock(unit, products[line.product_id], -line.quantity)
    order = Order(
        number=unit.next_order_number(),
        checkout_key=checkout_key,
        customer=customer,
        lines=ordered,
        subtotal_cents=due.subtotal_cents,
        shipping_cents=due.shipping_cents,
        total_cents=due.total_cents,
        currency=currency,
        placed_at=timestamp(now),
    )
    unit.put_order(order)
    unit.put_cart(carts.emptied(cart, now))
    return order


def cancel(unit: WriteUnit, number: str, version: int, now: datetime) -> Order:
    """Cancel an order that was not sent; its stock goes back, also to products that are archived now.

    Raises `NotFound`; `StaleVersion` or `Conflict` when the order is not as the shopkeeper saw it, or was sent.
    """
    order = _open_order(unit, number, version)
    products = unit.products(sorted(line.product_id for line in order.lines))
    for line in order.lines:
        if line.product_id in products:
            _move_stock(unit, products[line.product_id], line.quantity)
    return _keep(unit, replace(order, status=OrderStatus.CANCELLED, cancelled_at=timestamp(now)))


def mark_sent(unit: WriteUnit, number: str, version: int, now: datetime) -> Order:
    """Note that the parcel has left. Raises as `cancel` does."""
    order = _open_order(unit, number, version)
    return _keep(unit, replace(order, status=OrderStatus.SENT, sent_at=timestamp(now)))


def _cart_to_order(unit: WriteUnit, cart_id: str, checkout_key: str) -> Cart:
    cart = unit.cart(cart_id) if cart_id else None
    if cart is None or not cart.lines:
        raise Conflict("Your cart is empty, so there is nothing to order.")
    if cart.checkout_key != checkout_key:
        raise Conflict("This checkout page is out of date. Please look at your cart again.")
    return cart


def _check_nothing_changed(lines: list[CartLine], products: Mapping[str, Product]) -> None:
    problems = {line.product_id: _problem(line, products[line.product_id]) for line in lines}
    problems = {product_id: sentence for product_id, sentence in problems.items() if sentence}
    if problems:
        raise CartChanged("Something in your cart changed since you looked. Nothing has been ordered.", problems)


def _problem(line: CartLine, product: Product) -> str:
    if product.is_archived:
        return f"{product.name} is not sold any more."
    if product.stock == 0:
        return f"{product.name} is sold out."
    if line.quantity > product.stock:
        return f"Only {product.stock} of {product.name} {'is' if product.stock == 1 else 'are'} left."
    if product.price_cents != line.price_seen_cents:
        return f"The price of {product.name} changed."
    return ""


def _order_line(product: Product, quantity: int) -> OrderLine:
    return OrderLine(
        product_id=product.id, sku=product.sku, name=product.name, price_cents=product.price_cents, quantity=quantity
    )


def _move_stock(unit: WriteUnit, product: Product, change: int) -> None:
    """A sale is no edit: version and time of the product stay, so that it does not get in the way of the shopkeeper's form."""
    unit.put_product(replace(product, stock=product.stock + change))


def _open_order(unit: WriteUnit, number: str, version: int) -> Order:
    order = unit.order(number)
    if order is None:
        raise NotFound("There is no such order.")
    if order.status is OrderStatus.SENT:
        raise Conflict(f"Order {number} has already been sent.")
    if order.status is OrderStatus.CANCELLED:
        raise Conflict(f"Order {number} has already been cancelled.")
    if order.version != version:
        raise StaleVersion(f"Order {number} was changed since this page was shown. Please look at it again.")
    return order


def _keep(unit: WriteUnit, order: Order) -> Order:
    kept = replace(order, version=order.version + 1)
    unit.put_order(kept)
    return kept
