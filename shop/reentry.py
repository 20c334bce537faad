"""Doing again what a lost commit did: the rules by which a commit that a failover left behind is re-entered.

The shop has gone on since, so nothing is written over what is newer: an order takes its stock only if there is enough, an edit
is applied only to the version that it was made on. Each rule may be applied twice without doing harm.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from shop import orders as order_rules
from shop.errors import Conflict, StaleVersion
from shop.losses import Op, is_new
from shop.models import Cart, Category, Order, OrderStatus, Product
from shop.units import WriteUnit


def reenter(unit: WriteUnit, ops: Sequence[Op], *, now: datetime) -> str:
    """Apply the operations of a lost commit to the shop as it is now; returns what was done, in a sentence.

    Raises `Conflict` (and `Invalid` for a SKU or an address that another record took) when it cannot be done; leave the unit then.
    """
    orders = [record for collection, _, record in ops if collection == "orders" and record is not None]
    if orders:
        return " ".join(_order(unit, order, ops, now) for order in orders)
    sentences = [_RULES[collection](unit, id, record) for collection, id, record in ops if collection in _RULES]
    if not sentences:
        raise Conflict("There is nothing in it that could be entered again.")
    if len(sentences) > 3:
        return f"{len(sentences)} records are as they were."
    return " ".join(sentences)


def _order(unit: WriteUnit, order: Order, ops: Sequence[Op], now: datetime) -> str:
    kept = unit.order(order.number)
    if not is_new(order):
        return _order_change(unit, order, kept, now)
    if kept is not None:
        return f"Order {order.number} is in the books already."
    again = unit.order_by_checkout_key(order.checkout_key)
    if again is not None:
        raise Conflict(
            f"The customer has ordered this cart again, as {again.number}. No second order is made of it: discard this one."
        )
    _take_stock(unit, order)
    unit.put_order(order)
    _empty_its_cart(unit, order, ops)
    return f"Order {order.number} is in the books again, and its stock is taken."


def _take_stock(unit: WriteUnit, order: Order) -> None:
    products = unit.products(sorted(line.product_id for line in order.lines))
    short = [
        f"{products[line.product_id].stock} of {line.name} (it needs {line.quantity})"
        for line in order.lines
        if line.product_id in products and products[line.product_id].stock < line.quantity
    ]
    if short:
        raise Conflict(f"Order {order.number} needs more than there is. Left: {', '.join(short)}.")
    for line in order.lines:
        product = products.get(line.product_id)
        if product is not None:
            unit.put_product(replace(product, stock=product.stock - line.quantity))


def _empty_its_cart(unit: WriteUnit, order: Order, ops: Sequence[Op]) -> None:
    """The cart that became this order, if the visitor still has it as it was: or it could not be ordered from any more."""
    for collection, id, record in ops:
        kept = unit.cart(id) if collection == "carts" else None
        if kept is not None and record is not None and kept.checkout_key == order.checkout_key:
            unit.put_cart(record)


def _order_change(unit: WriteUnit, order: Order, kept: Order | None, now: datetime) -> str:
    if kept is None:
        raise Conflict(f"Order {order.number} is not in the books: re-enter the order itself first.")
    if kept.status is order.status:
        return f"Order {order.number} is {order.status.value} already."
    if order.status is OrderStatus.CANCELLED:
        order_rules.cancel(unit, order.number, order.version - 1, now)
    else:
        order_rules.mark_sent(unit, order.number, order.version - 1, now)
    return f"Order {order.number} is {order.status.value} again."


def _product(unit: WriteUnit, id: str, record: Product | None) -> str:
    if record is None:
        raise Conflict(f"Product {id} was deleted in it. Archive it by hand if it should not be sold.")
    kept = unit.product(id)
    if kept is not None and replace(kept, stock=record.stock, updated_at=record.updated_at) == record:
        return f"{record.name} is so already."
    if kept is None:
        _check_version(record.name, record.version, 0)
        unit.put_product(record)
        return f"{record.name} is on the shelves again."
    _check_version(record.name, record.version, kept.version)
    unit.put_product(replace(record, stock=kept.stock))
    words = f"{record.name} is edited again; its stock stays {kept.stock}"
    return f"{words}." if kept.stock == record.stock else f"{words} (it was {record.stock} after the lost edit)."


def _category(unit: WriteUnit, id: str, record: Category | None) -> str:
    if record is None:
        raise Conflict(f"Category {id} was deleted in it. That is not done again by itself.")
    kept = unit.category(id)
    if kept == record:
        return f"Category {record.name} is so already."
    _check_version(record.name, record.version, kept.version if kept else 0)
    unit.put_category(record)
    return f"Category {record.name} is as it was."


def _check_version(name: str, lost: int, kept: int) -> None:
    if kept == 0 and lost > 1:
        raise Conflict(f"{name} is not in the shop: re-enter the commit that created it first.")
    if lost != kept + 1:
        raise StaleVersion(
            f"{name} was edited since (version {kept}; the lost edit made version {lost}): do it by hand."
        )


def _cart(unit: WriteUnit, id: str, record: Cart | None) -> str:
    if record is None:
        raise Conflict("The visitor emptied a cart in it. That is not done again by itself.")
    kept = unit.cart(id)
    if kept == record:
        return "The cart is so already."
    if kept is not None and kept.updated_at > record.updated_at:
        raise Conflict("The visitor has changed the cart since: what is there now is newer.")
    order = unit.order_by_checkout_key(record.checkout_key)
    if order is not None:
        raise Conflict(f"The cart has become order {order.number} since.")
    unit.put_cart(record)
    return "The cart is as it was."


def _admin(unit: WriteUnit, id: str, record: Any) -> str:
    raise Conflict("An admin's password was set in it. Set it anew; a password is not re-entered.")


_RULES: Mapping[str, Callable[[WriteUnit, str, Any], str]] = {
    "products": _product,
    "categories": _category,
    "carts": _cart,
    "admins": _admin,
}
