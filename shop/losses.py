"""What commits mean to the shopkeeper: one in a few words, many as what would be lost without them, a record by its name.

A commit is handed in as its operations: (collection, id, record), the record None when it was deleted. What an order brings along
(its stock, its cart, its number) is not told apart from the order: it stands or falls with it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from shop.models import CartLine, Customer, Order, OrderLine, OrderStatus
from shop.money import format_money

Op = tuple[str, str, Any]

HIDDEN = "(hidden)"
_HIDDEN_FIELDS = frozenset({"password_hash", "checkout_key"})  # of no use to a person, of much use to a thief
_HEADLINES = {  # what is shown of a record that one side lacks altogether
    "orders": ("status", "total_cents", "lines", "customer"),
    "products": ("sku", "price_cents", "stock"),
    "categories": ("slug",),
    "carts": ("lines",),
    "counters": ("value",),
    "admins": ("changed_at",),
}
_ONE = {
    "products": "product",
    "categories": "category",
    "carts": "cart",
    "counters": "counter",
    "admins": "admin password",
}
_MANY = {
    "products": "products",
    "categories": "categories",
    "carts": "carts",
    "counters": "counters",
    "admins": "admin passwords",
}


class Totals(NamedTuple):
    """What some commits amount to."""

    commits: int = 0
    orders: int = 0
    order_cents: int = 0
    carts: int = 0
    edits: int = 0  # of products and categories

    def sentence(self, currency: str) -> str:
        """ "3 writes, 2 orders, €123.40"; "nothing" when there is none."""
        if not self.commits:
            return "nothing"
        parts = [_counted(self.commits, "write")]
        if self.orders:
            parts += [_counted(self.orders, "order"), format_money(self.order_cents, currency)]
        if self.carts:
            parts.append(_counted(self.carts, "cart"))
        if self.edits:
            parts.append(_counted(self.edits, "edit"))
        return ", ".join(parts)


class _Losses(NamedTuple):
    """What one commit would take with it."""

    orders: int  # placed
    order_cents: int
    is_of_order: bool  # the carts it touches became an order, or were touched in its course
    carts: tuple[str, ...]
    edits: int


class Ledger:
    """What would be lost with the commits it holds, kept up to date commit by commit: asking costs nothing, however many there are.

    Not safe for several threads at once.
    """

    def __init__(self, lsn: int) -> None:
        self.lsn = lsn  # the newest commit it knows of
        self._commits: deque[tuple[int, _Losses]] = deque()
        self._cart_commits: dict[str, int] = {}  # the newest commit that touched a cart
        self._carts: set[str] = set()  # those whose newest commit made no order of them: an order is not lost twice
        self._orders = 0
        self._order_cents = 0
        self._edits = 0

    def add(self, lsn: int, ops: Iterable[Op]) -> None:
        """The next commit is at risk."""
        losses = _losses(list(ops))
        self._commits.append((lsn, losses))
        self._count(losses, 1)
        for cart_id in losses.carts:
            self._cart_commits[cart_id] = lsn
            (self._carts.discard if losses.is_of_order else self._carts.add)(cart_id)
        self.lsn = lsn

    def drop_through(self, lsn: int) -> None:
        """The commits up to *lsn* are safe on the far side."""
        while self._commits and self._commits[0][0] <= lsn:
            dropped, losses = self._commits.popleft()
            self._count(losses, -1)
            for cart_id in losses.carts:
                if self._cart_commits[cart_id] == dropped:
                    del self._cart_commits[cart_id]
                    self._carts.discard(cart_id)
        self.lsn = max(self.lsn, lsn)

    def totals(self) -> Totals:
        return Totals(len(self._commits), self._orders, self._order_cents, len(self._carts), self._edits)

    def _count(self, losses: _Losses, sign: int) -> None:
        self._orders += sign * losses.orders
        self._order_cents += sign * losses.order_cents
        self._edits += sign * losses.edits


def _losses(ops: Sequence[Op]) -> _Losses:
    orders = [record for collection, _, record in ops if collection == "orders" and record is not None]
    placed = [order for order in orders if is_new(order)]
    return _Losses(
        orders=len(placed),
        order_cents=sum(order.total_cents for order in placed),
        is_of_order=bool(orders),
        carts=tuple(id for collection, id, _ in ops if collection == "carts"),
        edits=0 if orders else sum(collection in ("products", "categories") for collection, _, _ in ops),
    )


def is_new(order: Order) -> bool:
    """Whether the record is that of the purchase itself, not of something that was done to the order later."""
    return order.status is OrderStatus.PLACED and order.version == 1


def summary(ops: Iterable[Op], currency: str) -> str:
    """One commit in a few words: "order A1-10001, €123.40", "cart", "product Teapot", "24 products, 6 categories"."""
    by_collection: dict[str, list[tuple[str, Any]]] = {}
    for collection, id, record in ops:
        by_collection.setdefault(collection, []).append((id, record))
    if "orders" in by_collection:
        return _orders_summary(by_collection["orders"], currency)
    parts = [_records_summary(collection, records) for collection, records in by_collection.items()]
    return ", ".join(parts) or "a new timeline"


def _orders_summary(records: Sequence[tuple[str, Any]], currency: str) -> str:
    orders: list[Order] = [record for _, record in records if record is not None]
    if not orders:
        return f"order {records[0][0]} deleted" if len(records) == 1 else f"{len(records):,} orders deleted"
    if len(orders) != 1:
        total = sum(order.total_cents for order in orders)
        return f"{_counted(len(orders), 'order')}, {format_money(total, currency)}"
    order = orders[0]
    if is_new(order):
        return f"order {order.number}, {format_money(order.total_cents, order.currency)}"
    return f"order {order.number} {order.status.value}"


def _records_summary(collection: str, records: Sequence[tuple[str, Any]]) -> str:
    if len(records) > 1:
        return f"{len(records):,} {_MANY.get(collection, collection)}"
    id, record = records[0]
    noun = _ONE.get(collection, collection)
    name = getattr(record, "name", "")
    words = f"{noun} {name}" if name else noun
    return words if record is not None else f"{words} {id} deleted" if collection != "carts" else "cart emptied"


def label(collection: str, id: str, record: Any) -> str:
    """What a person calls the record; *record* may be None when nobody knows it any more."""
    if collection == "orders":
        return f"Order {id}"
    if collection in ("products", "categories"):
        return str(getattr(record, "name", "")) or f"{_ONE[collection].capitalize()} {id}"
    if collection == "carts":
        return f"Cart {id[:8]}"
    return f"{collection.removesuffix('s').capitalize()} {id}"


def differing_fields(collection: str, one: Any, other: Any, currency: str) -> list[tuple[str, str, str]]:
    """Name and both values of the fields that differ; of a record that one side lacks, its headline. Secrets stay hidden."""
    if one is None or other is None:
        record = other if one is None else one
        names: Sequence[str] = _HEADLINES.get(collection, record.__struct_fields__)
    else:
        names = [name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name)]
    return [(field_name(name), _side_text(name, one, currency), _side_text(name, other, currency)) for name in names]


def field_name(name: str) -> str:
    """A record's field as a person says it."""
    return name.removesuffix("_cents").removeprefix("is_").replace("_", " ")


def _side_text(name: str, record: Any, currency: str) -> str:
    if record is None:
        return ""
    return HIDDEN if name in _HIDDEN_FIELDS else field_text(name, getattr(record, name), currency)


def field_text(name: str, value: Any, currency: str) -> str:
    """A field's value as a person reads it."""
    if value is None:
        return "not yet" if name.endswith("_at") else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_cents"):
        return format_money(value, currency)
    if isinstance(value, tuple):
        return ", ".join(_line_text(line) for line in value) or "empty"
    if isinstance(value, Customer):
        return ", ".join(
            part for part in (value.name, value.street, f"{value.postcode} {value.city}", value.country) if part
        )
    return str(value)


_LINE_TEXTS: dict[type, Callable[[Any], str]] = {
    CartLine: lambda line: f"{line.quantity} × {line.product_id}",
    OrderLine: lambda line: f"{line.quantity} × {line.name}",
}


def _line_text(line: Struct) -> str:
    text = _LINE_TEXTS.get(type(line))
    return text(line) if text else str(line)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
