"""The records: what the shop remembers. Frozen; a change is a new record.

Each is one line in `db.json`. Fields may be added with a default; none may change its meaning. Money is integer cents in
the one currency of the shop (`SHOP_CURRENCY`); times are ISO 8601 in UTC with seconds (`2026-11-23T10:15:00Z`).
"""

from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

PRICE_CENTS_MAX = 100_000_000  # one million: a typing mistake, not a price, above that
STOCK_MAX = 1_000_000
LOW_STOCK_MAX = 5  # this many and fewer of a product on sale: time to get more of it
QUANTITY_MAX = 99  # of one product in one cart
NAME_LENGTH_MAX = 120
DESCRIPTION_LENGTH_MAX = 4_000
CART_LINES_MAX = 50


class Record(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every record has in common: it is frozen, and a file with an unknown field is refused."""


class Category(Record, frozen=True, kw_only=True):
    id: str
    slug: str
    name: str
    rank: int = 0  # order in the menu, then by name
    version: int = 1


class Product(Record, frozen=True, kw_only=True):
    id: str
    sku: str  # unique, upper case, what is printed on the shelf
    slug: str  # unique, what is in the URL; never changes
    name: str
    description: str = ""
    category_id: str
    price_cents: int
    stock: int  # what can be sold now; never below 0
    picture: str = ""  # a path below /static, or "" for the placeholder
    is_archived: bool = False  # not sold any more; orders and links still name it
    version: int = 1  # grows with each edit of the shopkeeper, not with a sale
    created_at: str
    updated_at: str


class CartLine(Record, frozen=True, kw_only=True):
    product_id: str
    quantity: int
    price_seen_cents: int  # the price when the visitor last accepted it


class Cart(Record, frozen=True, kw_only=True):
    id: str
    lines: tuple[CartLine, ...] = ()
    checkout_key: str  # one order at most is made of it; a new one follows each order
    updated_at: str


class Customer(Record, frozen=True, kw_only=True):
    name: str
    email: str
    street: str
    postcode: str
    city: str
    country: str  # ISO 3166-1 alpha-2
    note: str = ""


class OrderLine(Record, frozen=True, kw_only=True):
    product_id: str
    sku: str
    name: str
    price_cents: int  # of one, when ordered
    quantity: int

    @property
    def total_cents(self) -> int:
        return self.price_cents * self.quantity


class OrderStatus(StrEnum):
    """Where an order stands; the value is its slug in files, pages, logs and tests."""

    PLACED = "placed"
    SENT = "sent"
    CANCELLED = "cancelled"


class Order(Record, frozen=True, kw_only=True):
    number: str  # its id: "A1-10001", the timeline it was issued in and a running number
    checkout_key: str
    customer: Customer
    lines: tuple[OrderLine, ...]
    subtotal_cents: int
    shipping_cents: int
    total_cents: int  # what the customer pays on delivery
    currency: str
    status: OrderStatus = OrderStatus.PLACED
    placed_at: str
    sent_at: str | None = None
    cancelled_at: str | None = None
    version: int = 1  # grows with each change of status


class Counter(Record, frozen=True, kw_only=True):
    """A running number; `value` is the last one issued."""

    id: str
    value: int


class Admin(Record, frozen=True, kw_only=True):
    """Somebody who may enter /admin. Only the hash of the password is ever kept."""

    id: str
    password_hash: str
    changed_at: str


def timestamp(moment: datetime) -> str:
    """*moment* as the records keep it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
