"""The cart of one visitor: what they would buy, and what it would cost now.

A cart keeps no prices to charge, only the price that the visitor last accepted; every amount is worked out from the
products as they are at that moment. What a cart shows is not reserved: the stock is taken by `orders.place`.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from shop.errors import Conflict, Invalid, NotFound
from shop.ids import new_checkout_key, new_id
from shop.models import CART_LINES_MAX, QUANTITY_MAX, Cart, CartLine, Product, timestamp
from shop.units import ReadUnit, WriteUnit

SHIPPING_CENTS = 490  # flat, whatever is in the parcel
FREE_SHIPPING_FROM_CENTS = 5_000  # a subtotal of this much is sent for nothing


class Costs(Struct, frozen=True):
    """What goods of *subtotal_cents* cost at the door."""

    subtotal_cents: int
    shipping_cents: int
    total_cents: int
    free_shipping_missing_cents: int  # "add €12.00 for free shipping"; 0 when it is free or nothing is bought


class LineView(Struct, frozen=True, kw_only=True):
    """One line of a cart beside its product as it is now."""

    product: Product
    quantity: int
    price_seen_cents: int  # the price the visitor last accepted
    total_cents: int  # at the price of now; 0 when it is not sold any more
    is_price_changed: bool
    is_unavailable: bool  # not sold any more: it must be removed
    exceeds_stock: bool
    available: int  # the most that can be bought of it now

    @property
    def is_in_the_way(self) -> bool:
        """Whether this line must be looked at before the cart can be ordered."""
        return self.is_price_changed or self.is_unavailable or self.exceeds_stock


class CartView(Struct, frozen=True, kw_only=True):
    """A cart with everything a page shows of it."""

    id: str  # "" for a visitor who has put nothing in a cart yet
    checkout_key: str
    lines: Sequence[LineView]
    quantity: int  # pieces, over all lines
    subtotal_cents: int
    shipping_cents: int
    total_cents: int
    free_shipping_missing_cents: int

    @property
    def is_empty(self) -> bool:
        return not self.lines

    @property
    def has_changed_prices(self) -> bool:
        return any(line.is_price_changed for line in self.lines)

    @property
    def can_check_out(self) -> bool:
        return bool(self.lines) and not any(line.is_in_the_way for line in self.lines)


class Removed(Struct, frozen=True, kw_only=True):
    """A line that was taken out, and all that `restore` needs to put it back where it was."""

    product_id: str
    product_name: str  # for the sentence; "" when the product is gone
    quantity: int
    price_seen_cents: int
    place: int  # its position among the lines


def new_cart(now: datetime) -> Cart:
    """An empty cart, not kept until it is put in a unit."""
    return Cart(id=new_id(), checkout_key=new_checkout_key(), updated_at=timestamp(now))


def open_cart(unit: ReadUnit, cart_id: str, now: datetime) -> Cart:
    """The cart of that id, or a new one under a new id: a visitor may hold the id of a cart that is gone."""
    return (unit.cart(cart_id) if cart_id else None) or new_cart(now)


def add(unit: WriteUnit, cart_id: str, product_id: str, quantity: int, now: datetime) -> Cart:
    """Put *quantity* more of a product into the cart; returns the cart, whose id is new when *cart_id* led to none.

    Raises `NotFound` for a product that is not sold, `Invalid` on the field `quantity`, `Conflict` when the cart is full.
    """
    cart = open_cart(unit, cart_id, now)
    product = _sold_product(unit, product_id)
    _check_quantity(quantity)
    before = _line_of(cart, product_id)
    wanted = quantity + (before.quantity if before else 0)
    _check_stock(product, wanted, in_cart=before.quantity if before else 0)
    line = CartLine(product_id=product_id, quantity=wanted, price_seen_cents=product.price_cents)
    if before:
        return _keep(unit, cart, [line if old is before else old for old in cart.lines], now)
    _check_room(cart)
    return _keep(unit, cart, [*cart.lines, line], now)


def change(unit: WriteUnit, cart_id: str, product_id: str, quantity: int, now: datetime) -> Cart:
    """Have *quantity* of a product that is in the cart. Raises as `add` does, and `NotFound` for a line that is not there."""
    cart, before = _cart_and_line(unit, cart_id, product_id)
    _check_quantity(quantity)
    if quantity > before.quantity:  # having fewer is never refused, also when there are too few left for that
        _check_stock(_sold_product(unit, product_id), quantity, in_cart=0)
    line = replace(before, quantity=quantity)
    return _keep(unit, cart, [line if old is before else old for old in cart.lines], now)


def remove(unit: WriteUnit, cart_id: str, product_id: str, now: datetime) -> Removed:
    """Take a line out; the answer puts it back with `restore`. Raises `NotFound` for a line that is not there."""
    cart, line = _cart_and_line(unit, cart_id, product_id)
    product = unit.product(product_id)
    _keep(unit, cart, [old for old in cart.lines if old is not line], now)
    return Removed(
        product_id=product_id,
        product_name=product.name if product else "",
        quantity=line.quantity,
        price_seen_cents=line.price_seen_cents,
        place=cart.lines.index(line),
    )


def restore(unit: WriteUnit, cart_id: str, removed: Removed, now: datetime) -> Cart:
    """Put a removed line back as it was, sold out or not; a product that is in the cart again stays as it is there.

    Raises `NotFound` for an unknown product, `Invalid` for an impossible quantity, `Conflict` when the cart is full.
    """
    cart = open_cart(unit, cart_id, now)
    if unit.product(removed.product_id) is None:
        raise NotFound("This product does not exist.")
    if _line_of(cart, removed.product_id):
        return cart
    _check_quantity(removed.quantity)
    _check_room(cart)
    line = CartLine(product_id=removed.product_id, quantity=removed.quantity, price_seen_cents=removed.price_seen_cents)
    place = max(0, min(removed.place, len(cart.lines)))
    return _keep(unit, cart, [*cart.lines[:place], line, *cart.lines[place:]], now)


def accept_prices(unit: WriteUnit, cart_id: str, now: datetime) -> Cart:
    """The visitor has seen the new prices and goes on. Raises `NotFound` when there is no such cart."""
    cart = _known_cart(unit, cart_id)
    products = unit.products(line.product_id for line in cart.lines)

    def accepted(line: CartLine) -> CartLine:
        product = products.get(line.product_id)
        return replace(line, price_seen_cents=product.price_cents) if product else line

    return _keep(unit, cart, [accepted(line) for line in cart.lines], now)


def priced(unit: ReadUnit, cart: Cart | None) -> CartView:
    """The cart at the prices and stocks of *unit*; None is a visitor without one. A line of no known product is left out."""
    lines = _line_views(unit, cart.lines if cart else ())
    due = costs(sum(line.total_cents for line in lines), is_anything=any(not line.is_unavailable for line in lines))
    return CartView(
        id=cart.id if cart else "",
        checkout_key=cart.checkout_key if cart else "",
        lines=lines,
        quantity=sum(line.quantity for line in lines),
        subtotal_cents=due.subtotal_cents,
        shipping_cents=due.shipping_cents,
        total_cents=due.total_cents,
        free_shipping_missing_cents=due.free_shipping_missing_cents,
    )


def costs(subtotal_cents: int, *, is_anything: bool = True) -> Costs:
    """What is paid for goods of *subtotal_cents*; nothing for no goods (*is_anything* false)."""
    if not is_anything:
        return Costs(0, 0, 0, 0)
    missing = max(0, FREE_SHIPPING_FROM_CENTS - subtotal_cents)
    shipping = SHIPPING_CENTS if missing else 0
    return Costs(subtotal_cents, shipping, subtotal_cents + shipping, missing)


def emptied(cart: Cart, now: datetime) -> Cart:
    """The cart after its order was made: empty, and with the key for another order."""
    return replace(cart, lines=(), checkout_key=new_checkout_key(), updated_at=timestamp(now))


def _line_views(unit: ReadUnit, lines: Sequence[CartLine]) -> list[LineView]:
    products = unit.products(line.product_id for line in lines)
    return [_line_view(products[line.product_id], line) for line in lines if line.product_id in products]


def _line_view(product: Product, line: CartLine) -> LineView:
    is_sold = not product.is_archived
    return LineView(
        product=product,
        quantity=line.quantity,
        price_seen_cents=line.price_seen_cents,
        total_cents=product.price_cents * line.quantity if is_sold else 0,
        is_price_changed=is_sold and product.price_cents != line.price_seen_cents,
        is_unavailable=not is_sold,
        exceeds_stock=is_sold and line.quantity > product.stock,
        available=min(product.stock, QUANTITY_MAX) if is_sold else 0,
    )


def _known_cart(unit: ReadUnit, cart_id: str) -> Cart:
    cart = unit.cart(cart_id) if cart_id else None
    if cart is None:
        raise NotFound("Your cart is empty.")
    return cart


def _cart_and_line(unit: ReadUnit, cart_id: str, product_id: str) -> tuple[Cart, CartLine]:
    cart = _known_cart(unit, cart_id)
    line = _line_of(cart, product_id)
    if line is None:
        raise NotFound("This product is not in your cart any more.")
    return cart, line


def _line_of(cart: Cart, product_id: str) -> CartLine | None:
    return next((line for line in cart.lines if line.product_id == product_id), None)


def _sold_product(unit: ReadUnit, product_id: str) -> Product:
    product = unit.product(product_id)
    if product is None or product.is_archived:
        raise NotFound("This product is not sold here any more.")
    return product


def _check_quantity(quantity: int) -> None:
    if not 1 <= quantity <= QUANTITY_MAX:
        raise _refused(f"Enter a quantity from 1 to {QUANTITY_MAX}, in digits.")


def _check_stock(product: Product, wanted: int, *, in_cart: int) -> None:
    if wanted > product.stock:
        raise _refused(_too_few_left(product, in_cart))
    if wanted > QUANTITY_MAX:
        raise _refused(f"At most {QUANTITY_MAX} of one product go into one order; {in_cart} are in your cart.")


def _too_few_left(product: Product, in_cart: int) -> str:
    if product.stock == 0:
        return f"{product.name} is sold out."
    left = f"Only {product.stock} of {product.name} {'is' if product.stock == 1 else 'are'} left"
    return f"{left}, and your cart already has {in_cart}." if in_cart else f"{left}."


def _check_room(cart: Cart) -> None:
    if len(cart.lines) >= CART_LINES_MAX:
        raise Conflict(f"A cart holds at most {CART_LINES_MAX} different products. Remove one, or order these first.")


def _refused(sentence: str) -> Invalid:
    return Invalid({"quantity": sentence}, sentence)


def _keep(unit: WriteUnit, cart: Cart, lines: Sequence[CartLine], now: datetime) -> Cart:
    kept = replace(cart, lines=tuple(lines), updated_at=timestamp(now))
    unit.put_cart(kept)
    return kept
