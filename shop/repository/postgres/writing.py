"""Writing: one transaction on the primary, READ COMMITTED, with row locks.

What an update reads by id, slug, number or key, it locks before it reads, so that it stays true until the commit. Of what is not
there the key is locked instead: whoever else looks for it in an update waits. Products are locked in the order of their ids. Who
writes without reading meets the unique keys of the schema.

Changes of locked rows wait here and go to the server together with the row of `commits`, in one round trip; everything read from the
database sends them first. So an order costs few round trips, and nothing is sent that a refusal then discards.
"""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import msgspec
from msgspec.structs import replace
from psycopg import errors
from psycopg.types.json import Jsonb

from shop.errors import Conflict, Invalid, ShopError
from shop.models import Admin, Cart, Category, Order, Product
from shop.repository.postgres.connection import Connection, Row
from shop.repository.postgres.reading import Reader, is_text
from shop.repository.postgres.records import (
    ADMINS,
    CARTS,
    CATEGORIES,
    DELETE_LINES,
    INSERT_LINES,
    ORDERS,
    PRODUCTS,
    Table,
    line_values,
)
from shop.units import Page, Position

Statement = tuple[str, Sequence[Any]]

_LOCK_KEY = b"SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_LOCK_MENU = b"LOCK TABLE categories IN SHARE ROW EXCLUSIVE MODE"
_SELL = "UPDATE products SET stock = %s WHERE id = %s"
_NUMBER = b"SELECT nextval('order_numbers')"
_NOTE = b"""
INSERT INTO commits (id, timeline, lsn, at, xid, operations)
VALUES (%s, %s, (pg_current_wal_insert_lsn() - '0/0')::bigint, clock_timestamp(), pg_current_xact_id(), %s)
RETURNING xid::text
"""


class Committing(msgspec.Struct, frozen=True):
    """An update about to be committed: enough to ask afterwards whether it was."""

    id: UUID
    xid: str
    position: Position


