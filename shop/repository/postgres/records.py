"""Rows and records: the columns of each table in the order of the record's fields, and what is kept beside them to sort and search by."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from psycopg.types.json import Jsonb

from shop.models import Admin, Cart, CartLine, Category, Customer, Order, OrderLine, OrderStatus, Product
from shop.text import fold, words_of

R = TypeVar("R")

SORTED_LENGTH_MAX = 200  # letters; a row of an index is bounded, and no name is told apart only after that many
LEXEME_LENGTH_MAX = 500  # letters; PostgreSQL takes 2046 bytes


class Table(NamedTuple):
    """How records of one kind are kept."""

    name: str
    key: str
    columns: tuple[str, ...]  # those that make the record
    kept: tuple[tuple[str, str], ...]  # those beside: name, and how the parameter becomes a value
    values: Callable[[Any], tuple[Any, ...]]  # of `columns` and `kept`
    record: Callable[[Sequence[Any]], Any]  # of `expressions`
    beside: str = ""  # a further expression that the record needs

    @property
    def expressions(self) -> str:
        """What to select to get a record of the table called t."""
        return ", ".join(f"t.{column}" for column in self.columns) + self.beside

    def select(self) -> str:
        """The beginning of a query for records."""
        return f"SELECT {self.expressions} FROM {self.name} t"  # noqa: S608

    def upsert(self) -> str:
        """Keep one record, whether it is new or not."""
        names = [*self.columns, *(name for name, _ in self.kept)]
        values = ["%s"] * len(self.columns) + [form for _, form in self.kept]
        changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name != self.key)
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join(values)})"  # noqa: S608
            f" ON CONFLICT ({self.key}) DO UPDATE SET {changes}"
        )


def lexemes(text: str) -> list[str]:
    """What *text* is found by."""
    return sorted({word[:LEXEME_LENGTH_MAX] for word in words_of(text)})


def sort_key(text: str) -> str:
    return fold(text)[:SORTED_LENGTH_MAX]


def category_lexeme(category_id: str) -> str:
    """What all products of a category are found by; no word begins with a `#`."""
    return f"#{category_id}"[:LEXEME_LENGTH_MAX]


def search(words: Sequence[str], categories: Sequence[Sequence[str]]) -> str:
    """A tsquery: each of *words* begins one of the lexemes, or the product is in one of the categories found by that word."""
    return " & ".join(
        "(" + " | ".join([f"{_quoted(word)}:*", *(_quoted(category_lexeme(id)) for id in ids)]) + ")"
        for word, ids in zip(words, categories, strict=True)
    )


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


def running_number(number: str) -> int:
    """The last part of an order's number, by which orders are listed; 0 when it is none."""
    running = number.rpartition("-")[2]
    return min(int(running[:19]), 2**63 - 1) if running.isascii() and running.isdecimal() else 0


# ---- categories

_WORDS = ("words", "array_to_tsvector(%s::text[])")
_CATEGORY = ("id", "slug", "name", "rank", "version")


def _category_values(category: Category) -> tuple[Any, ...]:
    return *_values(category, _CATEGORY), sort_key(category.name), lexemes(category.name)


def _category(row: Sequence[Any]) -> Category:
    return Category(**dict(zip(_CATEGORY, row, strict=False)))


CATEGORIES = Table("categories", "id", _CATEGORY, (("name_folded", "%s"), _WORDS), _category_values, _category)

# ---- products

_PRODUCT = (
    "id sku slug name description category_id price_cents stock picture is_archived version created_at updated_at"
).split()


def _product_values(product: Product) -> tuple[Any, ...]:
    words = lexemes(f"{product.name} {product.sku} {product.description}")
    return *_values(product, _PRODUCT), sort_key(product.name), [*words, category_lexeme(product.category_id)]


def _product(row: Sequence[Any]) -> Product:
    return Product(**dict(zip(_PRODUCT, row, strict=False)))


PRODUCTS = Table("products", "id", tuple(_PRODUCT), (("name_folded", "%s"), _WORDS), _product_values, _product)

# ---- carts

_CART = ("id", "lines", "checkout_key", "updated_at")


def _cart_values(cart: Cart) -> tuple[Any, ...]:
    return cart.id, Jsonb(msgspec.to_builtins(cart.lines)), cart.checkout_key, cart.updated_at


def _cart(row: Sequence[Any]) -> Cart:
    id, lines, checkout_key, updated_at = row[:4]
    return Cart(
        id=id, lines=msgspec.convert(lines, tuple[CartLine, ...]), checkout_key=checkout_key, updated_at=updated_at
    )


CARTS = Table("carts", "id", _CART, (), _cart_values, _cart)

# ---- orders

_CUSTOMER = ("name", "email", "street", "postcode", "city", "country", "note")
_ORDER = ("subtotal_cents", "shipping_cents", "total_cents", "currency", "status", "placed_at", "sent_at")
_ORDER_COLUMNS = ("number", "checkout_key", *_CUSTOMER, *_ORDER, "cancelled_at", "version")
_LINE = ("product_id", "sku", "name", "price_cents", "quantity")
_LINES_BESIDE = """,
       (SELECT jsonb_agg(jsonb_build_array(l.product_id, l.sku, l.name, l.price_cents, l.quantity) ORDER BY l.place)
          FROM order_lines l WHERE l.order_number = t.number)"""


def _order_values(order: Order) -> tuple[Any, ...]:
    customer = order.customer
    return (
        order.number,
        order.checkout_key,
        *_values(customer, _CUSTOMER),
        *_values(order, _ORDER[:4]),
        order.status.value,
        order.placed_at,
        order.sent_at,
        order.cancelled_at,
        order.version,
        running_number(order.number),
        lexemes(f"{order.number} {customer.name} {customer.email}"),
    )


def _order(row: Sequence[Any]) -> Order:
    """The lines come last."""
    fields = dict(zip(_ORDER_COLUMNS, row, strict=False))
    customer = Customer(**{name: fields.pop(name) for name in _CUSTOMER})
    lines = tuple(OrderLine(**dict(zip(_LINE, line, strict=True))) for line in row[len(_ORDER_COLUMNS)] or ())
    return Order(**{**fields, "status": OrderStatus(fields["status"])}, customer=customer, lines=lines)


ORDERS = Table("orders", "number", _ORDER_COLUMNS, (("running", "%s"), _WORDS), _order_values, _order, _LINES_BESIDE)

DELETE_LINES = "DELETE FROM order_lines WHERE order_number = %s"
INSERT_LINES = """
INSERT INTO order_lines (order_number, place, product_id, sku, name, price_cents, quantity)
SELECT %s, l.* FROM unnest(%s::smallint[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::integer[]) l
"""


def line_values(order: Order) -> tuple[Any, ...]:
    """The parameters of `INSERT_LINES`."""
    return (
        order.number,
        list(range(1, len(order.lines) + 1)),
        *([getattr(line, field) for line in order.lines] for field in _LINE),
    )


# ---- admins

_ADMIN = ("id", "password_hash", "changed_at")


def _admin_values(admin: Admin) -> tuple[Any, ...]:
    return _values(admin, _ADMIN)


def _admin(row: Sequence[Any]) -> Admin:
    return Admin(**dict(zip(_ADMIN, row, strict=False)))


ADMINS = Table("admins", "id", _ADMIN, (), _admin_values, _admin)

TABLES: Mapping[str, Table] = {table.name: table for table in (CATEGORIES, PRODUCTS, CARTS, ORDERS, ADMINS)}


def _values(record: object, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in names)