class Writer(Reader):
    """A unit that writes; see `shop.units.WriteUnit`."""

    lock = " FOR NO KEY UPDATE OF t"

    def __init__(self, connection: Connection, position: Position) -> None:
        super().__init__(connection, position)
        self._held: dict[tuple[str, str], Any] = {}  # records whose rows are locked, as they are in this unit
        self._free: set[tuple[str, str, str]] = set()  # keys that nobody has, and nobody who looks first can take
        self._waiting: list[Statement] = []
        self._operations: dict[tuple[str, str], Any] = {}
        self._has_numbers = False

    # ---- what is changed

    def put_product(self, product: Product) -> None:
        held = self._held.get((PRODUCTS.name, product.id))
        if held is None or (held.sku, held.slug) != (product.sku, product.slug):
            self._put_now(PRODUCTS, product.id, product)
        elif product == replace(held, stock=product.stock):
            self._put_later(PRODUCTS, product.id, product, (_SELL, (product.stock, product.id)))
        else:
            self._put_later(PRODUCTS, product.id, product, (PRODUCTS.upsert(), PRODUCTS.values(product)))

    def put_category(self, category: Category) -> None:
        self._put_now(CATEGORIES, category.id, category)

    def put_cart(self, cart: Cart) -> None:
        self._put_later(CARTS, cart.id, cart, (CARTS.upsert(), CARTS.values(cart)))

    def put_order(self, order: Order) -> None:
        key = (ORDERS.name, "checkout_key", order.checkout_key)
        lines = [(DELETE_LINES, (order.number,)), (INSERT_LINES, line_values(order))]
        held = self._held.get((ORDERS.name, order.number))
        change = (ORDERS.upsert(), ORDERS.values(order))
        if held is not None and (held.checkout_key, held.lines) == (order.checkout_key, order.lines):
            self._put_later(ORDERS, order.number, order, change)
        elif held is None and key in self._free:
            self._free.discard(key)
            self._put_later(ORDERS, order.number, order, change, *lines)
        else:
            self._put_now(ORDERS, order.number, order, *lines)

    def put_admin(self, admin: Admin) -> None:
        self._put_later(ADMINS, admin.id, admin, (ADMINS.upsert(), ADMINS.values(admin)))

    def delete_cart(self, cart_id: str) -> None:
        self._delete(CARTS, cart_id)

    def delete_product(self, product_id: str) -> None:
        self._delete(PRODUCTS, product_id)

    def delete_order(self, number: str) -> None:
        self._delete(ORDERS, number)

    def next_order_number(self) -> str:
        """The sequence knows no rollback: a number that was issued and not used is left out."""
        row = self._connection.execute(_NUMBER).fetchone()
        self._has_numbers = True
        return f"A{self._position.timeline}-{row[0] if row else 0}"

    # ---- lists

    def categories(self) -> Sequence[Category]:
        """What is decided by the whole menu stays decided: nobody else changes it before the commit."""
        self._flush()
        self._connection.execute(_LOCK_MENU)
        return super().categories()

    # ---- the end

    def prepare(self) -> Committing | None:
        """Send what waits and note the commit; None when nothing was changed. Then COMMIT is all that lacks."""
        if not self._operations and not self._has_numbers:
            return None
        id, xid = uuid4(), ""
        with self._refusing(), self._connection.pipeline():
            self._send_waiting()
            if self._operations:
                noted = self._connection.execute(_NOTE, [id, self._position.timeline, Jsonb(self._as_json())])
        if self._operations:
            row = noted.fetchone()
            xid = row[0] if row else ""
        return Committing(id, xid, self._position)

    @property
    def is_change(self) -> bool:
        return bool(self._operations)

    def _as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "collection": collection,
                "id": id,
                "record": None if record is None else msgspec.to_builtins(record),
            }
            for (collection, id), record in self._operations.items()
        ]

    # ---- how

    def _by_key(self, table: Table, column: str, key: str) -> Any:
        """The record, its row locked; or None, its key locked."""
        if not is_text(key):
            return None
        place = (table.name, column, key)
        if place in self._free:
            self._free.discard(place)  # perhaps put meanwhile by this very unit
            rows = self._rows(self._query(table, column), [key])
        elif column == "checkout_key":  # almost never there: the lock and the look together
            rows = self._locked(table, column, key)
        else:
            rows = self._rows(self._query(table, column), [key]) or self._locked(table, column, key)
        if not rows:
            self._free.add(place)
            return None
        return self._read(table, rows[0])

    def _locked(self, table: Table, column: str, key: str) -> list[Row]:
        """Two statements, because the second must see what was committed while the first waited."""
        self._flush()
        with self._connection.pipeline():
            self._connection.execute(_LOCK_KEY, [f"{table.name}.{column} {key}"])
            cursor = self._connection.execute(self._query(table, column).encode(), [key])
        return cursor.fetchall()

    def _read(self, table: Table, row: Row) -> Any:
        record = super()._read(table, row)
        self._held[table.name, row[0]] = record
        return record

    def _page(self, *arguments: Any, **named: Any) -> Page[Any]:
        """A list locks nothing, so what it read is not held."""
        held = dict(self._held)
        page = super()._page(*arguments, **named)
        self._held = held
        return page

    def _rows(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        self._flush()
        return super()._rows(statement, parameters)

    def _put_later(self, table: Table, id: str, record: Any, *statements: Statement) -> None:
        self._waiting += statements
        self._note(table, id, record)

    def _put_now(self, table: Table, id: str, record: Any, *statements: Statement) -> None:
        """Behind a savepoint: a key that another record has is a refusal, and the unit goes on without this one."""
        self._flush()
        try:
            with self._connection.pipeline():
                self._connection.execute(b"SAVEPOINT put")
                for statement, values in [(table.upsert(), table.values(record)), *statements]:
                    self._connection.execute(statement.encode(), values)
                self._connection.execute(b"RELEASE SAVEPOINT put")
        except errors.UniqueViolation as taken:
            self._connection.execute(b"ROLLBACK TO SAVEPOINT put")
            raise _refusal(taken) from taken
        self._note(table, id, record)

    def _delete(self, table: Table, id: str) -> None:
        self._flush()
        if not is_text(id):
            return
        statement = f"DELETE FROM {table.name} WHERE {table.key} = %s"  # noqa: S608 - names of our own
        if self._connection.execute(statement.encode(), [id]).rowcount:
            self._held.pop((table.name, id), None)
            self._operations.pop((table.name, id), None)
            self._operations[table.name, id] = None

    def _note(self, table: Table, id: str, record: Any) -> None:
        self._held[table.name, id] = record
        self._operations.pop((table.name, id), None)  # the last state, in the order in which they were reached
        self._operations[table.name, id] = record

    def _flush(self) -> None:
        if self._waiting:
            with self._refusing(), self._connection.pipeline():
                self._send_waiting()

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for statement, values in waiting:
            self._connection.execute(statement.encode(), values)

    @contextmanager
    def _refusing(self):  # type: ignore[no-untyped-def]
        try:
            yield
        except errors.UniqueViolation as taken:
            raise _refusal(taken) from taken


_TAKEN = {  # constraint -> the field to mark, and the sentence
    "product_sku": ("sku", "Another product has this SKU."),
    "product_slug": ("name", "Another product has the address that this name leads to."),
    "category_slug": ("name", "Another category has the address that this name leads to."),
}


def _refusal(taken: errors.UniqueViolation) -> ShopError:
    constraint = taken.diag.constraint_name or ""
    if constraint in _TAKEN:
        field, sentence = _TAKEN[constraint]
        return Invalid({field: sentence})
    return Conflict("This cart has been ordered already.")
